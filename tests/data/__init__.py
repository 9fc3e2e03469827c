"""Tests of frames and their columns."""
