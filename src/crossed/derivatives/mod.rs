//! Derivatives by entries of G: traces from blocks of the inverse, curvature from one solve an entry.
//!
//! With H = Z'W^-1 Z and U = Z'W^-1 [X y], for E the derivative of G by one of its entries,
//!
//! ```text
//! d log|W| = tr(H E)      d [X y]'W^-1 [X y] = -U'E U      d^2 [X y]'W^-1 [X y] = U'E_k H E_l U + transpose
//! ```
//!
//! H is never taken as a difference from 1 / G: where a root of G is small, its rows come from K.

pub mod curvature;
pub mod information;
pub mod pair_sums;
pub mod rest_information;
pub mod root_information;
pub mod scores;
pub mod traces;
