"""Smooth terms: penalised B-splines as fixed and random effects."""
