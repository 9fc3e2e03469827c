//! Random effects eliminated from the inside out, with exact first and second derivatives.
//!
//! At a unit u of level l let B be the columns that remain after it, [outer Z, X, y]; M the
//! cross-product of [Z B] weighted by the inverse of the covariance of everything inside u; and
//! T'T = `M_ZZ`, A = T^-T `M_ZB`. With W = I + T G T', H = T'W^-1 T, U = T'W^-1 A, the unit passes up
//!
//! ```text
//! N = M_BB - A'A + A'W^-1 A            log|V| += log|W|
//! ```
//!
//! and with J = [-G U; I], S = G - G H G (the conditional covariance of the unit's effects,
//! formed as R'(I + R T'T R')^-1 R with G = R'R: nothing cancels where T is large):
//!
//! ```text
//! dN/dG along E   = -U'E U             d log|V| = tr(H E)
//! dN/dM along M_k = J'M_k J            d log|V| = tr(S M_k,ZZ)
//! ```
//!
//! Second derivatives are summed on the way back down: the weight Psi of N in the criterion goes to
//! the unit's children as J Psi J' + S, so each unit adds only its own second differential. For one
//! level this is section 3 of Lindstrom and Bates (1988) in other letters; for more it costs one
//! small factorization a unit, however many units an outer one holds.

mod downward;
mod factors;
mod leaves;
mod pairs;
mod second;
mod small;
mod tangents;
mod upward;
mod workspace;

use crate::criterion::sums::{Conditional, Entry, RootWeight, Sums};
use std::ops::Range;

use self::pairs::Run;
use self::upward::Target;
use self::workspace::Workspace;
use crate::linalg::dense::{NotPositiveDefinite, block, semidefinite_root, vectorised};
use crate::nested::reduction::Reduction;
use crate::nested::series::chain::ChainAt;
use crate::running::threads;

/// Blocks per task; boundaries depend on the data only.
const CHUNK_BLOCKS: usize = 256;
/// Floating-point operations below which a pass stays in the calling thread.
const PARALLEL_WORK: usize = 3_000_000;
/// Most chunks of series with parameters by visit: each has a Hessian by all parameters.
const MOST_CHUNKS: usize = 8;
/// Numbers in the Hessians of tasks that wait to be added, and tasks that run whatever they hold.
const MOST_SUMS: usize = 16_000_000;
const FEWEST_AT_ONCE: usize = 2;
/// Operations that an outer unit's own small matrices are worth.
const WORK_OF_UNIT: usize = 2_000;

/// One evaluation: a reduction, one of its responses, and G of each level.
pub struct Elimination<'a> {
    reduction: &'a Reduction,
    fit: usize,
    g: &'a [Vec<f64>],
    entries: &'a [Entry],
    /// First entry of each level; entries are sorted by level.
    first_entry: Vec<usize>,
    /// By level, columns of B: outer Z, X, y.
    width: Vec<usize>,
    /// The steps, where residuals are chains with parameters by visit.
    chain_at: Option<ChainAt<'a>>,
    /// By level, its entries row by row.
    runs: Vec<Vec<Run>>,
    /// By level, upper triangular R with R'R = G; empty for the residual's.
    roots: Vec<Vec<f64>>,
}

impl<'a> Elimination<'a> {
    /// `g[l]` is row-major `q` x `q`; `entries` sorted by level. At the residual's level it may
    /// instead hold one matrix for each unit, or one for all, followed by their derivatives by each
    /// of the level's parameters and by each pair of them; the level's entries then only count the
    /// parameters.
    #[must_use]
    pub fn new(
        reduction: &'a Reduction,
        fit: usize,
        g: &'a [Vec<f64>],
        entries: &'a [Entry],
    ) -> Self {
        let n_levels = reduction.levels.len();
        let first_entry: Vec<usize> =
            (0..=n_levels).map(|l| entries.partition_point(|e| e.level < l)).collect();
        let width = reduction.levels.iter().map(|l| l.n_outer + reduction.rank() + 1).collect();
        let chain = reduction.chain().zip(g.last());
        let chain_at = chain.map(|(chain, g)| ChainAt::new(chain, g));
        let own = |l: usize| first_entry[l]..first_entry[l + 1];
        let runs =
            (0..n_levels).map(|l| pairs::runs(entries, own(l), reduction.levels[l].q)).collect();
        let roots = reduction.levels.iter().zip(g).map(|(level, g)| {
            if level.is_residual || level.series.is_some() {
                return Vec::new();
            }
            let mut root = g.clone();
            semidefinite_root(&mut root, level.q);
            root
        });
        let roots = roots.collect();
        Self { reduction, fit, g, entries, first_entry, width, chain_at, runs, roots }
    }

    /// log|V| and [X y]'V^-1 [X y].
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] where some I + T G T' is not positive definite.
    pub fn values(&self) -> Result<Sums, NotPositiveDefinite> {
        self.sum_chunks(0, |chunk| {
            let mut sums = Sums::zero(self.reduction.rank() + 1, 0);
            if self.is_small() {
                vectorised(|| self.small_values(chunk, &mut sums))?;
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
        let width = self.reduction.rank() + 1;
        let mut psi = vec![0.0; width * width];
        if let Some(c) = &root.c {
            for i in 0..width - 1 {
                psi[i * width..i * width + width - 1].copy_from_slice(&c[block(i, width - 1)]);
            }
        }
        self.sum_chunks(self.entries.len(), |chunk| {
            let mut sums = Sums::zero(width, self.entries.len());
            if self.chain_at.is_some() && self.is_leaf(0) {
                // Sums by class are led to theta at the end.
                (sums.hessian, sums.hessian_rss) = (Vec::new(), Vec::new());
            }
            if self.is_small_and_free() {
                vectorised(|| self.small_derivatives(chunk, &psi, &root.e, &mut sums))?;
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
                    vectorised(|| self.pattern(item, &psi, &root.e, &mut work, &mut sums))?;
                } else {
                    self.tangent_top(item, &mut work, &mut sums)?;
                    self.descend(0, item, &psi, &root.e, &mut work, &mut sums);
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
    fn is_leaf(&self, level: usize) -> bool {
        level + 1 == self.reduction.levels.len()
    }

    /// Outermost units, or patterns of them where there is one level.
    fn n_items(&self) -> usize {
        match self.reduction.levels.len() {
            0 => 0,
            1 => self.reduction.patterns.len(),
            _ => self.reduction.levels[0].first_child.len() - 1,
        }
    }

    /// Blocks of the innermost level under outermost items `items`.
    fn n_blocks(&self, items: Range<usize>) -> usize {
        if self.reduction.levels.len() == 1 {
            if let Some(series) = self.series() {
                return series.n_items(items);
            }
            return self.reduction.patterns[items].iter().map(|p| p.n_blocks).sum();
        }
        let (mut first, mut last) = (items.start, items.end);
        for level in &self.reduction.levels[..self.reduction.levels.len() - 1] {
            first = level.first_child[first];
            last = level.first_child[last];
        }
        self.series().map_or(last - first, |series| series.n_items(first..last))
    }

    fn chunks(&self) -> Vec<Range<usize>> {
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
}
