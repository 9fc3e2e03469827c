"""Multiple imputation: responses drawn from a fit, and estimates of several data sets as one."""
