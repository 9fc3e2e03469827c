//! One level of few random effects and few columns, with sizes known to the compiler, of one fit or
//! of several side by side.
//!
//! The sums are those of the general pass. Units are factored without roots, their pivots are looked at
//! when all are there, and logarithms are taken of products of pivots; loops of known length cost a
//! fifth.

mod at;
mod batch;
mod likelihood;
mod matrices;
mod of_one;
mod one_g;
mod product;
mod sizes;
mod sums;
mod units;

pub use self::batch::small_results;
pub use self::sizes::{is_lower, is_small};
