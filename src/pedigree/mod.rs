//! Pedigrees: parents by number in, an order of birth and inbreeding coefficients out.
//!
//! The relationships of a pedigree are A = T D T' (Henderson 1976, Biometrics 32, 69): row i of T^-1
//! is 1 at the animal and -1/2 at each known parent, and D holds what segregation adds to the mean of
//! the parents. A^-1 = T^-T D^-1 T^-1 has the nonzeros of animals with their parents and mates alone.

mod ancestors;
mod birth_order;
mod coefficients;
mod inbreeding;
mod pairs;
mod tracing;

pub use self::birth_order::{Parents, birth_order};
pub use self::coefficients::Inbreeding;
pub use self::inbreeding::inbreeding;
