"""Columns of model matrices: expressions, contrasts, products."""
