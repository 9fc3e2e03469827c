"""Means on the scale of the response, where the model is of a function of it."""
