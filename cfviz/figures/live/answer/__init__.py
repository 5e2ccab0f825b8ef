"""Messages of the figures on where an answer comes from: the parts of a logit, what each block knows."""
