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
//! and with J = [-G U; I], S = G - G H G (the conditional covariance of the unit's effects):
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

use std::ops::Range;

use rayon::prelude::*;

use crate::dense::{
    NotPositiveDefinite, add_outer, axpy, cholesky, dot, semidefinite_root, solve_lower,
    solve_lower_right, symmetrise, vectorised,
};
use crate::reduction::{Pattern, Reduction, block};

/// Blocks per task; boundaries depend on the data only.
const CHUNK_BLOCKS: usize = 256;
/// Floating-point operations below which a pass stays in the calling thread.
const PARALLEL_WORK: usize = 3_000_000;

/// A free entry of G: row `a`, column `b` (and its mirror image) of one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Level of the entry.
    pub level: usize,
    /// Row.
    pub a: usize,
    /// Column.
    pub b: usize,
}

impl Entry {
    /// Derivative matrices are `weight (e_a e_b' + e_b e_a')`.
    fn weight(self) -> f64 {
        if self.a == self.b { 0.5 } else { 1.0 }
    }
}

/// Sums over units. Cross-products are over [X y], `rank + 1` squared, lower triangles.
#[derive(Clone, Debug)]
pub struct Sums {
    /// log|V| over all units.
    pub logdet: f64,
    /// [X y]'V^-1 [X y] without the remainder.
    pub gram: Vec<f64>,
    /// Derivatives of `logdet` by entry.
    pub logdet_by: Vec<f64>,
    /// Derivatives of `gram` by entry.
    pub gram_by: Vec<f64>,
    /// Second derivatives of log|V| + <Psi, gram>, the weight Psi held fixed.
    pub hessian: Vec<f64>,
    /// Second derivatives of e' gram e, e held fixed.
    pub hessian_rss: Vec<f64>,
}

impl Sums {
    /// All zero, for `width` = rank + 1 and `n` entries.
    #[must_use]
    pub fn zero(width: usize, n: usize) -> Self {
        Self {
            logdet: 0.0,
            gram: vec![0.0; width * width],
            logdet_by: vec![0.0; n],
            gram_by: vec![0.0; n * width * width],
            hessian: vec![0.0; n * n],
            hessian_rss: vec![0.0; n * n],
        }
    }

    fn add(&mut self, other: &Self) {
        self.logdet += other.logdet;
        axpy(1.0, &other.gram, &mut self.gram);
        axpy(1.0, &other.logdet_by, &mut self.logdet_by);
        axpy(1.0, &other.gram_by, &mut self.gram_by);
        axpy(1.0, &other.hessian, &mut self.hessian);
        axpy(1.0, &other.hessian_rss, &mut self.hessian_rss);
    }
}

/// How the criterion weighs the cross-product at the root.
pub struct RootWeight {
    /// Weight of the X block in log|X'V^-1 X|: its inverse for REML, `None` for ML; full matrix.
    pub c: Option<Vec<f64>>,
    /// e = (-beta, 1).
    pub e: Vec<f64>,
}

