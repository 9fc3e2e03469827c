//! Coordinates in which the iterations lose no digits.
//!
//! X is replaced by an orthonormal basis of its span, y by its residual, Z by columns whose mean
//! square per unit is the identity. Estimates are mapped back outside.

mod fixed;
mod map;
mod random;

pub use self::fixed::FixedBasis;
pub use self::random::{Basis, CollinearRandomEffects, level_basis, random_bases};
