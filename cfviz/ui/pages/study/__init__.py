"""The page on many photos."""