/// Conditional means and covariances of the random effects of one level.
#[derive(Clone, Debug, Default)]
pub struct Conditional {
    /// Per unit, `q` conditional means.
    pub mean: Vec<f64>,
    /// Per unit, the `q` x `q` conditional covariance over `sigma^2`.
    pub covariance: Vec<f64>,
}

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
        let first_entry =
            (0..=n_levels).map(|l| entries.partition_point(|e| e.level < l)).collect();
        let width = reduction.levels.iter().map(|l| l.n_outer + reduction.rank() + 1).collect();
        Self { reduction, fit, g, entries, first_entry, width }
    }

    /// log|V| and [X y]'V^-1 [X y].
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] where some I + T G T' is not positive definite.
    pub fn values(&self) -> Result<Sums, NotPositiveDefinite> {
        self.sum_chunks(0, |chunk| {
            let mut sums = Sums::zero(self.reduction.rank() + 1, 0);
            let mut work = Workspace::new(self);
            for item in chunk {
                sums.logdet += self.value(0, item, &mut work, &mut sums.gram)?;
            }
            Ok(sums)
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
            let mut work = Workspace::new(self);
            for item in chunk {
                if self.is_leaf(0) {
                    vectorised(|| self.pattern(item, &psi, &root.e, &mut work, &mut sums))?;
                } else {
                    self.tangent_top(item, &mut work, &mut sums)?;
                    self.descend(0, item, &psi, &root.e, &mut work, &mut sums);
                }
            }
            Ok(sums)
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

    /// Does the residual's covariance come with derivatives by parameters, or unit by unit?
    fn has_directions(&self, level: usize) -> bool {
        let blocks = &self.reduction.levels[level];
        blocks.is_residual && self.g[level].len() != blocks.q * blocks.q
    }

    /// Matrices of one kind: one for each unit, or one that all share.
    fn n_stacked(&self, level: usize) -> usize {
        let q = self.reduction.levels[level].q;
        let t = self.first_entry[level + 1] - self.first_entry[level];
        self.g[level].len() / (q * q * (1 + t + t * (t + 1) / 2))
    }

    /// The `kind`-th matrix of a unit: covariance, first derivatives, second derivatives by pairs.
    fn stacked(&self, level: usize, unit: usize, kind: usize) -> &[f64] {
        let q = self.reduction.levels[level].q;
        let n = self.n_stacked(level);
        &self.g[level][block(kind * n + if n == 1 { 0 } else { unit }, q * q)]
    }

    /// Covariance of a unit's random effects (of its residuals).
    fn covariance(&self, level: usize, unit: usize) -> &[f64] {
        if self.has_directions(level) { self.stacked(level, unit, 0) } else { &self.g[level] }
    }

    /// May units that saw the same visits share a factorization?
    fn shares_factors(&self, level: usize) -> bool {
        self.reduction.levels[level].is_residual
            && (!self.has_directions(level) || self.n_stacked(level) == 1)
    }

    /// Whitens the block in `work.whitened`; returns log|W|. With `keep`, H goes to `work.kept.h`.
    #[inline(always)]
    fn whiten_leaf(
        &self,
        level: usize,
        unit: usize,
        work: &mut Workspace,
        keep: bool,
    ) -> Result<f64, NotPositiveDefinite> {
        let (q, w) = (self.reduction.levels[level].q, self.width[level]);
        let stride = q + w;
        let same = self.shares_factors(level)
            && work.kept.seen.len() == q
            && (0..q).all(|i| {
                // T is 0 or 1 on its diagonal.
                work.kept.seen[i].to_bits() == work.whitened[i * stride + i].to_bits()
            });
        if same {
            for i in 0..q {
                work.whitened[i * stride..i * stride + q]
                    .copy_from_slice(&work.kept.root[block(i, q)]);
            }
            solve_lower_right(&work.kept.factor, q, &mut work.whitened, stride, q);
            return Ok(work.kept.logdet);
        }
        work.kept.seen.clear();
        let seen: Vec<f64> = (0..q).map(|i| work.whitened[i * stride + i]).collect();
        let logdet = self.factor_w(level, unit, &work.whitened, &mut work.w)?;
        solve_lower(&work.w, q, &mut work.whitened, stride);
        if self.shares_factors(level) {
            let kept = &mut work.kept;
            kept.root =
                (0..q).flat_map(|i| &work.whitened[i * stride..i * stride + q]).copied().collect();
            kept.factor.clear();
            kept.factor.extend_from_slice(&work.w[..q * q]);
            kept.logdet = logdet;
            kept.seen = seen;
            if keep {
                kept.h = vec![0.0; q * q];
                for row in kept.root.chunks_exact(q) {
                    for a in 0..q {
                        axpy(row[a], row, &mut kept.h[block(a, q)]);
                    }
                }
            }
        }
        Ok(logdet)
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
            return self.reduction.patterns[items].iter().map(|p| p.n_blocks).sum();
        }
        let (mut first, mut last) = (items.start, items.end);
        for level in &self.reduction.levels[..self.reduction.levels.len() - 1] {
            first = level.first_child[first];
            last = level.first_child[last];
        }
        last - first
    }

    fn chunks(&self) -> Vec<Range<usize>> {
        let n = self.n_items();
        let mut chunks = Vec::new();
        let (mut first, mut blocks) = (0, 0);
        for item in 0..n {
            blocks += self.n_blocks(item..item + 1);
            if blocks >= CHUNK_BLOCKS || item + 1 == n {
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
                self.n_blocks(0..self.n_items()) * leaf.q * w * (w + n_entries * w)
            }
            _ => 0,
        };
        let mut total = Sums::zero(width, n_entries);
        if chunks.len() > 1 && work > PARALLEL_WORK {
            let parts: Vec<_> = chunks.into_par_iter().map(&task).collect();
            for part in parts {
                total.add(&part?);
            }
        } else {
            for chunk in chunks {
                total.add(&task(chunk)?);
            }
        }
        Ok(total)
    }
}

/// Scratch space of one task.
struct Workspace {
    /// By level: M, lower triangle of [Z B] squared.
    m: Vec<Vec<f64>>,
    /// By level: derivatives of M by the entries of inner levels.
    m_by: Vec<Vec<f64>>,
    /// By level: what `descend` needs of the units met on the way up, one after the other.
    nodes: Vec<Vec<f64>>,
    /// By level: units of the current outermost item already descended into.
    visited: Vec<usize>,
    /// Do leaves need S and J?
    wants_conditional: bool,
    /// What the last unit with a residual covariance shared by all left behind.
    kept: KeptFactor,
    w: Vec<f64>,
    whitened: Vec<f64>,
    h: Vec<f64>,
    u: Vec<f64>,
    f: Vec<f64>,
    f_rss: Vec<f64>,
    row: Vec<f64>,
}

impl Workspace {
    fn new(elimination: &Elimination) -> Self {
        let levels = &elimination.reduction.levels;
        let size = |l: usize| levels[l].q + elimination.width[l];
        let inner = |l: usize| elimination.entries.len() - elimination.first_entry[l + 1];
        let largest = (0..levels.len()).map(size).max().unwrap_or(0);
        let q = levels.iter().map(|l| l.q).max().unwrap_or(0);
        Self {
            m: (0..levels.len()).map(|l| vec![0.0; size(l) * size(l)]).collect(),
            m_by: (0..levels.len()).map(|l| vec![0.0; inner(l) * size(l) * size(l)]).collect(),
            nodes: vec![Vec::new(); levels.len()],
            visited: vec![0; levels.len()],
            wants_conditional: false,
            kept: KeptFactor::default(),
            w: vec![0.0; q * q],
            whitened: vec![0.0; q * largest],
            h: vec![0.0; q * q],
            u: vec![0.0; q * largest],
            f: vec![0.0; q * q],
            f_rss: vec![0.0; q * q],
            row: vec![0.0; largest + q],
        }
    }
}

/// Factor of W for one set of visits: units that saw the same visits use it again.
#[derive(Default)]
struct KeptFactor {
    /// Diagonal of T.
    seen: Vec<f64>,
    logdet: f64,
    /// L, with W = L L'.
    factor: Vec<f64>,
    /// L^-1 T.
    root: Vec<f64>,
    h: Vec<f64>,
    /// Visits that `products` belong to, and for each pair of parameters what their second
    /// derivative needs of H.
    seen_products: Vec<f64>,
    products: Vec<PairProducts>,
}

/// `R_k H R_l + R_l H R_k - R_kl`, `tr(H R_kl) - tr(H R_k H R_l)` of a pair (k, l) of parameters.
struct PairProducts {
    weight_of_f: Vec<f64>,
    own: f64,
}

/// Where the parts of a node stand in its record.
#[derive(Clone, Copy)]
struct NodeLayout {
    q: usize,
    w: usize,
    n_inner: usize,
}

impl NodeLayout {
    fn u(self) -> Range<usize> {
        0..self.q * self.w
    }
    fn h(self) -> Range<usize> {
        let start = self.u().end;
        start..start + self.q * self.q
    }
    /// S = G - G H G.
    fn s(self) -> Range<usize> {
        let start = self.h().end;
        start..start + self.q * self.q
    }
    /// -G U, the upper part of J.
    fn j(self) -> Range<usize> {
        let start = self.s().end;
        start..start + self.q * self.w
    }
    /// (`M_k` J) restricted to the rows of Z.
    fn p(self, k: usize) -> Range<usize> {
        let start = self.j().end + k * self.q * self.w;
        start..start + self.q * self.w
    }
    /// `M_k,ZZ`.
    fn m_zz(self, k: usize) -> Range<usize> {
        let start = self.j().end + self.n_inner * self.q * self.w + k * self.q * self.q;
        start..start + self.q * self.q
    }
    fn size(self) -> usize {
        self.j().end + self.n_inner * self.q * (self.w + self.q)
    }
}

// ---- the way up -------------------------------------------------------------------------------

impl Elimination<'_> {
    /// Copies block `b` of `level` with its response: q rows of [T | outer Z | X | y].
    #[inline(always)]
    fn load_block(&self, level: usize, b: usize, out: &mut [f64]) {
        let blocks = &self.reduction.levels[level];
        let (q, w) = (blocks.q, self.width[level]);
        let columns = q + w - 1;
        let n_blocks = blocks.design.len() / (q * columns);
        let at = (self.fit * n_blocks + b) * q;
        let design = &blocks.design[block(b, q * columns)];
        for i in 0..q {
            out[i * (columns + 1)..i * (columns + 1) + columns]
                .copy_from_slice(&design[block(i, columns)]);
            out[i * (columns + 1) + columns] = blocks.response[at + i];
        }
    }

    /// Factors W = I + T G T' of the [T ...] in `rows` into `w`; returns log|W|.
    #[inline(always)]
    fn factor_w(
        &self,
        level: usize,
        unit: usize,
        rows: &[f64],
        w: &mut [f64],
    ) -> Result<f64, NotPositiveDefinite> {
        let q = self.reduction.levels[level].q;
        let stride = q + self.width[level];
        let g = self.covariance(level, unit);
        if self.reduction.levels[level].is_residual {
            // T selects the visits seen; the others stand in W as an identity without weight.
            let seen = |i: usize| rows[i * stride + i];
            for i in 0..q {
                for j in 0..=i {
                    let absent = if i == j { 1.0 - seen(i) } else { 0.0 };
                    w[i * q + j] = seen(i) * g[i * q + j] * seen(j) + absent;
                }
            }
            cholesky(w, q)?;
            return Ok(2.0 * (0..q).map(|i| w[i * q + i].ln()).sum::<f64>());
        }
        for i in 0..q {
            for j in 0..=i {
                let mut s = if i == j { 1.0 } else { 0.0 };
                // T is upper triangular.
                for a in i..q {
                    for b in j..q {
                        s += rows[i * stride + a] * g[a * q + b] * rows[j * stride + b];
                    }
                }
                w[i * q + j] = s;
            }
        }
        cholesky(w, q)?;
        Ok(2.0 * (0..q).map(|i| w[i * q + i].ln()).sum::<f64>())
    }

    /// Adds the unit's N to `target`; returns its share of log|V|.
    fn value(
        &self,
        level: usize,
        unit: usize,
        work: &mut Workspace,
        target: &mut [f64],
    ) -> Result<f64, NotPositiveDefinite> {
        let (q, w) = (self.reduction.levels[level].q, self.width[level]);
        if !self.is_leaf(level) {
            let mut m = std::mem::take(&mut work.m[level]);
            let inner = self.gather_children(level, unit, work, &mut m)?;
            self.root_rows(level, &mut m, work);
            let logdet = self.factor_w(level, unit, &work.whitened, &mut work.w)?;
            solve_lower(&work.w, q, &mut work.whitened, q + w);
            for i in 0..w {
                axpy(1.0, &m[(q + i) * (q + w) + q..][..=i], &mut target[i * w..i * w + i + 1]);
            }
            self.add_whitened(level, work, target);
            work.m[level] = m;
            return Ok(inner + logdet);
        }
        vectorised(|| self.leaf_value(level, unit, work, target))
    }

    #[inline(always)]
    fn leaf_value(
        &self,
        level: usize,
        unit: usize,
        work: &mut Workspace,
        target: &mut [f64],
    ) -> Result<f64, NotPositiveDefinite> {
        let (q, w) = (self.reduction.levels[level].q, self.width[level]);
        let Pattern { first, n_blocks, count } = self.reduction.patterns[unit];
        let mut logdet = 0.0;
        for b in first..first + n_blocks {
            self.load_block(level, b, &mut work.whitened);
            if b == first {
                logdet = self.whiten_leaf(level, unit, work, false)?;
            } else {
                solve_lower(&work.w, q, &mut work.whitened, q + w);
            }
            self.add_whitened(level, work, target);
        }
        Ok(count as f64 * logdet)
    }

    #[inline(always)]
    fn add_whitened(&self, level: usize, work: &Workspace, target: &mut [f64]) {
        let q = self.reduction.levels[level].q;
        for row in work.whitened.chunks_exact(q + self.width[level]).take(q) {
            add_outer(&row[q..], target);
        }
    }

    /// M of an outer unit: its own rotated rows and what its children pass up.
    fn gather_children(
        &self,
        level: usize,
        unit: usize,
        work: &mut Workspace,
        m: &mut [f64],
    ) -> Result<f64, NotPositiveDefinite> {
        self.own_rows(level, unit, work, m);
        let mut logdet = 0.0;
        for child in self.children(level, unit) {
            logdet += self.value(level + 1, child, work, m)?;
        }
        Ok(logdet)
    }

    fn children(&self, level: usize, unit: usize) -> Range<usize> {
        let offsets = &self.reduction.levels[level].first_child;
        offsets[unit]..offsets[unit + 1]
    }

    fn own_rows(&self, level: usize, unit: usize, work: &mut Workspace, m: &mut [f64]) {
        let (q, w) = (self.reduction.levels[level].q, self.width[level]);
        m.fill(0.0);
        self.load_block(level, unit, &mut work.whitened);
        for row in work.whitened.chunks_exact(q + w).take(q) {
            add_outer(row, m);
        }
    }

    /// [T A] from M into `work.whitened`, and `M_BB` - A'A in place of `M_BB`.
    fn root_rows(&self, level: usize, m: &mut [f64], work: &mut Workspace) {
        let (q, w) = (self.reduction.levels[level].q, self.width[level]);
        let size = q + w;
        let mut root = vec![0.0; q * q];
        for i in 0..q {
            for j in 0..=i {
                root[i * q + j] = m[i * size + j];
            }
        }
        symmetrise(&mut root, q);
        semidefinite_root(&mut root, q);
        for i in 0..q {
            let (above, row) = work.whitened.split_at_mut(i * size);
            row[..q].copy_from_slice(&root[block(i, q)]);
            let pivot = root[i * q + i];
            for c in 0..w {
                let mut s = m[(q + c) * size + i];
                for k in 0..i {
                    s -= root[k * q + i] * above[k * size + q + c];
                }
                row[q + c] = if pivot > 0.0 { s / pivot } else { 0.0 };
            }
        }
        for row in work.whitened.chunks_exact(size).take(q) {
            let a = &row[q..];
            for (i, &value) in a.iter().enumerate() {
                axpy(-value, &a[..=i], &mut m[(q + i) * size + q..][..=i]);
            }
        }
    }

    /// H and U of the whitened rows, then S and -G U, appended to the level's nodes.
    fn push_node(&self, level: usize, layout: NodeLayout, work: &mut Workspace) -> usize {
        let NodeLayout { q, w, .. } = layout;
        let start = work.nodes[level].len();
        work.nodes[level].resize(start + layout.size(), 0.0);
        if self.shares_factors(level) {
            work.h[..q * q].copy_from_slice(&work.kept.h);
            half_information(&work.whitened, q, w, &mut work.u);
        } else {
            information(&work.whitened, q, w, &mut work.h, &mut work.u);
        }
        let node = &mut work.nodes[level][start..];
        node[layout.h()].copy_from_slice(&work.h[..q * q]);
        node[layout.u()].copy_from_slice(&work.u[..q * w]);
        if self.is_leaf(level) && !work.wants_conditional {
            return start;
        }
        let g = &self.g[level];
        for a in 0..q {
            for b in 0..q {
                axpy_within(
                    node,
                    -g[a * q + b],
                    layout.u().start + b * w,
                    layout.j().start + a * w,
                    w,
                );
            }
        }
        // S = G - (G H) G
        let mut gh = vec![0.0; q * q];
        for a in 0..q {
            for b in 0..q {
                axpy(g[a * q + b], &node[layout.h()][block(b, q)], &mut gh[block(a, q)]);
            }
        }
        let s = &mut node[layout.s()];
        s.copy_from_slice(g);
        for a in 0..q {
            for b in 0..q {
                axpy(-gh[a * q + b], &g[block(b, q)], &mut s[block(a, q)]);
            }
        }
        start
    }

    fn layout(&self, level: usize) -> NodeLayout {
        NodeLayout {
            q: self.reduction.levels[level].q,
            w: self.width[level],
            n_inner: if self.is_leaf(level) {
                0
            } else {
                self.entries.len() - self.first_entry[level + 1]
            },
        }
    }

    /// Tangents of one outermost item into `sums`.
    fn tangent_top(
        &self,
        item: usize,
        work: &mut Workspace,
        sums: &mut Sums,
    ) -> Result<(), NotPositiveDefinite> {
        work.nodes.iter_mut().for_each(Vec::clear);
        work.visited.fill(0);
        let (mut gram, mut gram_by) =
            (std::mem::take(&mut sums.gram), std::mem::take(&mut sums.gram_by));
        let result = self.tangent(0, item, work, &mut gram, &mut gram_by, &mut sums.logdet_by);
        sums.gram = gram;
        sums.gram_by = gram_by;
        sums.logdet += result?;
        Ok(())
    }

    /// Adds the unit's N and its derivatives by the entries of this and inner levels.
    ///
    /// `target_by` holds one matrix for each entry from this level inwards.
    fn tangent(
        &self,
        level: usize,
        unit: usize,
        work: &mut Workspace,
        target: &mut [f64],
        target_by: &mut [f64],
        logdet_by: &mut [f64],
    ) -> Result<f64, NotPositiveDefinite> {
        let layout = self.layout(level);
        let NodeLayout { q, w, .. } = layout;
        if self.is_leaf(level) {
            return vectorised(|| {
                self.leaf_tangent(unit, layout, work, target, target_by, logdet_by)
            });
        }
        let mut m = std::mem::take(&mut work.m[level]);
        let mut m_by = std::mem::take(&mut work.m_by[level]);
        m_by.fill(0.0);
        self.own_rows(level, unit, work, &mut m);
        let mut logdet = 0.0;
        for child in self.children(level, unit) {
            logdet += self.tangent(level + 1, child, work, &mut m, &mut m_by, logdet_by)?;
        }
        self.root_rows(level, &mut m, work);
        logdet += self.factor_w(level, unit, &work.whitened, &mut work.w)?;
        solve_lower(&work.w, q, &mut work.whitened, q + w);
        for i in 0..w {
            axpy(1.0, &m[(q + i) * (q + w) + q..][..=i], &mut target[i * w..i * w + i + 1]);
        }
        self.add_whitened(level, work, target);
        let start = self.push_node(level, layout, work);
        self.own_tangents(level, unit, &work.u, &work.h, 1.0, target_by, logdet_by);
        let node = &mut work.nodes[level][start..];
        let own = self.first_entry[level + 1] - self.first_entry[level];
        for k in 0..layout.n_inner {
            let m_k = &mut m_by[block(k, (q + w) * (q + w))];
            symmetrise(m_k, q + w);
            let into = &mut target_by[block(own + k, w * w)];
            logdet_by[self.first_entry[level + 1] + k] += pull_back(layout, k, m_k, node, into);
        }
        work.m[level] = m;
        work.m_by[level] = m_by;
        Ok(logdet)
    }

    /// `tangent` of a unit of the innermost of several levels.
    #[inline(always)]
    fn leaf_tangent(
        &self,
        unit: usize,
        layout: NodeLayout,
        work: &mut Workspace,
        target: &mut [f64],
        target_by: &mut [f64],
        logdet_by: &mut [f64],
    ) -> Result<f64, NotPositiveDefinite> {
        let NodeLayout { q, w, .. } = layout;
        let level = self.reduction.levels.len() - 1;
        let Pattern { first, n_blocks, count } = self.reduction.patterns[unit];
        let mut logdet = 0.0;
        for b in first..first + n_blocks {
            self.load_block(level, b, &mut work.whitened);
            if b == first {
                logdet = self.whiten_leaf(level, unit, work, true)?;
            } else {
                solve_lower(&work.w, q, &mut work.whitened, q + w);
            }
            self.push_node(level, layout, work);
            let weight = if b == first { count as f64 } else { 0.0 };
            self.own_tangents(level, unit, &work.u, &work.h, weight, target_by, logdet_by);
            self.add_whitened(level, work, target);
        }
        Ok(count as f64 * logdet)
    }

    /// -U'E U and tr(H E) for the entries of the unit's own level.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)] // the sums a unit adds to, each named once
    fn own_tangents(
        &self,
        level: usize,
        unit: usize,
        u: &[f64],
        h: &[f64],
        count: f64,
        target_by: &mut [f64],
        logdet_by: &mut [f64],
    ) {
        let (q, w) = (self.reduction.levels[level].q, self.width[level]);
        let first = self.first_entry[level];
        if self.has_directions(level) {
            for k in 0..self.first_entry[level + 1] - first {
                let direction = self.stacked(level, unit, 1 + k);
                let du = times(direction, u, q, q, w);
                let into = &mut target_by[block(k, w * w)];
                for a in 0..q {
                    let (u_a, du_a) = (&u[block(a, w)], &du[block(a, w)]);
                    for i in 0..w {
                        axpy(-u_a[i], &du_a[..=i], &mut into[i * w..i * w + i + 1]);
                    }
                }
                logdet_by[first + k] += count * dot(h, direction);
            }
            return;
        }
        for (k, entry) in self.entries[first..self.first_entry[level + 1]].iter().enumerate() {
            let (a, b) = (&u[block(entry.a, w)], &u[block(entry.b, w)]);
            let into = &mut target_by[block(k, w * w)];
            if entry.a == entry.b {
                for i in 0..w {
                    axpy(-a[i], &a[..=i], &mut into[i * w..i * w + i + 1]);
                }
            } else {
                for i in 0..w {
                    let (a_i, b_i) = (a[i], b[i]);
                    let row = &mut into[i * w..i * w + i + 1];
                    for ((value, a_j), b_j) in row.iter_mut().zip(a).zip(b) {
                        *value -= a_i * b_j + b_i * a_j;
                    }
                }
            }
            logdet_by[first + k] += count * 2.0 * entry.weight() * h[entry.a * q + entry.b];
        }
    }
}

