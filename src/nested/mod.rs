//! Nested random effects, and residuals of their own: everything eliminated from the inside out.
//!
//! Rows are put into coordinates without rounding trouble ([`reduction`]); every criterion, gradient
//! and Hessian comes from the reduction ([`elimination`]).

pub mod batch;
pub mod blocks;
pub mod elimination;
mod engine;
pub mod many_responses;
pub mod patterns;
pub mod reduction;
pub mod report;
pub mod row_residuals;
pub mod series;
#[cfg(test)]
mod tests;
