//! The rows of a design: sorted into units, read once, rotated.

pub mod nesting;
pub mod relationship;
pub mod rotate;
