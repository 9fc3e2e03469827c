"""Fits from named starting values, with values held, within bounds or from a grid."""
