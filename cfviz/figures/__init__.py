"""Arrays and words in, figures out: `plots` for plotly, `live` for the figures that move in the browser."""
