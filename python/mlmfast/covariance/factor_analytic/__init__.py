"""Loadings on a few factors: beside variances of their own, alone, and of reduced rank."""
