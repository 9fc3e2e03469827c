"""Tests of the engines, and of the forms in which rows reach them."""
