//! Linear algebra on plain slices.

pub mod blocked;
pub mod dense;
pub mod eigen;
pub mod lanes;
pub mod many;
pub mod small;
pub mod triangle;
