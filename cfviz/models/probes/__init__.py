"""What only a model can answer: its embedding layers, its position bias, gradients, cost."""
