"""Loading weights: every file, download and upload goes through this package."""
