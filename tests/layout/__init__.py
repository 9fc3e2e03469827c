"""Tests of the layout of the code."""
