"""Changes of a model as plain data, carried out on one thread without touching the shared model."""
