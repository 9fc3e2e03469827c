"""How a fit is shown: text, HTML and frames."""
