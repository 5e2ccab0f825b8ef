"""Figures that more than one page shows; no page imports another."""
