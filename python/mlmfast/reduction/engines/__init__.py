"""The engines of the core: which serves a model, what it asks, how large it gets."""
