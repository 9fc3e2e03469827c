"""Tests of the way to the optimum."""
