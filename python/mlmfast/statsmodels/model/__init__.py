"""The model: what is read from a formula or from arrays, and its likelihood."""
