//! Derivatives by entries of G: what each sum over units is made of.

pub mod curvature;
pub mod information;
pub mod pair_sums;
pub mod rest_information;
pub mod scores;
pub mod traces;
