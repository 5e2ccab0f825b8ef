"""Measures of the arrays that a model left behind: NumPy in, NumPy out."""
