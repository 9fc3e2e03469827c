//! The ML and REML criterion, profiled over beta and `sigma^2`, with exact derivatives.
//!
//! An engine gives log|V| and [X y]'V^-1 [X y] with their derivatives by entries of G ([`sums`]); the
//! rest is the same for all: generalised least squares ([`solution`]), derivatives ([`derivatives`]).
//! What an engine is asked for stands in [`engine`].

pub mod asked;
pub mod bases;
#[cfg(test)]
pub(crate) mod checks;
pub mod derivatives;
pub mod engine;
pub mod estimates;
pub mod pairs;
pub mod solution;
pub mod sums;
