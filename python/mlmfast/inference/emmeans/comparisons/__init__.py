"""Comparisons of means beside differences: letters, equivalence, non-inferiority."""
