//! The crossed engine.

use super::derivatives::information::Inverse;
use super::evaluation::Factorisation;
use super::factor::panels::Panels;
use super::reduction::Reduction;
use crate::criterion::derivatives::LikelihoodDerivatives;
use crate::criterion::engine::{At, Engine, Unsolved, Wanted};
use crate::criterion::pairs::fixed_blocks;
use crate::criterion::solution::{Shape, Solution, within};
use crate::criterion::sums::{Conditional, Entry, Sums};
use crate::linalg::dense::{NotPositiveDefinite, axpy};
use crate::rows::basis::FixedBasis;

/// Operations of one factorisation above which each takes all threads.
const LARGE: f64 = 1e9;

impl Reduction {
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
    /// Generalised least squares.
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] where X'W^-1 X is not positive definite.
    pub fn least_squares(&self) -> Result<Solution, NotPositiveDefinite> {
        Solution::new(&self.gram, self.logdet, self.reduction.rank())
    }

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
        let takes_root = !exact && self.takes_root();
        let inverse = self.factor.take().map(|factor| {
            if takes_root {
                Inverse::Root(factor.into_inverse_root())
            } else {
                Inverse::Selected(factor.into_inverse())
            }
        });
        let by_level = self.information_sums(inverse.as_ref(), &small);
        for (out, entry) in sums.logdet_by.iter_mut().zip(entries) {
            let q = self.reduction.q(entry.level);
            let h = &by_level[entry.level];
            *out = entry.weight() * (h[entry.a * q + entry.b] + h[entry.b * q + entry.a]);
        }
        if exact {
            let whole = whole.or_else(|| inverse.as_ref()?.selected().map(Panels::to_dense));
            let traces = self.traces(entries, whole.as_deref());
            axpy(-1.0, &traces, &mut sums.hessian);
        }
        sums
    }
}

impl Engine for Reduction {
    fn name(&self) -> &'static str {
        "crossed"
    }

    fn lacks(&self) -> &'static [&'static str] {
        &["visit_moments"]
    }

    fn fixed(&self) -> &FixedBasis {
        &self.fixed
    }

    fn shape(&self) -> Shape {
        let n_rows = self.n_rows - self.rest.n_fixed(self);
        Shape { n_rows, rank: self.rank(), profiled: true }
    }

    fn levels(&self) -> Vec<(usize, &[f64])> {
        self.bases.iter().enumerate().map(|(l, basis)| (self.q(l), &basis[..])).collect()
    }

    /// Units of the leading factor, and order of the matrix factored after it.
    fn size(&self) -> (usize, usize) {
        (self.rest.leading_units, self.rest.order())
    }

    fn is_large(&self) -> bool {
        self.operations() > LARGE
    }

    /// Where exact ones would cost far more than the factorisation, second derivatives are the average
    /// information; at G = 0 the exact ones cost no more than a pass over the cells.
    fn is_exact(&self, g: &[Vec<Vec<f64>>], asked: bool) -> bool {
        let at_zero = || g.iter().flatten().flatten().all(|v| *v == 0.0);
        asked || self.exact_is_cheap() || (!self.has_prior() && at_zero())
    }

    fn within(&self) -> Result<(Vec<f64>, usize), Unsolved> {
        Ok(within(&self.remainder, self.rank(), self.n_rows, self.n_random))
    }

    fn solve(&self, at: At) -> Result<Solution, Unsolved> {
        Ok(Factorisation::new(self, at.fit, at.g)?.least_squares()?)
    }

    /// Without `exact` those second derivatives of the log-determinants that need two factors H are
    /// left out, and the criterion takes the average information: the mean of both Hessians at the
    /// optimum (Gilmour, Thompson and Cullis 1995, Biometrics 51, 1440).
    fn likelihood_derivatives(
        &self,
        at: At,
        entries: &[Entry],
        wanted: Wanted,
    ) -> Result<LikelihoodDerivatives, Unsolved> {
        let mut factorisation = Factorisation::new(self, at.fit, at.g)?;
        let solution = factorisation.least_squares()?;
        let sums = factorisation.sums(entries, &solution, wanted.reml, wanted.exact);
        let (rank, n) = (self.rank(), entries.len());
        Ok(LikelihoodDerivatives::new(rank, solution, sums, n, wanted.reml))
    }

    fn information_derivatives(&self, at: At, entries: &[Entry]) -> Result<Vec<f64>, Unsolved> {
        let factorisation = Factorisation::new(self, at.fit, at.g)?;
        let grams = factorisation.gram_by(entries, &factorisation.scores());
        Ok(fixed_blocks(&grams, self.rank()))
    }

    /// `U'E_k H E_l U` and its transpose.
    fn information_second_derivatives(
        &self,
        at: At,
        entries: &[Entry],
        weights: Option<&[f64]>,
    ) -> Result<Vec<f64>, Unsolved> {
        Ok(Factorisation::new(self, at.fit, at.g)?.information_second(entries, weights))
    }

    fn conditional(&self, at: At, e: &[f64]) -> Result<Vec<Conditional>, Unsolved> {
        Ok(Factorisation::new(self, at.fit, at.g)?.conditional(e))
    }

    fn n_units(&self) -> Vec<usize> {
        (0..self.n_levels()).map(|level| self.n_units(level)).collect()
    }

    fn prediction_error(
        &self,
        at: At,
        codes: &[&[i32]],
        z: &[&[f64]],
    ) -> Result<(Vec<f64>, Vec<f64>), Unsolved> {
        Ok(Factorisation::new(self, at.fit, at.g)?.prediction(codes, z))
    }
}
