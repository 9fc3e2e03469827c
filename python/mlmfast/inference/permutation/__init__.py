"""Permutation tests: what may be exchanged, in which order, and what is compared."""
