"""Fitted values and predictions, with their errors."""
