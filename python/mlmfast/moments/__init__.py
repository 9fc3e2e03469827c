"""Estimates of variances from mean squares: types I, II and III of PROC MIXED, and MIVQUE0."""