/// H = T'W^-1 T and U = T'W^-1 A from the whitened rows [T A].
#[inline(always)]
fn information(rows: &[f64], q: usize, w: usize, h: &mut [f64], u: &mut [f64]) {
    h.fill(0.0);
    u.fill(0.0);
    for row in rows.chunks_exact(q + w).take(q) {
        for a in 0..q {
            axpy(row[a], &row[..q], &mut h[block(a, q)]);
            axpy(row[a], &row[q..], &mut u[block(a, w)]);
        }
    }
}

/// U = T'W^-1 A from the whitened rows [T A].
#[inline(always)]
fn half_information(rows: &[f64], q: usize, w: usize, u: &mut [f64]) {
    u.fill(0.0);
    for row in rows.chunks_exact(q + w).take(q) {
        for a in 0..q {
            axpy(row[a], &row[q..], &mut u[block(a, w)]);
        }
    }
}

/// Adds U Psi U' to `f` and U e e'U' to `f_rss` (lower triangles).
#[inline(always)]
#[allow(clippy::too_many_arguments)] // two products of the same matrices in one visit
fn weigh(
    u: &[f64],
    q: usize,
    w: usize,
    psi: &[f64],
    e: &[f64],
    row: &mut [f64],
    f: &mut [f64],
    f_rss: &mut [f64],
) {
    let row = &mut row[..w + q];
    for a in 0..q {
        let (u_psi, u_e) = row.split_at_mut(w);
        u_psi.fill(0.0);
        for (i, &value) in u[block(a, w)].iter().enumerate() {
            axpy(value, &psi[block(i, w)], u_psi);
        }
        u_e[a] = dot(&u[block(a, w)], e);
        for b in 0..=a {
            f[a * q + b] += dot(u_psi, &u[block(b, w)]);
            f_rss[a * q + b] += u_e[a] * u_e[b];
        }
    }
}

