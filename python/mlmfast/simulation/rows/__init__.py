"""Rows of a design that has no data: levels crossed, extended, taken away, made again."""
