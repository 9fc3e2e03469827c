//! The dense engine.

use super::reduction::Reduction;
use super::template::Template;
use crate::criterion::derivatives::LikelihoodDerivatives;
use crate::criterion::engine::{At, Engine, Unsolved, Wanted};
use crate::criterion::pairs::{fixed_blocks, second_derivatives};
use crate::criterion::solution::{Criterion, Solution};
use crate::criterion::sums::{Conditional, Entry};
use crate::rows::basis::FixedBasis;

impl Reduction {
    fn templates<'a>(&self, at: At<'a>) -> Vec<Template<'a>> {
        let levels = at.g.iter().zip(at.shapes).zip(&self.q);
        levels
            .map(|((values, shape), &q)| {
                let (kinds, blocks) = if shape.len() == 4 { (shape[0], shape[1]) } else { (1, 1) };
                Template { values, q, kinds, blocks }
            })
            .collect()
    }
}

impl Engine for Reduction {
    fn name(&self) -> &'static str {
        "dense"
    }

    fn lacks(&self) -> &'static [&'static str] {
        &[]
    }

    fn n_fits(&self) -> usize {
        self.n_fits
    }

    fn fixed(&self) -> &FixedBasis {
        &self.fixed
    }

    fn n_levels(&self) -> usize {
        self.q.len()
    }

    fn n_random(&self) -> usize {
        Self::n_random(self)
    }

    fn q(&self, level: usize) -> usize {
        self.q[level]
    }

    fn n_units(&self, level: usize) -> usize {
        self.n_effects(level)
    }

    fn basis(&self, level: usize) -> &[f64] {
        &self.bases[level]
    }

    /// Components, and rows of the largest.
    fn size(&self) -> (usize, usize) {
        (self.components.len(), self.largest())
    }

    fn is_large(&self) -> bool {
        Self::is_large(self)
    }

    /// A residual covariance may come with derivatives by parameters, as (matrices, units or 1, q, q).
    fn shape(&self, level: usize, found: &[usize]) -> Vec<usize> {
        let q = self.q[level];
        let units = [1, self.n_units[level]];
        if level >= self.n_random() && found.len() == 4 && units.contains(&found[1]) {
            return vec![found[0], found[1], q, q];
        }
        vec![q, q]
    }

    fn has_derivatives(&self, at: At, entries: &[Entry]) -> bool {
        let t = entries.iter().filter(|e| e.level + 1 == self.q.len()).count();
        let kinds = 1 + t + t * (t + 1) / 2;
        self.templates(at).last().is_none_or(|r| !r.has_derivatives() || r.kinds == kinds)
    }

    fn within(&self) -> Result<(Vec<f64>, usize), Unsolved> {
        Ok(self.within.clone())
    }

    fn visit_moments(&self, fit: usize) -> Result<(Vec<f64>, Vec<f64>), Unsolved> {
        Ok(Self::visit_moments(self, fit))
    }

    fn solve(&self, at: At) -> Result<Solution, Unsolved> {
        Ok(Self::solve(self, at.fit, &self.templates(at))?)
    }

    fn evaluate(&self, at: At, entries: &[Entry], wanted: Wanted) -> Result<Criterion, Unsolved> {
        let Wanted { reml, derivatives, .. } = wanted;
        Ok(Self::evaluate(self, at.fit, &self.templates(at), entries, (reml, derivatives)))
    }

    fn likelihood_derivatives(
        &self,
        at: At,
        entries: &[Entry],
        wanted: Wanted,
    ) -> Result<LikelihoodDerivatives, Unsolved> {
        let g = self.templates(at);
        Ok(Self::likelihood_derivatives(self, at.fit, &g, entries, wanted.reml)?)
    }

    fn information_derivatives(&self, at: At, entries: &[Entry]) -> Result<Vec<f64>, Unsolved> {
        let grams = self.gram_derivatives(at.fit, &self.templates(at), entries)?;
        Ok(fixed_blocks(&grams, self.rank()))
    }

    fn information_second_derivatives(
        &self,
        at: At,
        entries: &[Entry],
        weights: Option<&[f64]>,
    ) -> Result<Vec<f64>, Unsolved> {
        let g = self.templates(at);
        Ok(second_derivatives((entries.len(), self.rank()), weights, |sets| {
            self.gram_second_derivatives(at.fit, &g, entries, sets)
        })?)
    }

    fn conditional(&self, at: At, e: &[f64]) -> Result<Vec<Conditional>, Unsolved> {
        Ok(Self::conditional(self, at.fit, &self.templates(at), e)?)
    }

    fn prediction_error(
        &self,
        at: At,
        codes: &[&[i32]],
        z: &[&[f64]],
    ) -> Result<(Vec<f64>, Vec<f64>), Unsolved> {
        Ok(Self::prediction(self, at.fit, &self.templates(at), codes, z)?)
    }
}