/// y <- y + alpha x for two disjoint stretches of one slice, x before y.
fn axpy_within(data: &mut [f64], alpha: f64, x: usize, y: usize, n: usize) {
    let (head, tail) = data.split_at_mut(y);
    axpy(alpha, &head[x..x + n], &mut tail[..n]);
}

/// Adds J'`M_k` J to `into` (lower triangle), keeps what `descend` needs; returns tr(S `M_k,ZZ`).
fn pull_back(layout: NodeLayout, k: usize, m_k: &[f64], node: &mut [f64], into: &mut [f64]) -> f64 {
    let NodeLayout { q, w, .. } = layout;
    let size = q + w;
    let j = node[layout.j()].to_vec();
    let mut p = vec![0.0; q * w];
    for a in 0..q {
        let p_a = &mut p[block(a, w)];
        p_a.copy_from_slice(&m_k[a * size + q..(a + 1) * size]);
        for b in 0..q {
            axpy(m_k[a * size + b], &j[block(b, w)], p_a);
        }
    }
    for i in 0..w {
        let row = &mut into[i * w..i * w + i + 1];
        axpy(1.0, &m_k[(q + i) * size + q..][..=i], row);
        for a in 0..q {
            axpy(j[a * w + i], &p[a * w..a * w + i + 1], row);
            axpy(m_k[(q + i) * size + a], &j[a * w..a * w + i + 1], row);
        }
    }
    node[layout.p(k)].copy_from_slice(&p);
    let mut trace = 0.0;
    for a in 0..q {
        let m_zz = &m_k[a * size..a * size + q];
        trace += dot(&node[layout.s()][block(a, q)], m_zz);
        node[layout.m_zz(k)][block(a, q)].copy_from_slice(m_zz);
    }
    trace
}

