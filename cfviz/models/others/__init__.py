"""Other hierarchical transformers (timm's), watched as closely as ours."""
