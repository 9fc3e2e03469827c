//! Passes over all units: values, derivatives, conditional distributions.

use std::ops::Range;

use super::downward::OfPattern;
use super::state::Elimination;
use super::upward::Target;
use super::workspace::{PairWeights, Workspace};
use crate::criterion::sums::{Conditional, RootWeight, Sums};
use crate::linalg::dense::{NotPositiveDefinite, block, symmetrise, vectorised};
use crate::running::memory::zeros;
use crate::running::threads;

/// Blocks per task; boundaries depend on the data only.
pub(super) const CHUNK_BLOCKS: usize = 256;

/// Floating-point operations below which a pass stays in the calling thread.
const PARALLEL_WORK: usize = 3_000_000;

/// Most chunks of series with parameters by visit: each has a Hessian by all parameters.
const MOST_CHUNKS: usize = 8;

/// Numbers in the Hessians of tasks that wait to be added, and tasks that run whatever they hold.
const MOST_SUMS: usize = 16_000_000;

const FEWEST_AT_ONCE: usize = 2;

/// Operations that an outer unit's own small matrices are worth.
const WORK_OF_UNIT: usize = 2_000;

impl Elimination<'_> {
    /// log|V| and [X y]'V^-1 [X y].
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] where some I + T G T' is not positive definite.
    pub fn values(&self) -> Result<Sums, NotPositiveDefinite> {
        self.sum_chunks(0, |chunk| {
            let mut sums = Sums::zero(self.reduction.rank() + 1, 0);
            if self.is_small() {
                self.small_values(chunk, &mut sums)?;
                return Ok(sums);
            }
            let mut work = Workspace::new(self);
            for item in chunk {
                sums.logdet += self.value(0, item, &mut work, &mut sums.gram)?;
            }
            Ok(sums)
        })
        .map(|mut sums| {
            self.add_series_determinant(&mut sums, 0);
            sums
        })
    }

    /// First derivatives, and second derivatives under the weight of the root.
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] where some I + T G T' is not positive definite.
    pub fn derivatives(&self, root: &RootWeight) -> Result<Sums, NotPositiveDefinite> {
        self.derivatives_of(root, true)
    }

    /// First derivatives alone, where that saves something.
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] where some I + T G T' is not positive definite.
    pub fn first_derivatives(&self, root: &RootWeight) -> Result<Sums, NotPositiveDefinite> {
        let known = self.series().is_some() || self.is_small_and_free();
        self.derivatives_of(root, known)
    }

    fn derivatives_of(&self, root: &RootWeight, second: bool) -> Result<Sums, NotPositiveDefinite> {
        let width = self.reduction.rank() + 1;
        let mut psi = vec![0.0; width * width];
        if let Some(c) = &root.c {
            for i in 0..width - 1 {
                psi[i * width..i * width + width - 1].copy_from_slice(&c[block(i, width - 1)]);
            }
        }
        self.sum_chunks(self.entries.len(), |chunk| {
            let mut sums = Sums::zero(width, self.entries.len());
            if !second || (self.chain_at.is_some() && self.is_leaf(0)) {
                // Nobody asks, or sums by class are led to theta at the end.
                (sums.hessian, sums.hessian_rss) = (Vec::new(), Vec::new());
            }
            if self.is_small_and_free() {
                self.small_derivatives(chunk, &psi, &root.e, &mut sums)?;
                return Ok(sums);
            }
            let mut work = Workspace::new(self);
            for item in chunk {
                if let Some(of) = self.series().zip(self.chain_at.as_ref()) {
                    let root = (&psi[..], &root.e[..]);
                    self.chain_derivatives(of, item, root, &mut work, &mut sums)?;
                } else if let Some(series) = self.series().filter(|_| self.is_leaf(0)) {
                    work.nodes[0].clear();
                    work.visited[0] = 0;
                    let (gram, by) = (&mut sums.gram, &mut sums.gram_by);
                    let mut target = Target { gram, by, second: &mut [] };
                    sums.logdet += self.series_tangent(series, item, &mut work, &mut target)?;
                    self.series_second(series, &psi, &root.e, &mut work, &mut sums);
                } else if self.is_leaf(0) {
                    let (psi, e) = (&psi[..], &root.e[..]);
                    let (work, sums) = (&mut work, &mut sums);
                    vectorised(OfPattern { of: self, item, psi, e, work, sums })?;
                } else {
                    self.tangent_top(item, &mut work, &mut sums)?;
                    if second {
                        self.descend(0, item, &psi, &root.e, &mut work, &mut sums);
                    }
                }
            }
            self.flush(&mut work.pending, &mut sums);
            self.flush_tangents(&mut work.tangents, &mut sums.gram_by);
            Ok(sums)
        })
        .map(|mut sums| {
            self.add_series_determinant(&mut sums, self.entries.len());
            self.add_chain_second(&mut sums);
            sums
        })
    }

    /// Conditional mean and covariance of the random effects of every unit, by level.
    ///
    /// Needs a reduction made without sharing. `e` is (-beta, 1) in the reduction's basis.
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] where some I + T G T' is not positive definite.
    pub fn conditional(&self, e: &[f64]) -> Result<Vec<Conditional>, NotPositiveDefinite> {
        let width = self.reduction.rank() + 1;
        let psi = vec![0.0; width * width];
        let mut out = vec![Conditional::default(); self.reduction.levels.len()];
        let mut work = Workspace::new(self);
        work.wants_conditional = true;
        for item in 0..self.n_items() {
            let mut sums = Sums::zero(width, 0);
            self.tangent_top(item, &mut work, &mut sums)?;
            self.descend_conditional(0, item, &psi, e, &mut work, &mut out);
        }
        Ok(out)
    }

    pub(crate) fn chunks(&self) -> Vec<Range<usize>> {
        let n = self.n_items();
        let few = self.chain_at.as_ref().map_or(0, |_| self.n_blocks(0..n) / MOST_CHUNKS);
        let enough = CHUNK_BLOCKS.max(few);
        let mut chunks = Vec::new();
        let (mut first, mut blocks) = (0, 0);
        for item in 0..n {
            blocks += self.n_blocks(item..item + 1);
            if blocks >= enough || item + 1 == n {
                chunks.push(first..item + 1);
                first = item + 1;
                blocks = 0;
            }
        }
        chunks
    }

    fn sum_chunks<F>(&self, n_entries: usize, task: F) -> Result<Sums, NotPositiveDefinite>
    where
        F: Fn(Range<usize>) -> Result<Sums, NotPositiveDefinite> + Sync,
    {
        let width = self.reduction.rank() + 1;
        let chunks = self.chunks();
        let work: usize = match (self.reduction.levels.last(), self.width.last()) {
            (Some(leaf), Some(w)) => {
                self.n_blocks(0..self.n_items()) * leaf.q.max(1) * w * (w + n_entries * w)
            }
            _ => 0,
        };
        // What each outer unit costs besides, in small matrices.
        let nested = self.series().is_some() && chunks.len() > 1 && n_entries > 0;
        let work = work + if nested { self.n_items() * WORK_OF_UNIT } else { 0 };
        if let [chunk] = &chunks[..] {
            return task(chunk.clone());
        }
        let mut total = Sums::zero(width, n_entries);
        if chunks.len() > 1 && work > PARALLEL_WORK {
            // Sums of many entries are large: no more of them at once than fit.
            let at_once = (MOST_SUMS / (n_entries * n_entries).max(1)).max(FEWEST_AT_ONCE);
            for wave in chunks.chunks(at_once) {
                let parts = threads::map(wave.to_vec(), &task);
                for part in parts {
                    total.add(&part?);
                }
            }
        } else {
            for chunk in chunks {
                total.add(&task(chunk)?);
            }
        }
        Ok(total)
    }

    /// For each set of weights the sum of second derivatives of [X y]'V^-1 [X y], `width` squared.
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] where some I + T G T' is not positive definite.
    pub fn second_derivatives(
        &self,
        weights: &[PairWeights],
    ) -> Result<Vec<f64>, NotPositiveDefinite> {
        let width = self.reduction.rank() + 1;
        let n = self.entries.len();
        let sums = self.sum_chunks(n, |chunk| {
            let mut sums = Sums::zero(width, n);
            sums.second = zeros(weights.len() * width * width);
            let mut work = Workspace::new(self);
            work.pair_weights = weights.to_vec();
            work.m_second = (0..self.reduction.levels.len())
                .map(|l| zeros(weights.len() * self.size(l) * self.size(l)))
                .collect();
            for item in chunk {
                self.tangent_top(item, &mut work, &mut sums)?;
            }
            Ok(sums)
        })?;
        let mut second = sums.second;
        // No units at all leave no sums.
        second.resize(weights.len() * width * width, 0.0);
        for matrix in second.chunks_exact_mut(width * width) {
            symmetrise(matrix, width);
        }
        Ok(second)
    }

    fn size(&self, level: usize) -> usize {
        self.reduction.levels[level].q + self.width[level]
    }
}
