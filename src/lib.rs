//! The numerical core of mlmfast: Gaussian linear mixed models.
//!
//! y = X beta + Z g + e, g ~ N(0, sigma^2 G), e ~ N(0, sigma^2 I / w), so V = sigma^2 W with
//! W = Z G Z' + I after rows are scaled by the root of their weights.
//!
//! Rows are read once ([`rows`]) and never seen again: an engine reduces them and gives every
//! criterion, gradient and Hessian from the reduction. Each serves a kind of model: [`nested`]
//! factors, [`crossed`] ones, [`iterative`] for more of these than a factorisation can hold, and
//! [`dense`] for everything else. What is below them knows none of them. [`newton`] has the small
//! matrices of the iteration, [`pedigree`] the relationships of animals by their parents.

pub mod criterion;
pub mod crossed;
pub mod dense;
pub mod draws;
pub mod iterative;
pub mod linalg;
pub mod nested;
pub mod newton;
pub mod pedigree;
#[cfg(feature = "python")]
mod python;
pub mod rows;
pub mod running;
