"""Simulation studies: planned, run in chunks that are finished one by one, and summarised."""
