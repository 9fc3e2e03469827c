"""Residuals, influence and deletion."""
