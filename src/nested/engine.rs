//! The nested engine.

use super::elimination::{Elimination, is_lower, is_small, small_results};
use super::reduction::Reduction;
use crate::criterion::asked::Request;
use crate::criterion::derivatives::{LikelihoodDerivatives, first_derivatives};
use crate::criterion::engine::{At, Engine, Unsolved, Wanted};
use crate::criterion::pairs::{fixed_blocks, second_derivatives};
use crate::criterion::solution::{Criterion, Shape, Solution};
use crate::criterion::sums::{Conditional, Entry, RootWeight, Sums};
use crate::linalg::dense::{NotPositiveDefinite, add_outer, axpy, block, symmetrise};
use crate::rows::basis::FixedBasis;

impl Reduction {
    fn solution(&self, sums: &Sums, fit: usize) -> Result<Solution, NotPositiveDefinite> {
        let size = (self.rank() + 1).pow(2);
        let mut gram = sums.gram.clone();
        for (g, r) in gram.iter_mut().zip(&self.remainder[block(fit, size)]) {
            *g += r;
        }
        Solution::new(&gram, sums.logdet, self.rank())
    }

    /// First derivatives of [X y]'V^-1 [X y] and log|V| by entries, with the solution they belong to.
    fn tangents(
        &self,
        at: At,
        entries: &[Entry],
        reml: bool,
        second: bool,
    ) -> Result<(Solution, Sums), NotPositiveDefinite> {
        let elimination = Elimination::new(self, at.fit, at.g, entries);
        let solution = self.solution(&elimination.values()?, at.fit)?;
        let root = RootWeight { c: reml.then(|| solution.c.clone()), e: solution.e() };
        let sums = if second {
            elimination.derivatives(&root)?
        } else {
            elimination.first_derivatives(&root)?
        };
        Ok((solution, sums))
    }
}

