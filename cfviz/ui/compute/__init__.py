"""What is computed once for all readers: caches, whose turn it is, work behind the page."""
