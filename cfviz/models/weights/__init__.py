"""Where weights come from: every file, download and upload goes through this one door."""
