"""mlmfast: Gaussian linear mixed models by ML and REML."""
