"""Figures for papers in matplotlib: exact sizes, text as text, the colours of the app's light theme."""
