//! Crossed random effects: the leading factor eliminated, the others by a Cholesky factor, sparse or
//! dense.
//!
//! Let `Z_0` be the columns of the leading factor (most random effects), `Z_2` those of all others.
//! With W = I + Z G Z', and per unit u of the leading factor the numbers of `rows`,
//!
//! ```text
//! W_u = I + T_u G_0 T_u'        F_u = L_u^-1 N_u,  L_u L_u' = W_u
//! K   = M + sum F_u'F_u         (= Z_2' W_0^-1 Z_2, W_0 the leading factor's part of W)
//! A   = I + Lambda'K Lambda     Lambda Lambda' = G_2
//! log|W| = sum log|W_u| + log|A|
//! ```
//!
//! (Bates et al. 2015, J. Stat. Softw. 67(1), section 3, with the leading block in a form that is
//! regular where `G_0` is singular or infinite). Lambda is taken from the eigenvectors of G, so that it
//! need not have full rank: a variance of 0 is nothing special. Known relationships between levels put
//! their precision in the place of I, see `prior`.

mod conditional;
mod derivatives;
mod engine;
mod evaluation;
mod factor;
mod fixed;
mod incidence;
mod marginal;
mod prior;
mod reduction;
mod rest;
mod root;
mod rows;

pub use self::evaluation::Factorisation;
pub use self::factor::structure::{Schur, Structure, dense_operations};
pub use self::fixed::FixedMoments;
pub use self::incidence::Incidence;
pub use self::prior::{Prior, precision_variances};
pub use self::reduction::Reduction;
pub use self::rest::{Crossing, Rest, RestLevel};
pub use self::rows::reduce::Unusable;
