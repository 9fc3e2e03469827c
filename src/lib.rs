//! The numerical core of mlmfast: Gaussian linear mixed models with nested random effects.
//!
//! y = X beta + Z g + e, g ~ N(0, sigma^2 G), e ~ N(0, sigma^2 I / w), so V = sigma^2 W with
//! W = Z G Z' + I after rows are scaled by the root of their weights.
//!
//! Rows are read once ([`rows`]), put into coordinates without rounding
//! trouble ([`reduction`]), and never seen again: every criterion, gradient and Hessian comes from
//! the reduction ([`elimination`], [`criterion`]).

pub mod chain;
pub mod criterion;
pub mod crossed;
pub mod elimination;
pub mod iterative;
pub mod linalg;
pub mod marginal;
#[cfg(feature = "python")]
mod python;
pub mod reduction;
pub mod rows;
pub mod running;
pub mod series;
