"""What trained weights are worth: accuracy, other input sizes, studies over many photos."""
