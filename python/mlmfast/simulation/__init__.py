"""Designs without data, and responses drawn from them: what studies and power are made of."""
