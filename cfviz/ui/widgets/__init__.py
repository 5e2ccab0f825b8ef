"""Parts that pages are put together from: figures, photo strip, take-away row, weights, jobs."""
