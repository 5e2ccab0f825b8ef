"""What one reader has chosen and brought along: settings, the link that says them, photos."""
