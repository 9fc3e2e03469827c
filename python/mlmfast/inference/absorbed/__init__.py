"""Tests of all coefficients beside an absorbed factor."""
