"""The messages of the living figures: arrays in, one message for the code in `cfviz/web` out."""
