"""The page on cross-scale embedding."""
