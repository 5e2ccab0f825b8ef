"""The widgets that pages are built from: figures, photo strip, take-away row, weights, jobs."""
