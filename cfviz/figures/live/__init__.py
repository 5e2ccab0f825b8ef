"""What each living figure is told: arrays in, one message for its code in `cfviz/web` out."""
