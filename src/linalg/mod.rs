//! Linear algebra on plain slices.

pub mod beside;
pub mod blocked;
pub mod dense;
pub mod eigen;
pub mod lanes;
pub mod many;
#[cfg(test)]
mod properties;
pub mod small;
pub mod sparse_triangle;
pub mod triangle;
