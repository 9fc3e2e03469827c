"""Rows to a core, once: the choice of an engine and the reduced model."""
