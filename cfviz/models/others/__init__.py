"""Other hierarchical transformers, from timm, watched as closely as ours."""
