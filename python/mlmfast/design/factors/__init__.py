"""Grouping factors, their names, and how their levels are related."""
