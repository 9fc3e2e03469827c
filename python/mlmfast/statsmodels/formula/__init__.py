"""Formulas as patsy writes, codes and names them, read without running any of their code."""
