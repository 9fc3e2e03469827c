"""True parameters: fixed effects, covariances of random effects, of residuals."""
