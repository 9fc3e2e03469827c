"""Tests of tests and intervals."""
