"""Tests of the criterion, its derivatives and information."""
