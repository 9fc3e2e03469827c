//! The orthonormal basis of X's span, and where each response stands in it.

use crate::linalg::dense::{axpy, block, dot, vectorised};
use crate::linalg::lanes::{Four, LANES, Lane, sum_of};
use crate::linalg::triangle::Triangle;
use crate::rows::columns::RowColumns;
use crate::rows::nesting::Nesting;
use crate::rows::rotation::rotate::rotate;
use crate::running::memory::zeros;

/// Relative size under which the part of a column outside the earlier ones counts as zero (R's).
const ALIAS_TOLERANCE: f64 = 1e-7;

/// Columns that were kept of X, and the map from the original to the orthonormal ones.
#[derive(Clone, Debug)]
pub struct FixedBasis {
    /// Positions of the columns kept, in order.
    pub kept: Vec<usize>,
    /// Upper triangular R with X = Q R for the kept columns.
    pub factor: Vec<f64>,
    /// Per fit, Q'y: coefficients of ordinary least squares in the orthonormal basis.
    pub ols: Vec<f64>,
    /// Per fit, root mean square of the ordinary least squares residual (over n).
    pub y_scale: Vec<f64>,
}

impl FixedBasis {
    /// Orthonormal basis of the columns of X, taken in order; a column inside the span of the
    /// columns before it is left out, as R does.
    pub fn new(total: &mut Triangle, noise: &[f64], n_rows: usize) -> Self {
        let p = noise.len();
        let n_fits = total.residual_squares.len();
        let width = p + n_fits;
        let squares = total.residual_squares.clone();
        let factor = total.factor();
        let column = |j: usize| -> Vec<f64> { (0..p).map(|i| factor[i * width + j]).collect() };
        let mut basis: Vec<Vec<f64>> = Vec::new();
        let mut coefficients: Vec<Vec<f64>> = Vec::new();
        let mut kept = Vec::new();
        for j in 0..p {
            let mut v = column(j);
            let size = dot(&v, &v).sqrt();
            let mut r = project_out(&basis, &mut v);
            let outside = dot(&v, &v).sqrt();
            if outside > (ALIAS_TOLERANCE * size).max(noise[j]) {
                v.iter_mut().for_each(|value| *value /= outside);
                basis.push(v);
                r.push(outside);
                coefficients.push(r);
                kept.push(j);
            }
        }
        let rank = kept.len();
        let mut upper = vec![0.0; rank * rank];
        for (j, r) in coefficients.iter().enumerate() {
            for (i, value) in r.iter().enumerate() {
                upper[i * rank + j] = *value;
            }
        }
        let (mut ols, mut y_scale) = (zeros(n_fits * rank), zeros(n_fits));
        for first in (0..n_fits).step_by(LANES) {
            let of = |lane: usize| (first + lane).min(n_fits - 1);
            let at = |i: usize| Four::from_lanes(|lane| factor[i * width + p + of(lane)]);
            let mut v: Vec<Four> = (0..p).map(at).collect();
            let (mut along, mut rss) = (vec![Four::splat(0.0); rank], Four::splat(0.0));
            vectorised(|| {
                project_out_four(&basis, &mut v, &mut along);
                let outside = Four::from_lanes(|lane| squares[of(lane)]);
                rss = outside + sum_of(p, |i| v[i] * v[i]);
            });
            for lane in 0..LANES.min(n_fits - first) {
                let fit = first + lane;
                y_scale[fit] = (rss.lane(lane) / n_rows as f64).sqrt();
                for (to, own) in ols[block(fit, rank)].iter_mut().zip(&along) {
                    *to = own.lane(lane);
                }
            }
        }
        Self { kept, factor: upper, ols, y_scale }
    }

    /// The basis of the columns of X alone.
    #[must_use]
    pub fn of_rows(n_rows: usize, columns: &RowColumns, noise: &[f64]) -> Self {
        let no_levels = Nesting { n_rows, levels: Vec::new(), row_order: None };
        let mut rotated = rotate(&no_levels, &columns.fixed());
        Self::new(&mut rotated.total, noise, rotated.n_obs)
    }

    /// Rank of X.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.kept.len()
    }
}

/// v <- v - Q Q'v, twice (Gram-Schmidt needs it to stay orthogonal); returns Q'v.
fn project_out(basis: &[Vec<f64>], v: &mut [f64]) -> Vec<f64> {
    let mut coefficients = vec![0.0; basis.len()];
    for _ in 0..2 {
        for (b, c) in basis.iter().zip(&mut coefficients) {
            let s = dot(b, v);
            *c += s;
            axpy(-s, b, v);
        }
    }
    coefficients
}

/// `project_out` in each lane; Q'v is added to `coefficients`.
#[inline(always)]
fn project_out_four(basis: &[Vec<f64>], v: &mut [Four], coefficients: &mut [Four]) {
    for _ in 0..2 {
        for (b, c) in basis.iter().zip(&mut *coefficients) {
            let s = sum_of(b.len(), |i| Four::splat(b[i]) * v[i]);
            *c += s;
            let back = -s;
            for (value, &by) in v.iter_mut().zip(b) {
                *value += back * Four::splat(by);
            }
        }
    }
}
