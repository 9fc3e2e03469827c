//! Rows by component, and the criterion of them.

use super::component::{Component, Factored};
use super::derivatives::{Second, derivatives};
use super::template::Template;
use crate::criterion::solution::Solution;
use crate::criterion::sums::{Entry, Sums};
use crate::linalg::blocked::LARGE;
use crate::linalg::dense::{NotPositiveDefinite, axpy};
use crate::rows::basis::FixedBasis;
use crate::rows::relationship::Relationship;
use crate::running::threads;

/// Rows by component.
pub struct Reduction {
    /// Number of rows.
    pub n_rows: usize,
    /// Number of responses.
    pub n_fits: usize,
    /// Map of the fixed effects.
    pub fixed: FixedBasis,
    /// By level, upper triangular B with z = (transformed z) B.
    pub bases: Vec<Vec<f64>>,
    /// By level, random effects of a unit; order of the residual covariance.
    pub q: Vec<usize>,
    /// By level, units with records.
    pub n_units: Vec<usize>,
    /// By level of random effects, how its units are related.
    pub relationships: Vec<Option<Relationship>>,
    /// The components.
    pub components: Vec<Component>,
    /// Residual sum of squares of each response outside the span of X and the level with most random
    /// effects, and its degrees of freedom.
    pub within: (Vec<f64>, usize),
}

impl Reduction {
    /// Rank of X.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.fixed.kept.len()
    }

    /// Levels of random effects.
    #[must_use]
    pub fn n_random(&self) -> usize {
        self.relationships.len()
    }

    /// Has the residual a covariance of its own, so that `sigma^2` is not profiled out?
    #[must_use]
    pub fn has_residual(&self) -> bool {
        self.q.len() > self.n_random()
    }

    /// Units of a level with effects, those without records included.
    #[must_use]
    pub fn n_effects(&self, level: usize) -> usize {
        self.relationships[level].as_ref().map_or(self.n_units[level], Relationship::len)
    }

    /// Rows of the largest component.
    #[must_use]
    pub fn largest(&self) -> usize {
        self.components.iter().map(Component::n).max().unwrap_or(0)
    }

    /// Does a component get all threads to itself?
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.largest() >= LARGE
    }

    /// One result for each component, in order: large ones one after the other.
    fn map<T: Send>(
        &self,
        one: impl Fn(usize) -> Result<T, NotPositiveDefinite> + Sync + Send,
    ) -> Result<Vec<T>, NotPositiveDefinite> {
        let all = 0..self.components.len();
        if self.is_large() || all.len() < 4 {
            return all.map(one).collect();
        }
        threads::map(all, one).into_iter().collect()
    }

    pub(super) fn factored(
        &self,
        fit: usize,
        g: &[Template],
    ) -> Result<Vec<Factored>, NotPositiveDefinite> {
        let rank = self.rank();
        self.map(|k| Factored::new(&self.components[k], rank, fit, g))
    }

    pub(super) fn solution(&self, factored: &[Factored]) -> Result<Solution, NotPositiveDefinite> {
        let width = self.rank() + 1;
        let (mut gram, mut logdet) = (vec![0.0; width * width], 0.0);
        for part in factored {
            axpy(1.0, &part.gram(), &mut gram);
            logdet += part.logdet;
        }
        Solution::new(&gram, logdet, self.rank())
    }

    pub(super) fn sums(
        &self,
        factored: &[Factored],
        g: &[Template],
        entries: &[Entry],
        wanted: &Second,
    ) -> Result<Sums, NotPositiveDefinite> {
        let one = |k: usize| Ok(derivatives(&self.components[k], &factored[k], g, entries, wanted));
        let mut total = Sums::zero(self.rank() + 1, entries.len());
        for part in self.map(one)? {
            total.add(&part);
        }
        Ok(total)
    }
}
