"""One reader's session: settings, the link that records them, uploaded photos."""
