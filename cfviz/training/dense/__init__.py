"""Training of heads for boxes and pixels on a frozen backbone, with scenes composed of classified photos."""
