"""The page on detectors and segmenters."""
