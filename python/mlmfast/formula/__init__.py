"""The language of formulas: tokens, syntax trees, and what their names and calls mean."""