// ---- the way down -----------------------------------------------------------------------------

impl Elimination<'_> {
    /// Second derivatives of one unit and of everything inside it.
    fn descend(
        &self,
        level: usize,
        unit: usize,
        psi: &[f64],
        e: &[f64],
        work: &mut Workspace,
        sums: &mut Sums,
    ) {
        let layout = self.layout(level);
        let NodeLayout { q, w, .. } = layout;
        let first = work.visited[level] * layout.size();
        work.visited[level] += 1;
        let (mut f, mut f_rss) = (vec![0.0; q * q], vec![0.0; q * q]);
        let node = &work.nodes[level][first..first + layout.size()];
        weigh(&node[layout.u()], q, w, psi, e, &mut work.row, &mut f, &mut f_rss);
        symmetrise(&mut f, q);
        symmetrise(&mut f_rss, q);
        let kept = &mut work.kept;
        self.own_second(level, unit, &node[layout.h()], &f, &f_rss, 1.0, kept, sums);
        if self.is_leaf(level) {
            return;
        }
        let node = node.to_vec();
        self.inner_second(level, layout, &node, psi, e, sums);
        let (psi_child, e_child) = Self::weight_of_children(layout, &node, psi, e);
        for child in self.children(level, unit) {
            self.descend(level + 1, child, &psi_child, &e_child, work, sums);
        }
    }

    /// All derivatives of one pattern where there is one level: up and down in one visit.
    #[inline(always)]
    fn pattern(
        &self,
        item: usize,
        psi: &[f64],
        e: &[f64],
        work: &mut Workspace,
        sums: &mut Sums,
    ) -> Result<(), NotPositiveDefinite> {
        let (q, w) = (self.reduction.levels[0].q, self.width[0]);
        let Pattern { first, n_blocks, count } = self.reduction.patterns[item];
        let mut logdet = 0.0;
        work.f.fill(0.0);
        work.f_rss.fill(0.0);
        for b in first..first + n_blocks {
            self.load_block(0, b, &mut work.whitened);
            if b == first {
                logdet = self.factor_w(0, item, &work.whitened, &mut work.w)?;
            }
            solve_lower(&work.w, q, &mut work.whitened, q + w);
            information(&work.whitened, q, w, &mut work.h, &mut work.u);
            let weight = if b == first { count as f64 } else { 0.0 };
            let (by, logdet_by) = (&mut sums.gram_by, &mut sums.logdet_by);
            self.own_tangents(0, item, &work.u, &work.h, weight, by, logdet_by);
            let (f, f_rss) = (&mut work.f, &mut work.f_rss);
            weigh(&work.u, q, w, psi, e, &mut work.row, f, f_rss);
        }
        symmetrise(&mut work.f, q);
        symmetrise(&mut work.f_rss, q);
        self.own_second(0, item, &work.h, &work.f, &work.f_rss, count as f64, &mut work.kept, sums);
        sums.logdet += count as f64 * logdet;
        Ok(())
    }

    /// Second differential by two entries of the unit's own G.
    #[allow(clippy::too_many_arguments)] // the sums a unit adds to, each named once
    fn own_second(
        &self,
        level: usize,
        unit: usize,
        h: &[f64],
        f: &[f64],
        f_rss: &[f64],
        count: f64,
        kept: &mut KeptFactor,
        sums: &mut Sums,
    ) {
        let q = self.reduction.levels[level].q;
        let n = self.entries.len();
        let range = self.first_entry[level]..self.first_entry[level + 1];
        if self.has_directions(level) {
            self.own_second_of_directions(level, unit, h, f, f_rss, count, kept, sums);
            return;
        }
        for k in range.clone() {
            let Entry { a, b, .. } = self.entries[k];
            for l in range.start..=k {
                let Entry { a: c, b: d, .. } = self.entries[l];
                let weight = self.entries[k].weight() * self.entries[l].weight();
                let at = |x: &[f64], i: usize, j: usize| x[i * q + j];
                let (ac, ad) = (at(h, a, c), at(h, a, d));
                let (bc, bd) = (at(h, b, c), at(h, b, d));
                let cross = |f: &[f64]| {
                    bc * at(f, a, d) + bd * at(f, a, c) + ac * at(f, b, d) + ad * at(f, b, c)
                };
                sums.hessian[k * n + l] += 2.0 * weight * (cross(f) - count * (ac * bd + ad * bc));
                sums.hessian_rss[k * n + l] += 2.0 * weight * cross(f_rss);
            }
        }
    }

    /// `own_second` where a covariance is moved by a few parameters.
    #[allow(clippy::too_many_arguments)] // the sums a unit adds to, each named once
    fn own_second_of_directions(
        &self,
        level: usize,
        unit: usize,
        h: &[f64],
        f: &[f64],
        f_rss: &[f64],
        count: f64,
        kept: &mut KeptFactor,
        sums: &mut Sums,
    ) {
        let q = self.reduction.levels[level].q;
        let n = self.entries.len();
        let first = self.first_entry[level];
        let n_directions = self.first_entry[level + 1] - first;
        let seen: Vec<f64> = (0..q).map(|i| h[i * q + i]).collect();
        if !self.shares_factors(level) || kept.seen_products != seen {
            kept.products = self.pair_products(level, unit, n_directions, h);
            kept.seen_products = seen;
        }
        for k in 0..n_directions {
            for l in 0..=k {
                let pair = &kept.products[k * (k + 1) / 2 + l];
                let at = (first + k) * n + first + l;
                sums.hessian[at] += dot(&pair.weight_of_f, f) + count * pair.own;
                sums.hessian_rss[at] += dot(&pair.weight_of_f, f_rss);
            }
        }
    }

    /// What second derivatives by pairs of parameters need of one unit's H.
    fn pair_products(
        &self,
        level: usize,
        unit: usize,
        n_directions: usize,
        h: &[f64],
    ) -> Vec<PairProducts> {
        let q = self.reduction.levels[level].q;
        let by_h: Vec<Vec<f64>> = (0..n_directions)
            .map(|k| times(h, self.stacked(level, unit, 1 + k), q, q, q))
            .collect();
        let mut out = Vec::with_capacity(n_directions * (n_directions + 1) / 2);
        for k in 0..n_directions {
            for l in 0..=k {
                let bend = self.stacked(level, unit, 1 + n_directions + k * (k + 1) / 2 + l);
                let mut weight_of_f = times(self.stacked(level, unit, 1 + k), &by_h[l], q, q, q);
                axpy(
                    1.0,
                    &times(self.stacked(level, unit, 1 + l), &by_h[k], q, q, q),
                    &mut weight_of_f,
                );
                axpy(-1.0, bend, &mut weight_of_f);
                let mut trace = 0.0;
                for i in 0..q {
                    for j in 0..q {
                        trace += by_h[k][i * q + j] * by_h[l][j * q + i];
                    }
                }
                out.push(PairProducts { weight_of_f, own: dot(h, bend) - trace });
            }
        }
        out
    }

    /// Second differential by an entry of this level and one inside, and by two inside.
    fn inner_second(
        &self,
        level: usize,
        layout: NodeLayout,
        node: &[f64],
        psi: &[f64],
        e: &[f64],
        sums: &mut Sums,
    ) {
        let NodeLayout { q, w, n_inner } = layout;
        let n = self.entries.len();
        let (u, s) = (&node[layout.u()], &node[layout.s()]);
        let ihg = i_minus_hg(q, &node[layout.h()], &self.g[level]);
        // U Psi, and for each inner entry P Psi, S P, S M_ZZ and P e: all q x w or smaller.
        let u_psi = times(u, psi, q, w, w);
        let u_e = times(u, e, q, w, 1);
        let inner = self.first_entry[level + 1];
        let sp: Vec<Vec<f64>> =
            (0..n_inner).map(|k| times(s, &node[layout.p(k)], q, q, w)).collect();
        let sm: Vec<Vec<f64>> =
            (0..n_inner).map(|k| times(s, &node[layout.m_zz(k)], q, q, q)).collect();
        for k in 0..n_inner {
            let p = &node[layout.p(k)];
            let u_k = times(&ihg, p, q, q, w);
            let u_k_e = times(&u_k, e, q, w, 1);
            let h_k = sandwich(&ihg, &node[layout.m_zz(k)], q);
            for own in self.first_entry[level]..inner {
                let Entry { a, b, .. } = self.entries[own];
                let weight = self.entries[own].weight();
                let trace = |i: usize, j: usize| dot(&u_psi[block(i, w)], &u_k[block(j, w)]);
                let at = (inner + k) * n + own;
                sums.hessian[at] += 2.0 * weight * (h_k[a * q + b] - trace(a, b) - trace(b, a));
                sums.hessian_rss[at] -= 2.0 * weight * (u_e[a] * u_k_e[b] + u_e[b] * u_k_e[a]);
            }
            let p_psi = times(p, psi, q, w, w);
            let p_e = times(p, e, q, w, 1);
            for l in 0..=k {
                let sp_e = times(&sp[l], e, q, w, 1);
                let mut by_logdet = 0.0;
                for a in 0..q {
                    for b in 0..q {
                        by_logdet += sm[k][a * q + b] * sm[l][b * q + a];
                    }
                }
                let at = (inner + k) * n + inner + l;
                sums.hessian[at] -= by_logdet + 2.0 * dot(&p_psi, &sp[l]);
                sums.hessian_rss[at] -= 2.0 * dot(&p_e, &sp_e);
            }
        }
    }

    /// J Psi J' + S and J e: how the criterion weighs what the unit's children pass up.
    fn weight_of_children(
        layout: NodeLayout,
        node: &[f64],
        psi: &[f64],
        e: &[f64],
    ) -> (Vec<f64>, Vec<f64>) {
        let NodeLayout { q, w, .. } = layout;
        let size = q + w;
        let j = &node[layout.j()];
        let j_psi = times(j, psi, q, w, w);
        let mut child = vec![0.0; size * size];
        for a in 0..q {
            for b in 0..q {
                child[a * size + b] =
                    node[layout.s()][a * q + b] + dot(&j_psi[block(a, w)], &j[block(b, w)]);
            }
            for i in 0..w {
                child[a * size + q + i] = j_psi[a * w + i];
                child[(q + i) * size + a] = j_psi[a * w + i];
            }
        }
        for i in 0..w {
            child[(q + i) * size + q..(q + i + 1) * size].copy_from_slice(&psi[block(i, w)]);
        }
        let mut e_child = times(j, e, q, w, 1);
        e_child.extend_from_slice(e);
        (child, e_child)
    }

    fn descend_conditional(
        &self,
        level: usize,
        unit: usize,
        psi: &[f64],
        e: &[f64],
        work: &mut Workspace,
        out: &mut [Conditional],
    ) {
        let layout = self.layout(level);
        let NodeLayout { q, w, .. } = layout;
        let first = work.visited[level] * layout.size();
        work.visited[level] += 1;
        let node = work.nodes[level][first..first + layout.size()].to_vec();
        let (psi_child, e_child) = Self::weight_of_children(layout, &node, psi, e);
        out[level].mean.extend(e_child[..q].iter().map(|value| -value));
        for a in 0..q {
            out[level].covariance.extend_from_slice(&psi_child[a * (q + w)..a * (q + w) + q]);
        }
        if !self.is_leaf(level) {
            for child in self.children(level, unit) {
                self.descend_conditional(level + 1, child, &psi_child, &e_child, work, out);
            }
        }
    }
}

/// I - H G.
fn i_minus_hg(q: usize, h: &[f64], g: &[f64]) -> Vec<f64> {
    let mut out = times(h, g, q, q, q);
    for (i, value) in out.iter_mut().enumerate() {
        *value = f64::from(u8::from(i % (q + 1) == 0)) - *value;
    }
    out
}

/// A B for row-major A (n x k) and B (k x m).
fn times(a: &[f64], b: &[f64], n: usize, k: usize, m: usize) -> Vec<f64> {
    let mut out = vec![0.0; n * m];
    for i in 0..n {
        for l in 0..k {
            axpy(a[i * k + l], &b[block(l, m)], &mut out[block(i, m)]);
        }
    }
    out
}

/// A M A' for square A and M.
fn sandwich(a: &[f64], m: &[f64], q: usize) -> Vec<f64> {
    let am = times(a, m, q, q, q);
    let mut out = vec![0.0; q * q];
    for i in 0..q {
        for j in 0..q {
            out[i * q + j] = dot(&am[block(i, q)], &a[block(j, q)]);
        }
    }
    out
}
