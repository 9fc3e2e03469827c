//! A factor of many levels in the fixed part, as a level of the crossed engine.
//!
//! Fixed effects are random ones of infinite variance (Henderson 1984, chapter 5): with the indicators
//! F of the levels, one column a unit, the coefficient matrix of the mixed-model equations has no
//! identity in their rows, and
//!
//! ```text
//! log|A| + log|W_0| = log|W| + log|F'W^-1 F|      [X y]'P [X y],  P = W^-1 - W^-1 F (F'W^-1 F)^-1 F'W^-1
//! ```
//!
//! take the places of log|W| and [X y]'W^-1 [X y], H = Z'P Z that of Z'W^-1 Z. What follows is a
//! restricted likelihood with regard to F and what it says of X is said of [X F]. Where F leads, `W_u` is
//! infinite: whitened rows are zero, and K is `Z_2` in what F does not span. Its G is 1 as far as the
//! rest of the engine reads it: `g` holds that.

use super::evaluation::Factorisation;
use super::reduction::Reduction;
use super::rest::Rest;
use super::root::apply_transposed;
use crate::linalg::dense::{axpy, block};
use crate::linalg::many::fill;
use crate::running::memory;

impl Rest {
    /// Are the effects of the leading factor fixed?
    #[must_use]
    pub fn leads_fixed(&self) -> bool {
        self.fixed == Some(self.leading)
    }

    /// Are the effects of the k-th rest level fixed?
    #[must_use]
    pub fn is_fixed(&self, k: usize) -> bool {
        self.fixed == Some(self.levels[k].level)
    }

    /// Number of fixed effects among the levels.
    pub(crate) fn n_fixed(&self, reduction: &Reduction) -> usize {
        self.fixed.map_or(0, |level| reduction.n_units(level))
    }
}

impl Reduction {
    /// "Cholesky factors" of the leading part where its effects are fixed, and log|F'F|.
    pub(crate) fn fixed_leading(&self) -> (Vec<f64>, f64) {
        let logdet = 2.0 * self.t.iter().map(|t| t.ln()).sum::<f64>();
        (vec![f64::INFINITY; self.t.len()], logdet)
    }
}

impl Factorisation<'_> {
    /// Generalised least squares of each column of [X y] on the leading factor's indicators, a row a
    /// unit: T^-1 (D - N `g_2`).
    pub(crate) fn fixed_means(&self) -> Vec<f64> {
        let (reduction, width) = (self.reduction, self.width);
        let inside =
            reduction.incidence.times(&reduction.incidence.values, 1, &self.effects, width);
        let data = &reduction.leading_data[self.fit];
        let one = |u: usize, out: &mut [f64]| {
            out.copy_from_slice(&data[block(u, width)]);
            axpy(-1.0, &inside[block(u, width)], out);
            out.iter_mut().for_each(|v| *v /= reduction.t[u]);
        };
        fill(reduction.rest.leading_units, width, data.len(), one)
    }

    /// Generalised least squares of each column of [X y] on the fixed level's indicators, a row a unit.
    #[must_use]
    pub fn fixed_effects(&self) -> Vec<f64> {
        match self.reduction.rest.fixed {
            Some(level) if level == self.reduction.rest.leading => self.fixed_means(),
            Some(level) => {
                let own = self.rest_level(level).columns();
                memory::copied(&self.effects[own.start * self.width..own.end * self.width])
            }
            None => Vec::new(),
        }
    }

    /// Columns of the covariance over `sigma^2` of the fixed level's effects, beta known: those of
    /// `units`, a row a unit of the level.
    #[must_use]
    pub fn fixed_columns(&self, units: &[usize]) -> Vec<f64> {
        let reduction = self.reduction;
        let (rest, m) = (&reduction.rest, units.len());
        let Some(level) = rest.fixed.filter(|_| m > 0) else { return Vec::new() };
        let mut cross = memory::zeros(rest.order() * m);
        let lambda = self.lambdas();
        if !rest.leads_fixed() {
            let first = self.rest_level(level).first_column;
            units.iter().enumerate().for_each(|(k, u)| cross[(first + u) * m + k] = 1.0);
            let solved =
                self.factor.as_ref().map_or_else(|| memory::copied(&cross), |f| f.solve(&cross, m));
            let own = self.rest_level(level).columns();
            return memory::copied(&solved[own.start * m..own.end * m]);
        }
        for (k, &unit) in units.iter().enumerate() {
            for (c, v) in reduction.incidence.row(unit) {
                cross[c * m + k] = -v / reduction.t[unit];
            }
        }
        let inner = apply_transposed(rest, &lambda, &cross, m);
        let solved =
            self.factor.as_ref().map_or_else(|| memory::copied(&inner), |f| f.solve(&inner, m));
        let effects = apply_transposed(rest, &self.lambdas_transposed(), &solved, m);
        let mut out = reduction.incidence.times(&reduction.incidence.values, 1, &effects, m);
        for (row, t) in out.chunks_exact_mut(m.max(1)).zip(&reduction.t) {
            row.iter_mut().for_each(|v| *v /= -t);
        }
        for (k, &unit) in units.iter().enumerate() {
            out[unit * m + k] += reduction.t[unit].powi(-2);
        }
        out
    }

    /// What the fixed level's effects say of the covariances, beta known: [`Self::fixed_effects`],
    /// columns of their covariance over `sigma^2`, those of `units`, and, where asked for, all their
    /// variances.
    #[must_use]
    pub fn fixed_moments(self, units: &[usize], variances: bool) -> FixedMoments {
        let reduction = self.reduction;
        let n = reduction.rest.fixed.map_or(0, |level| reduction.n_units(level));
        let (effects, columns) = (self.fixed_effects(), self.fixed_columns(units));
        if !variances {
            return FixedMoments { effects, columns, variances: Vec::new() };
        }
        let own: Vec<i32> = (0..n as i32).collect();
        let none = vec![-1; n];
        let mut codes: Vec<&[i32]> = vec![&none; reduction.n_levels()];
        let mut z: Vec<Vec<f64>> =
            (0..reduction.n_levels()).map(|l| memory::zeros(n * reduction.q(l))).collect();
        if let Some(level) = reduction.rest.fixed {
            codes[level] = &own;
            z[level].fill(1.0);
        }
        let z: Vec<&[f64]> = z.iter().map(Vec::as_slice).collect();
        FixedMoments { effects, columns, variances: self.prediction(&codes, &z).0 }
    }
}

/// See [`Factorisation::fixed_moments`].
pub struct FixedMoments {
    /// A row a unit, a column a column of [X y].
    pub effects: Vec<f64>,
    /// A row a unit, a column one of the units asked for.
    pub columns: Vec<f64>,
    /// A number a unit; empty where not asked for.
    pub variances: Vec<f64>,
}
