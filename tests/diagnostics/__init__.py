"""Tests of deletion diagnostics."""
