"""Benchmarks that print a table of ratios: `make bench`."""
