"""Tests of covariance structures."""
