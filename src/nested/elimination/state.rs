//! One evaluation: a reduction, one of its responses, and G of each level.

use std::ops::Range;

use crate::criterion::sums::Entry;
use crate::linalg::dense::semidefinite_root;
use crate::nested::reduction::Reduction;
use crate::nested::series::chain::ChainAt;

/// One evaluation: a reduction, one of its responses, and G of each level.
pub struct Elimination<'a> {
    pub(crate) reduction: &'a Reduction,
    pub(crate) fit: usize,
    pub(crate) g: &'a [Vec<f64>],
    pub(crate) entries: &'a [Entry],
    /// First entry of each level; entries are sorted by level.
    pub(crate) first_entry: Vec<usize>,
    /// By level, columns of B: outer Z, X, y.
    pub(crate) width: Vec<usize>,
    /// The steps, where residuals are chains with parameters by visit.
    pub(crate) chain_at: Option<ChainAt<'a>>,
    /// By level, its entries row by row.
    pub(crate) runs: Vec<Vec<Run>>,
    /// By level, upper triangular R with R'R = G; empty for the residual's, and where G has none.
    pub(crate) roots: Vec<Vec<f64>>,
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
        let runs = (0..n_levels).map(|l| runs(entries, own(l), reduction.levels[l].q)).collect();
        let roots = reduction.levels.iter().zip(g).map(|(level, g)| {
            if level.is_residual || level.series.is_some() {
                return Vec::new();
            }
            covariance_root(g, level.q)
        });
        let roots = roots.collect();
        Self { reduction, fit, g, entries, first_entry, width, chain_at, runs, roots }
    }

    pub(crate) fn is_leaf(&self, level: usize) -> bool {
        level + 1 == self.reduction.levels.len()
    }

    /// Outermost units, or patterns of them where there is one level.
    pub(crate) fn n_items(&self) -> usize {
        match self.reduction.levels.len() {
            0 => 0,
            1 => self.reduction.patterns.len(),
            _ => self.reduction.levels[0].first_child.len() - 1,
        }
    }

    /// Blocks of the innermost level under outermost items `items`.
    pub(crate) fn n_blocks(&self, items: Range<usize>) -> usize {
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
}

/// R with R'R = G; empty where G has negative eigenvalues, as variances without a bound do.
fn covariance_root(g: &[f64], q: usize) -> Vec<f64> {
    let mut root = g.to_vec();
    semidefinite_root(&mut root, q);
    if (0..q).all(|i| root[i * q + i] > 0.0) {
        return root;
    }
    let size = g.iter().fold(0.0, |size: f64, value| size.max(value.abs()));
    for i in 0..q {
        for j in 0..=i {
            let own: f64 = (0..=j).map(|k| root[k * q + i] * root[k * q + j]).sum();
            if (own - g[i * q + j]).abs() > 1e-8 * size {
                return Vec::new();
            }
        }
    }
    root
}

/// Order of a matrix from which rows of entries are long enough.
const SMALLEST: usize = 5;

/// Entries (row, first), (row, first + 1), ... that stand one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) row: usize,
    pub(crate) first: usize,
    pub(crate) len: usize,
    /// Position of its first entry.
    pub(crate) at: usize,
}

/// Runs of the entries in `range`; none for a matrix of a low order `q`.
pub(crate) fn runs(entries: &[Entry], range: Range<usize>, q: usize) -> Vec<Run> {
    let mut out: Vec<Run> = Vec::new();
    if q < SMALLEST {
        return out;
    }
    for at in range {
        let Entry { a, b, .. } = entries[at];
        match out.last_mut() {
            Some(run) if run.row == a && run.first + run.len == b => run.len += 1,
            _ => out.push(Run { row: a, first: b, len: 1, at }),
        }
    }
    out
}
