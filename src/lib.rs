//! Gaussian linear mixed models.
