"""Reductions of parts of the rows, merged, kept, and fitted without the rows."""
