//! Generalised least squares at one G, and -2 log-likelihood from it.

use crate::linalg::dense::{
    NotPositiveDefinite, add_outer, axpy, cholesky, dot, invert_lower, semidefinite_root,
    solve_lower, symmetrise,
};
use crate::running::memory::zeros;

/// -2 log-likelihood of one response at one G, and its derivatives by entries of G.
#[derive(Clone, Debug)]
pub struct Criterion {
    /// -2 log-likelihood in the reduction's coordinates, all constants included; +inf where V is
    /// not positive definite.
    pub value: f64,
    /// First derivatives, `n_entries`.
    pub gradient: Vec<f64>,
    /// Second derivatives, `n_entries` squared.
    pub hessian: Vec<f64>,
    /// Their expectation.
    pub expected: Vec<f64>,
}

/// What the criterion needs to know of a design beside its sums.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Number of rows.
    pub n_rows: usize,
    /// Rank of X.
    pub rank: usize,
    /// Is `sigma^2` profiled out?
    pub profiled: bool,
}

impl Shape {
    /// n - p for REML, n for ML.
    #[must_use]
    pub fn degrees(self, reml: bool) -> f64 {
        (self.n_rows - if reml { self.rank } else { 0 }) as f64
    }
}

impl Criterion {
    /// What is known where second derivatives were not asked for.
    #[must_use]
    pub fn without_second(value: f64, gradient: Vec<f64>) -> Self {
        Self { value, gradient, hessian: Vec::new(), expected: Vec::new() }
    }

    /// +inf with derivatives of zero: what a G outside the parameter space gets.
    #[must_use]
    pub fn failed(n_entries: usize) -> Self {
        Self {
            value: f64::INFINITY,
            gradient: vec![0.0; n_entries],
            hessian: zeros(n_entries * n_entries),
            expected: zeros(n_entries * n_entries),
        }
    }
}

/// Generalised least squares at one G, in the reduction's basis.
#[derive(Clone, Debug)]
pub struct Solution {
    /// Coefficients, `rank`.
    pub beta: Vec<f64>,
    /// (X'W^-1 X)^-1, `rank` squared.
    pub c: Vec<f64>,
    /// y'Py.
    pub rss: f64,
    /// log|W|.
    pub logdet: f64,
    /// log|X'W^-1 X|.
    pub logdet_xx: f64,
}

impl Solution {
    /// From [X y]'V^-1 [X y] (lower triangle) and log|V|.
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] where X'V^-1 X is not positive definite or y'Py not positive.
    pub fn new(gram: &[f64], logdet: f64, rank: usize) -> Result<Self, NotPositiveDefinite> {
        let width = rank + 1;
        let mut l = vec![0.0; rank * rank];
        for i in 0..rank {
            l[i * rank..=i * rank + i].copy_from_slice(&gram[i * width..=i * width + i]);
        }
        cholesky(&mut l, rank)?;
        let mut half = gram[rank * width..rank * width + rank].to_vec();
        solve_lower(&l, rank, &mut half, 1);
        let rss = gram[width * width - 1] - dot(&half, &half);
        if rss.is_nan() || rss <= 0.0 {
            return Err(NotPositiveDefinite { pivot: rank });
        }
        let mut inverse = vec![0.0; rank * rank];
        invert_lower(&l, rank, &mut inverse);
        let mut beta = vec![0.0; rank];
        let mut c = vec![0.0; rank * rank];
        for (k, row) in inverse.chunks_exact(rank.max(1)).enumerate() {
            axpy(half[k], row, &mut beta);
            add_outer(row, &mut c);
        }
        symmetrise(&mut c, rank);
        let logdet_xx = 2.0 * (0..rank).map(|i| l[i * rank + i].ln()).sum::<f64>();
        Ok(Self { beta, c, rss, logdet, logdet_xx })
    }

    /// e = (-beta, 1): the residual is [X y] e.
    #[must_use]
    pub fn e(&self) -> Vec<f64> {
        self.beta.iter().map(|b| -b).chain([1.0]).collect()
    }

    /// -2 log-likelihood, all constants included.
    #[must_use]
    pub fn value(&self, shape: Shape, reml: bool) -> f64 {
        let nu = shape.degrees(reml);
        let tau = 2.0 * std::f64::consts::PI;
        // A residual covariance carries sigma^2 itself: nothing is left to profile.
        let constant = if shape.profiled {
            nu * (1.0 + (tau * self.rss / nu).ln())
        } else {
            nu * tau.ln() + self.rss
        };
        self.logdet + constant + if reml { self.logdet_xx } else { 0.0 }
    }
}

/// Square of the length of a column of X within units, over all rows 1, that is rounding.
const NOTHING_LEFT: f64 = 1e-24;

/// Residual sum of squares of each response over rows with these cross-products of [X y] (lower
/// triangles), and its degrees of freedom; `n_random` rows are not among these.
#[must_use]
pub fn within(grams: &[f64], rank: usize, n_rows: usize, n_random: usize) -> (Vec<f64>, usize) {
    let width = rank + 1;
    let mut rank_within = 0;
    let rss = grams
        .chunks_exact(width * width)
        .map(|gram| {
            let mut root = gram.to_vec();
            symmetrise(&mut root, width);
            // Columns of X have length 1 over all rows: what is left of these is rounding.
            for j in (0..rank).filter(|j| gram[j * width + j] < NOTHING_LEFT) {
                (0..width).for_each(|i| {
                    root[i * width + j] = 0.0;
                    root[j * width + i] = 0.0;
                });
            }
            semidefinite_root(&mut root, width);
            rank_within = (0..rank).filter(|i| root[i * width + i] > 0.0).count();
            root[width * width - 1].powi(2)
        })
        .collect();
    (rss, n_rows.saturating_sub(n_random + rank_within))
}
