"""What can be measured in arrays that a model left behind. NumPy in, NumPy out."""
