"""Measurements that need the model itself: embedding layers, position bias, gradients, cost."""
