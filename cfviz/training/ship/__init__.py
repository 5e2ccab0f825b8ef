"""From a training run to the weights that come with the package, and the card beside them."""
