"""A session as one HTML file that opens offline."""

from .page import ADDRESS, WATCH, Origin, html

__all__ = ["ADDRESS", "WATCH", "Origin", "html"]
