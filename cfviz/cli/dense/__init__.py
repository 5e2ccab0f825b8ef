"""The commands of detectors and segmenters."""
