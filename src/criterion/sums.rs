//! Sums over units that every engine makes, and what they are made for.

use crate::linalg::dense::axpy;
use crate::running::memory::zeros;

/// A free entry of G: row `a`, column `b` (and its mirror image) of one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Level of the entry.
    pub level: usize,
    /// Row.
    pub a: usize,
    /// Column.
    pub b: usize,
}

impl Entry {
    /// Derivative matrices are `weight (e_a e_b' + e_b e_a')`.
    #[must_use]
    pub fn weight(self) -> f64 {
        if self.a == self.b { 0.5 } else { 1.0 }
    }
}

/// Sums over units. Cross-products are over [X y], `rank + 1` squared, lower triangles.
#[derive(Clone, Debug)]
pub struct Sums {
    /// log|V| over all units.
    pub logdet: f64,
    /// [X y]'V^-1 [X y] without the remainder.
    pub gram: Vec<f64>,
    /// Derivatives of `logdet` by entry.
    pub logdet_by: Vec<f64>,
    /// Derivatives of `gram` by entry.
    pub gram_by: Vec<f64>,
    /// Second derivatives of log|V| + <Psi, gram>, the weight Psi held fixed.
    pub hessian: Vec<f64>,
    /// Second derivatives of e' gram e, e held fixed.
    pub hessian_rss: Vec<f64>,
    /// Weighted sums of second derivatives of `gram`, one matrix a set of weights; empty unless
    /// asked for.
    pub second: Vec<f64>,
    /// Derivatives by the coefficients of chains, by class: of log|V| + <Psi, gram>, then of
    /// e' gram e; empty without chains.
    pub classes: Vec<ClassSums>,
}

impl Sums {
    /// All zero, for `width` = rank + 1 and `n` entries.
    #[must_use]
    pub fn zero(width: usize, n: usize) -> Self {
        Self {
            logdet: 0.0,
            gram: vec![0.0; width * width],
            logdet_by: vec![0.0; n],
            gram_by: zeros(n * width * width),
            hessian: zeros(n * n),
            hessian_rss: zeros(n * n),
            second: Vec::new(),
            classes: Vec::new(),
        }
    }

    /// Adds the sums over other units.
    pub fn add(&mut self, other: &Self) {
        self.logdet += other.logdet;
        axpy(1.0, &other.gram, &mut self.gram);
        axpy(1.0, &other.logdet_by, &mut self.logdet_by);
        axpy(1.0, &other.gram_by, &mut self.gram_by);
        // A task that writes no Hessian brings none.
        if !other.hessian.is_empty() {
            axpy(1.0, &other.hessian, &mut self.hessian);
            axpy(1.0, &other.hessian_rss, &mut self.hessian_rss);
        }
        self.second.resize(other.second.len(), 0.0);
        axpy(1.0, &other.second, &mut self.second);
        self.classes.resize(other.classes.len(), ClassSums::default());
        self.classes.iter_mut().zip(&other.classes).for_each(|(sum, own)| sum.add(own));
    }
}

/// How the criterion weighs the cross-product at the root.
pub struct RootWeight {
    /// Weight of the X block in log|X'V^-1 X|: its inverse for REML, `None` for ML; full matrix.
    pub c: Option<Vec<f64>>,
    /// e = (-beta, 1).
    pub e: Vec<f64>,
}

/// Conditional means and covariances of the random effects of one level.
#[derive(Clone, Debug, Default)]
pub struct Conditional {
    /// Per unit, `q` conditional means.
    pub mean: Vec<f64>,
    /// Per unit, the `q` x `q` conditional covariance over `sigma^2`.
    pub covariance: Vec<f64>,
}

/// Sums over the rows of one class: derivatives by a and b with the weights of the criterion.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClassSums {
    /// First derivatives by a and by b.
    pub first: [f64; 2],
    /// Second derivatives by (a, a), (a, b) and (b, b).
    pub second: [f64; 3],
}

impl ClassSums {
    /// Adds another sum.
    pub fn add(&mut self, other: &Self) {
        self.first.iter_mut().zip(other.first).for_each(|(s, o)| *s += o);
        self.second.iter_mut().zip(other.second).for_each(|(s, o)| *s += o);
    }
}
