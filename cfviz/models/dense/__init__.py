"""Detectors and segmenters with a CrossFormer inside: RetinaNet, Mask R-CNN, Semantic FPN, UPerNet.

`variants` lists them, `model` puts them together from `parts`. RoIAlign and non-maximum suppression are
torchvision's; written here is what differs from torchvision's models, and each file says how.
"""
