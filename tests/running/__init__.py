"""Tests of processes, memory and imports."""
