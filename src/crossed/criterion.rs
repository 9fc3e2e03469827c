//! The criterion of a crossed design and its derivatives.

use super::evaluation::Factorisation;
use super::factor::panels::Panels;
use super::reduction::Reduction;
use crate::criterion::derivatives::{LikelihoodDerivatives, assemble};
use crate::criterion::solution::{Criterion, Shape, Solution};
use crate::criterion::sums::{Entry, Sums};
use crate::linalg::dense::{NotPositiveDefinite, axpy};

/// How the second derivatives are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curvature {
    /// Observed and expected, exactly.
    Exact,
    /// The mean of both at the optimum, which needs no trace of two factors (Gilmour, Thompson and
    /// Cullis 1995, Biometrics 51, 1440).
    Average,
}

impl Reduction {
    /// Numbers that [`Criterion`] needs of this design.
    fn shape(&self) -> Shape {
        let n_rows = self.n_rows - self.rest.n_fixed(self);
        Shape { n_rows, rank: self.rank(), profiled: true }
    }

    /// Generalised least squares of response `fit` at `g`.
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] where W or X'W^-1 X is not positive definite.
    pub fn solve(&self, fit: usize, g: &[Vec<f64>]) -> Result<Solution, NotPositiveDefinite> {
        let factorisation = Factorisation::new(self, fit, g)?;
        Solution::new(&factorisation.gram, factorisation.logdet, self.rank())
    }

    /// The criterion; with `curvature` its gradient and second derivatives too.
    #[must_use]
    pub fn evaluate(
        &self,
        fit: usize,
        g: &[Vec<f64>],
        entries: &[Entry],
        reml: bool,
        curvature: Option<Curvature>,
    ) -> Criterion {
        let failed = Criterion::failed(entries.len());
        let Some(curvature) = curvature else {
            return match self.solve(fit, g) {
                Ok(solution) => Criterion { value: solution.value(self.shape(), reml), ..failed },
                Err(_) => failed,
            };
        };
        let exact = curvature == Curvature::Exact;
        match self.likelihood_derivatives(fit, g, entries, reml, exact) {
            Ok(parts) => assemble(self.shape(), &parts, entries.len(), reml, !exact),
            Err(_) => failed,
        }
    }

    /// Derivatives of the log-determinants and of y'Py; without `exact` those second derivatives of
    /// the log-determinants that need two factors H are left out.
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] as [`Self::solve`].
    pub fn likelihood_derivatives(
        &self,
        fit: usize,
        g: &[Vec<f64>],
        entries: &[Entry],
        reml: bool,
        exact: bool,
    ) -> Result<LikelihoodDerivatives, NotPositiveDefinite> {
        let mut factorisation = Factorisation::new(self, fit, g)?;
        let solution = Solution::new(&factorisation.gram, factorisation.logdet, self.rank())?;
        let sums = factorisation.sums(entries, &solution, reml, exact);
        Ok(LikelihoodDerivatives::new(self.rank(), solution, sums, entries.len(), reml))
    }

    /// Second derivatives of X'W^-1 X by entries, `U'E_k H E_l U` and its transpose: for each pair
    /// (k, l), or with `weights` (`n_entries` squared) their weighted sum alone.
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] as [`Self::solve`].
    pub fn information_second_derivatives(
        &self,
        fit: usize,
        g: &[Vec<f64>],
        entries: &[Entry],
        weights: Option<&[f64]>,
    ) -> Result<Vec<f64>, NotPositiveDefinite> {
        let factorisation = Factorisation::new(self, fit, g)?;
        Ok(factorisation.information_second(entries, weights))
    }

    /// Derivatives of X'W^-1 X by entries, lower triangles with the column of y.
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] as [`Self::solve`].
    pub fn information_derivatives(
        &self,
        fit: usize,
        g: &[Vec<f64>],
        entries: &[Entry],
    ) -> Result<Vec<f64>, NotPositiveDefinite> {
        let factorisation = Factorisation::new(self, fit, g)?;
        let scores = factorisation.scores();
        Ok(factorisation.gram_by(entries, &scores))
    }

    /// Operations of one factorisation with the blocks of its inverse, roughly.
    #[must_use]
    pub fn operations(&self) -> f64 {
        self.structure.operations + 2.0 * self.rest.leading_q as f64 * self.incidence.n_pairs()
    }

    /// Does the exact curvature cost little beside the factorisation?
    #[must_use]
    pub fn exact_is_cheap(&self) -> bool {
        let n = self.rest.order() as f64;
        let q = self.rest.leading_q as f64;
        let leading = if self.rest.leads_fixed() { 0.0 } else { q };
        let places = self.incidence.columns.len() as f64 * leading;
        let all = n + self.rest.leading_units as f64 * leading;
        let largest = self.rest.largest_q().max(self.rest.leading_q) as f64;
        let exact = places * (2.0 * n + all) + 4.0 * n * n + all * all * largest * largest;
        // The whole inverse is made of the factor column by column.
        let mut whole =
            if self.structure.is_dense { 0.0 } else { 4.0 * n * self.structure.n_values() };
        if self.prior.is_some() {
            // Solutions with the precision's factor for all columns, several times.
            whole += 10.0 * n * self.structure.n_values();
        }
        // A sparse operation costs several of the factorisation's.
        4.0 * (exact + whole) < self.operations() || exact + whole < 1e8
    }
}

impl Factorisation<'_> {
    /// All sums over units that the criterion's derivatives are made of.
    ///
    /// The factor's values become those of the inverse on the way: it is the largest thing held.
    fn sums(&mut self, entries: &[Entry], solution: &Solution, reml: bool, exact: bool) -> Sums {
        let n = entries.len();
        let mut sums = Sums::zero(self.width, n);
        let scores = self.scores();
        sums.gram_by = self.gram_by(entries, &scores);
        self.add_second(entries, solution, &scores, reml && exact, &mut sums);
        drop(scores);
        let small = self.small_sums();
        let whole = if exact { self.whole_inverse() } else { None };
        let inverse = self.factor.take().map(Panels::into_inverse);
        let by_level = self.information_sums(inverse.as_ref(), &small);
        for (out, entry) in sums.logdet_by.iter_mut().zip(entries) {
            let q = self.reduction.q(entry.level);
            let h = &by_level[entry.level];
            *out = entry.weight() * (h[entry.a * q + entry.b] + h[entry.b * q + entry.a]);
        }
        if exact {
            let whole = whole.or_else(|| inverse.map(|v| v.to_dense()));
            let traces = self.traces(entries, whole.as_deref());
            axpy(-1.0, &traces, &mut sums.hessian);
        }
        sums
    }
}
