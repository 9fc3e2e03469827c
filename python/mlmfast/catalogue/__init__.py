"""Warnings and notes by code: what each means and what to do about it."""
