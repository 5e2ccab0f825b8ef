"""The page on attention."""
