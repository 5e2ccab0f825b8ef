"""The pieces that the four models are made of: neck, anchors, boxes and heads."""
