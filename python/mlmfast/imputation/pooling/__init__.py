"""Estimates of several imputed data sets as one."""
