"""cfviz: a microscope for CrossFormer."""

from cfviz.hooks import capture, edit, points
from cfviz.models import list_models

__all__ = ["capture", "edit", "list_models", "points"]
