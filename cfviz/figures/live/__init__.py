"""What each living figure is told: arrays in, one message for its half in `cfviz/web` out."""
