//! Residuals that follow series: what is kept of the rows, and what the parameters make of it.

pub mod chain;
pub mod items;
pub(crate) mod walked;
