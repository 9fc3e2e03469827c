//! Square roots of covariance matrices that may be singular, and products with block-diagonal ones.

use faer::{MatRef, Side};

use super::rest::Rest;
use crate::linalg::dense::axpy;
use crate::linalg::small::identity;
use crate::running::memory::zeros;

/// Eigenvalues of G under this (in units where a unit's mean square is 1) are small: dividing by
/// their roots would lose digits.
const SMALL: f64 = 1e-4;

/// G = Q diag(s^2) Q'.
#[derive(Clone, Debug)]
pub struct Root {
    /// Order.
    pub q: usize,
    /// Eigenvectors in columns, row-major.
    pub vectors: Vec<f64>,
    /// Roots of the eigenvalues, not negative.
    pub s: Vec<f64>,
}

impl Root {
    /// Eigenvectors of the symmetric row-major `g`; eigenvalues below 0 by rounding become 0.
    #[must_use]
    pub fn new(g: &[f64], q: usize) -> Self {
        let off = (0..q * q).any(|i| i / q != i % q && g[i] != 0.0);
        if !off {
            let s = (0..q).map(|i| g[i * q + i].max(0.0).sqrt()).collect();
            return Self { q, vectors: identity(q), s };
        }
        let matrix = MatRef::from_row_major_slice(g, q, q);
        let Ok(eigen) = matrix.self_adjoint_eigen(Side::Lower) else {
            // Not finite: the factorisation that follows fails on it.
            return Self { q, vectors: identity(q), s: vec![f64::NAN; q] };
        };
        let (u, s) = (eigen.U(), eigen.S());
        let mut vectors = vec![0.0; q * q];
        for i in 0..q {
            for k in 0..q {
                vectors[i * q + k] = u[(i, k)];
            }
        }
        let largest = (0..q).map(|k| s[k].abs()).fold(0.0, f64::max);
        let s = (0..q)
            .map(|k| {
                let value: f64 = s[k];
                if value.is_nan() { value } else { value.max(0.0).sqrt() }
            })
            .map(|root: f64| if root * root < 4.0 * f64::EPSILON * largest { 0.0 } else { root })
            .collect();
        Self { q, vectors, s }
    }

    /// Q diag(s), row-major.
    #[must_use]
    pub fn lambda(&self) -> Vec<f64> {
        let q = self.q;
        (0..q * q).map(|i| self.vectors[i] * self.s[i % q]).collect()
    }

    /// Is the k-th root too small to divide by?
    #[must_use]
    pub fn is_small(&self, k: usize) -> bool {
        self.s[k] * self.s[k] < SMALL
    }
}

/// Units whose columns lie in `first..last`, with the position of their level among the rest.
pub fn for_units(
    rest: &Rest,
    first: usize,
    last: usize,
    mut visit: impl FnMut(usize, std::ops::Range<usize>),
) {
    for (k, level) in rest.levels.iter().enumerate() {
        let all = level.columns();
        let (from, to) = (first.max(all.start), last.min(all.end));
        let mut at = from;
        while at < to {
            visit(k, at..at + level.q);
            at += level.q;
        }
    }
}

/// x <- P'x for the row-major x of `width` columns, a row a column of `Z_2`.
#[must_use]
pub fn apply_transposed(rest: &Rest, p: &[Vec<f64>], x: &[f64], width: usize) -> Vec<f64> {
    let mut out = zeros(x.len());
    for_units(rest, 0, rest.order(), |k, columns| {
        let q = columns.len();
        for (to, row) in columns.clone().enumerate() {
            for (from, other) in columns.clone().enumerate() {
                let weight = p[k][from * q + to];
                axpy(
                    weight,
                    &x[other * width..(other + 1) * width],
                    &mut out[row * width..(row + 1) * width],
                );
            }
        }
    });
    out
}
