"""How each family of timm attends: one adapter per family, which reads a layer and never changes it."""
