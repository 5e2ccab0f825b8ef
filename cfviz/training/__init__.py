"""Training, evaluation and export of the bundled weights. Nothing in the app imports this package."""
