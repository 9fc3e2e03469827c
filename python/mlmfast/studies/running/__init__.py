"""Chunks run here or by an executor, and kept in a folder."""
