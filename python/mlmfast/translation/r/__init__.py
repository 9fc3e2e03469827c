"""Calls of lme4, nlme and mmrm: their arguments, and what they are here."""
