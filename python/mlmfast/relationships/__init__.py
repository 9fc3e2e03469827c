"""Relationships between levels that are known beforehand: pedigrees, precisions, matrices."""
