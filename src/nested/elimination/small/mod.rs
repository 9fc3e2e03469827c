//! One level of few random effects and few columns, with sizes known to the compiler, of one fit or
//! of several side by side.
//!
//! The steps, and the order of every sum, are those of the general pass, but for the logarithms of
//! pivots, of which products are taken first; loops of known length cost a fifth.

mod at;
mod batch;
mod likelihood;
mod matrices;
mod of_one;
mod product;
mod sizes;
mod sums;
mod units;

pub use self::batch::small_results;
pub use self::sizes::{is_lower, is_small};
