"""Other hierarchical transformers, from timm, observed in the same detail as ours."""
