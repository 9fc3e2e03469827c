//! The crossed engine.

use super::criterion::Curvature;
use super::evaluation::Factorisation;
use super::reduction::Reduction;
use crate::criterion::derivatives::LikelihoodDerivatives;
use crate::criterion::engine::{At, Engine, Unsolved, Wanted};
use crate::criterion::pairs::fixed_blocks;
use crate::criterion::solution::{Criterion, Solution};
use crate::criterion::sums::{Conditional, Entry};
use crate::rows::basis::FixedBasis;

/// Operations of one factorisation above which each takes all threads.
const LARGE: f64 = 1e9;

impl Engine for Reduction {
    fn name(&self) -> &'static str {
        "crossed"
    }

    fn lacks(&self) -> &'static [&'static str] {
        &["visit_moments"]
    }

    fn n_fits(&self) -> usize {
        self.n_fits
    }

    fn fixed(&self) -> &FixedBasis {
        &self.fixed
    }

    fn n_levels(&self) -> usize {
        Self::n_levels(self)
    }

    fn q(&self, level: usize) -> usize {
        Self::q(self, level)
    }

    fn n_units(&self, level: usize) -> usize {
        Self::n_units(self, level)
    }

    fn basis(&self, level: usize) -> &[f64] {
        &self.bases[level]
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
        Ok(Self::within(self))
    }

    fn solve(&self, at: At) -> Result<Solution, Unsolved> {
        Ok(Self::solve(self, at.fit, at.g)?)
    }

    fn evaluate(&self, at: At, entries: &[Entry], wanted: Wanted) -> Result<Criterion, Unsolved> {
        let kind = if wanted.exact { Curvature::Exact } else { Curvature::Average };
        let curvature = wanted.derivatives.then_some(kind);
        Ok(Self::evaluate(self, at.fit, at.g, entries, wanted.reml, curvature))
    }

    fn likelihood_derivatives(
        &self,
        at: At,
        entries: &[Entry],
        wanted: Wanted,
    ) -> Result<LikelihoodDerivatives, Unsolved> {
        let Wanted { reml, exact, .. } = wanted;
        Ok(Self::likelihood_derivatives(self, at.fit, at.g, entries, reml, exact)?)
    }

    fn information_derivatives(&self, at: At, entries: &[Entry]) -> Result<Vec<f64>, Unsolved> {
        let grams = Self::information_derivatives(self, at.fit, at.g, entries)?;
        Ok(fixed_blocks(&grams, self.rank()))
    }

    fn information_second_derivatives(
        &self,
        at: At,
        entries: &[Entry],
        weights: Option<&[f64]>,
    ) -> Result<Vec<f64>, Unsolved> {
        Ok(Self::information_second_derivatives(self, at.fit, at.g, entries, weights)?)
    }

    fn conditional(&self, at: At, e: &[f64]) -> Result<Vec<Conditional>, Unsolved> {
        Ok(Factorisation::new(self, at.fit, at.g)?.conditional(e))
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
