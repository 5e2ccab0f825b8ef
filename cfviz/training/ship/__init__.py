"""From a training run to the weights that come with the package, and the card beside them."""

NOTES = ("choice", "schedule", "limits", "gap")  # the paragraphs that a card may hold, in their order
