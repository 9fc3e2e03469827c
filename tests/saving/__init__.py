"""Tests of saved fits."""
