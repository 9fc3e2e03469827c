//! Random effects eliminated from the inside out, with exact first and second derivatives.
//!
//! At a unit u of level l let B be the columns that remain after it, [outer Z, X, y]; M the
//! cross-product of [Z B] weighted by the inverse of the covariance of everything inside u; and
//! T'T = `M_ZZ`, A = T^-T `M_ZB`. With W = I + T G T', H = T'W^-1 T, U = T'W^-1 A, the unit passes up
//!
//! ```text
//! N = M_BB - A'A + A'W^-1 A            log|V| += log|W|
//! ```
//!
//! and with J = [-G U; I], S = G - G H G (the conditional covariance of the unit's effects,
//! formed as R'(I + R T'T R')^-1 R with G = R'R: nothing cancels where T is large):
//!
//! ```text
//! dN/dG along E   = -U'E U             d log|V| = tr(H E)
//! dN/dM along M_k = J'M_k J            d log|V| = tr(S M_k,ZZ)
//! ```
//!
//! Second derivatives are summed on the way back down: the weight Psi of N in the criterion goes to
//! the unit's children as J Psi J' + S, so each unit adds only its own second differential. For one
//! level this is section 3 of Lindstrom and Bates (1988) in other letters; for more it costs one
//! small factorization a unit, however many units an outer one holds.

mod downward;
mod factors;
mod leaves;
mod pairs;
mod passes;
mod products;
mod second;
mod small;
mod state;
mod tangents;
mod upward;
mod workspace;

pub use self::small::{is_lower, is_small, small_results};
pub use self::state::Elimination;
pub use self::workspace::PairWeights;
