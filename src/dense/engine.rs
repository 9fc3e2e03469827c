//! The dense engine.

use super::derivatives::Second;
use super::reduction::Reduction;
use super::template::Template;
use crate::criterion::derivatives::LikelihoodDerivatives;
use crate::criterion::engine::{At, Engine, Unsolved, Wanted};
use crate::criterion::pairs::{fixed_blocks, second_derivatives};
use crate::criterion::solution::{Shape, Solution};
use crate::criterion::sums::{Conditional, Entry, RootWeight};
use crate::linalg::dense::NotPositiveDefinite;
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

    fn fixed(&self) -> &FixedBasis {
        &self.fixed
    }

    fn shape(&self) -> Shape {
        Shape { n_rows: self.n_rows, rank: self.rank(), profiled: !self.has_residual() }
    }

    fn levels(&self) -> Vec<(usize, &[f64])> {
        self.q.iter().zip(&self.bases).map(|(&q, basis)| (q, &basis[..])).collect()
    }

    /// Components, and rows of the largest.
    fn size(&self) -> (usize, usize) {
        (self.components.len(), self.largest())
    }

    fn is_large(&self) -> bool {
        Self::is_large(self)
    }

    /// A residual covariance may come with derivatives by parameters, as (matrices, units or 1, q, q).
    fn shape_of(&self, level: usize, found: &[usize]) -> Vec<usize> {
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
        if !self.has_residual() {
            return Ok((Vec::new(), Vec::new()));
        }
        let q = self.q[self.n_random()];
        let (mut sums, mut counts) = (vec![0.0; q * q], vec![0.0; q * q]);
        for component in &self.components {
            let n = component.n();
            let y = &component.xy[(self.rank() + fit) * n..(self.rank() + fit + 1) * n];
            let slots = &component.levels[self.n_random()];
            for unit in slots.first.windows(2) {
                for row in unit[0]..unit[1] {
                    for other in unit[0]..unit[1] {
                        let at = slots.place[row] as usize * q + slots.place[other] as usize;
                        sums[at] += y[row] * y[other];
                        counts[at] += 1.0;
                    }
                }
            }
        }
        Ok((sums, counts))
    }

    fn solve(&self, at: At) -> Result<Solution, Unsolved> {
        Ok(self.solution(&self.factored(at.fit, &self.templates(at))?)?)
    }

    fn likelihood_derivatives(
        &self,
        at: At,
        entries: &[Entry],
        wanted: Wanted,
    ) -> Result<LikelihoodDerivatives, Unsolved> {
        let (reml, g) = (wanted.reml, self.templates(at));
        let factored = self.factored(at.fit, &g)?;
        let solution = self.solution(&factored)?;
        let root = RootWeight { c: reml.then(|| solution.c.clone()), e: solution.e() };
        let sums = self.sums(&factored, &g, entries, &Second::Criterion(&root))?;
        Ok(LikelihoodDerivatives::new(self.rank(), solution, sums, entries.len(), reml))
    }

    fn information_derivatives(&self, at: At, entries: &[Entry]) -> Result<Vec<f64>, Unsolved> {
        let g = self.templates(at);
        let sums = self.sums(&self.factored(at.fit, &g)?, &g, entries, &Second::Gram(&[]))?;
        Ok(fixed_blocks(&sums.gram_by, self.rank()))
    }

    fn information_second_derivatives(
        &self,
        at: At,
        entries: &[Entry],
        weights: Option<&[f64]>,
    ) -> Result<Vec<f64>, Unsolved> {
        let g = self.templates(at);
        let factored = self.factored(at.fit, &g)?;
        Ok(second_derivatives((entries.len(), self.rank()), weights, |sets| {
            Ok::<_, NotPositiveDefinite>(
                self.sums(&factored, &g, entries, &Second::Gram(sets))?.second,
            )
        })?)
    }

    fn conditional(&self, at: At, e: &[f64]) -> Result<Vec<Conditional>, Unsolved> {
        Ok(Self::conditional(self, at.fit, &self.templates(at), e)?)
    }

    fn n_units(&self) -> Vec<usize> {
        (0..self.n_random()).map(|level| self.n_effects(level)).collect()
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
