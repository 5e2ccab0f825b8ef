"""Computation shared by all readers: caches, the queue for the processor, background work."""
