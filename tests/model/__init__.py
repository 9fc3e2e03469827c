"""Tests of fits as users make them."""
