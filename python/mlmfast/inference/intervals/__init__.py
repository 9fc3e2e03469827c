"""Intervals of any parameter: Wald, profile, bootstrap, functions of several."""
