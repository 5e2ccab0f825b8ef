"""Arrays and words in, figures out: `plots` for plotly, `live` for the living figures in the browser."""