impl Engine for Reduction {
    fn name(&self) -> &'static str {
        "nested"
    }

    fn lacks(&self) -> &'static [&'static str] {
        if self.chain().is_some() {
            return &["prediction_error", "information_second_derivatives"];
        }
        &["prediction_error"]
    }

    fn fixed(&self) -> &FixedBasis {
        &self.fixed
    }

    fn shape(&self) -> Shape {
        Shape { n_rows: self.n_rows, rank: self.rank(), profiled: !self.has_residual() }
    }

    fn levels(&self) -> Vec<(usize, &[f64])> {
        self.levels.iter().map(|level| (level.q, &level.basis[..])).collect()
    }

    /// Distinct patterns, and blocks an iteration visits.
    fn size(&self) -> (usize, usize) {
        (self.patterns.len(), self.patterns.iter().map(|p| p.n_blocks).sum())
    }

    /// A residual covariance may come with derivatives by parameters, as (matrices, units or 1, q, q);
    /// series come as the weights of their classes, chains by visit as theta and correlations.
    fn shape_of(&self, level: usize, found: &[usize]) -> Vec<usize> {
        let blocks = &self.levels[level];
        let (q, n_units) = (blocks.q, self.patterns.len());
        if let Some(series) = &blocks.series {
            if let Some(chain) = &series.chain {
                let lengths = [chain.n_values(false), chain.n_values(true)];
                let n = found.first().copied().filter(|n| lengths.contains(n));
                return vec![n.unwrap_or(lengths[0])];
            }
            let width = found.get(1).copied().unwrap_or(0).max(series.n_classes + 2);
            return vec![series.n_basis, width];
        }
        if blocks.is_residual && found.len() == 4 && [1, n_units].contains(&found[1]) {
            return vec![found[0], found[1], q, q];
        }
        vec![q, q]
    }

    fn bound(&self, level: usize) -> usize {
        if self.levels[level].series.is_some() { usize::MAX } else { self.levels[level].q }
    }

    /// Covariances of units must come with first and second derivatives by each entry.
    fn has_derivatives(&self, at: At, entries: &[Entry]) -> bool {
        let Some(level) = self.levels.last().filter(|level| level.is_residual) else {
            return true;
        };
        let found = at.g.last().map_or(0, Vec::len);
        let t = entries.iter().filter(|e| e.level + 1 == self.levels.len()).count();
        let kinds = 1 + t + t * (t + 1) / 2;
        if let Some(chain) = self.chain() {
            return t == chain.n_theta && found == chain.n_values(true);
        }
        if let Some(series) = &level.series {
            return found == series.n_basis * (series.n_classes + 2 * kinds);
        }
        let size = level.q * level.q;
        [size, size * kinds, size * kinds * self.patterns.len()].contains(&found)
    }

    fn within(&self) -> Result<(Vec<f64>, usize), Unsolved> {
        Ok(Self::within(self))
    }

    fn visit_moments(&self, fit: usize) -> Result<(Vec<f64>, Vec<f64>), Unsolved> {
        let leaf = self.levels.last().filter(|level| level.is_residual && level.q > 0);
        let Some(leaf) = leaf else {
            return Ok((Vec::new(), Vec::new()));
        };
        let (q, columns) = (leaf.q, leaf.q + leaf.n_outer + self.rank());
        let (mut sums, mut counts) = (vec![0.0; q * q], vec![0.0; q * q]);
        let n_blocks = leaf.design.len() / (q * columns);
        for pattern in &self.patterns {
            for b in pattern.first..pattern.first + pattern.n_blocks {
                let at = (fit * n_blocks + b) * q;
                add_outer(&leaf.response[at..at + q], &mut sums);
            }
            let root = &leaf.design[block(pattern.first, q * columns)];
            let seen: Vec<f64> = (0..q).map(|v| root[v * columns + v]).collect();
            for i in 0..q {
                for j in 0..q {
                    counts[i * q + j] += pattern.count as f64 * seen[i] * seen[j];
                }
            }
        }
        symmetrise(&mut sums, q);
        Ok((sums, counts))
    }

    fn solve(&self, at: At) -> Result<Solution, Unsolved> {
        let elimination = Elimination::new(self, at.fit, at.g, &[]);
        Ok(self.solution(&elimination.values()?, at.fit)?)
    }

    fn small_results(
        &self,
        fits: &[usize],
        entries: Option<&[Entry]>,
        request: Request,
    ) -> Option<Vec<Vec<f64>>> {
        if !is_small(self) || entries.is_some_and(|own| !is_lower(own, self.levels[0].q)) {
            return None;
        }
        let fits: Vec<(&Self, usize)> = fits.iter().map(|&fit| (self, fit)).collect();
        Some(small_results(&fits, request))
    }

    fn likelihood_derivatives(
        &self,
        at: At,
        entries: &[Entry],
        wanted: Wanted,
    ) -> Result<LikelihoodDerivatives, Unsolved> {
        let (solution, sums) = self.tangents(at, entries, wanted.reml, true)?;
        let (rank, n) = (self.rank(), entries.len());
        Ok(LikelihoodDerivatives::new(rank, solution, sums, n, wanted.reml))
    }

    fn gradient(&self, at: At, entries: &[Entry], reml: bool) -> Result<Criterion, Unsolved> {
        let Ok((solution, sums)) = self.tangents(at, entries, reml, false) else {
            return Ok(Criterion::without_second(f64::INFINITY, vec![0.0; entries.len()]));
        };
        let (shape, n) = (Engine::shape(self), entries.len());
        let value = solution.value(shape, reml);
        let (weight, by, rss_by) = first_derivatives(shape, &solution, sums, n, reml);
        let gradient = by.iter().zip(&rss_by).map(|(a, b)| a + weight * b).collect();
        Ok(Criterion::without_second(value, gradient))
    }

    fn information_derivatives(&self, at: At, entries: &[Entry]) -> Result<Vec<f64>, Unsolved> {
        let (_, sums) = self.tangents(at, entries, false, false)?;
        Ok(fixed_blocks(&sums.gram_by, self.rank()))
    }

    fn information_second_derivatives(
        &self,
        at: At,
        entries: &[Entry],
        weights: Option<&[f64]>,
    ) -> Result<Vec<f64>, Unsolved> {
        if self.chain().is_some() {
            return Err(Unsolved::NotOffered);
        }
        let elimination = Elimination::new(self, at.fit, at.g, entries);
        Ok(second_derivatives((entries.len(), self.rank()), weights, |sets| {
            elimination.second_derivatives(sets)
        })?)
    }

    fn sums(&self, at: At, entries: &[Entry], root: Option<&RootWeight>) -> Result<Sums, Unsolved> {
        let elimination = Elimination::new(self, at.fit, at.g, entries);
        let mut values = elimination.values()?;
        let Some(root) = root else {
            let size = (self.rank() + 1).pow(2);
            axpy(1.0, &self.remainder[block(at.fit, size)], &mut values.gram);
            return Ok(values);
        };
        Ok(elimination.derivatives(root)?)
    }

    /// Needs a reduction made without sharing.
    fn conditional(&self, at: At, e: &[f64]) -> Result<Vec<Conditional>, Unsolved> {
        Ok(Elimination::new(self, at.fit, at.g, &[]).conditional(e)?)
    }
}
