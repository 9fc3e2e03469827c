"""Labelled estimates: what tables of means and contrasts are made of."""
