"""Static figures: arrays and labels in, one plotly figure or picture out."""
