"""Tests of what formula and data become."""
