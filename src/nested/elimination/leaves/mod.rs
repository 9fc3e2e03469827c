//! The innermost level where residuals are series.

mod chain;
mod chain_units;
mod series;
