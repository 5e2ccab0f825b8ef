"""The page on position bias."""
