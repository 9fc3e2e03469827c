//! Linear algebra on plain slices.

pub mod blocked;
pub mod dense;
pub mod many;
pub mod small;
pub mod triangle;
