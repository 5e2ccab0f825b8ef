"""Measurements of trained weights: accuracy, other input sizes, studies over many photos."""
