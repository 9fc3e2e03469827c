//! The innermost level where residuals are series.

mod chain;
mod series;
