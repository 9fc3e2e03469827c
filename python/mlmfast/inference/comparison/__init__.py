"""Fits compared: likelihood-ratio tests, conditional AIC, tests of variances."""
