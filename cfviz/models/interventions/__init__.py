"""Changes to a model as plain data, applied in one thread without touching the shared model."""
