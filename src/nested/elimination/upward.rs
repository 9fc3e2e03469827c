//! The way up: values and first derivatives, from the innermost units out.

use std::ops::Range;

use super::products::{
    add_quadratic, axpy_within, conditional_covariance, half_information, information, pull_back,
};
use super::state::Elimination;
use super::workspace::{NodeLayout, Workspace};
use crate::criterion::sums::Sums;
use crate::linalg::dense::{
    Kernel, NotPositiveDefinite, add_outer, axpy, block, dot, semidefinite_root, solve_lower,
    symmetrise, vectorised,
};
use crate::linalg::small::product;
use crate::nested::patterns::Pattern;
use crate::running::memory::lengthen;

/// What a unit adds to, lower triangles: N, its derivatives by the entries from its level inwards,
/// and the weighted sums of its second derivatives where these are asked for.
pub(crate) struct Target<'a> {
    pub(crate) gram: &'a mut [f64],
    pub(crate) by: &'a mut [f64],
    pub(crate) second: &'a mut [f64],
}

struct LeafValue<'a> {
    of: &'a Elimination<'a>,
    level: usize,
    unit: usize,
    work: &'a mut Workspace,
    target: &'a mut [f64],
}

impl Kernel for LeafValue<'_> {
    type Output = Result<f64, NotPositiveDefinite>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        self.of.leaf_value(self.level, self.unit, self.work, self.target)
    }
}

struct LeafTangent<'a, 't> {
    of: &'a Elimination<'a>,
    unit: usize,
    layout: NodeLayout,
    work: &'a mut Workspace,
    target: &'a mut Target<'t>,
    logdet_by: &'a mut [f64],
}

impl Kernel for LeafTangent<'_, '_> {
    type Output = Result<f64, NotPositiveDefinite>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        let Self { of, unit, layout, work, target, logdet_by } = self;
        of.leaf_tangent(unit, layout, work, target, logdet_by)
    }
}

impl Elimination<'_> {
    /// Adds the unit's N to `target`; returns its share of log|V|.
    pub(crate) fn value(
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
        if let Some(series) = self.series() {
            return self.series_value(series, unit, target);
        }
        vectorised(LeafValue { of: self, level, unit, work, target })
    }

    #[inline(always)]
    pub(crate) fn leaf_value(
        &self,
        level: usize,
        unit: usize,
        work: &mut Workspace,
        target: &mut [f64],
    ) -> Result<f64, NotPositiveDefinite> {
        let (q, w) = (self.reduction.levels[level].q, self.width[level]);
        let Pattern { first, n_blocks, n_full, count } = self.reduction.patterns[unit];
        let mut logdet = 0.0;
        for b in first..first + n_full {
            self.load_block(level, b, &mut work.whitened);
            if b == first {
                logdet = self.whiten_leaf(level, unit, work, false)?;
            } else {
                solve_lower(&work.w, q, &mut work.whitened, q + w);
            }
            self.add_whitened(level, work, target);
        }
        for b in first + n_full..first + n_blocks {
            let y = &mut work.row[..q];
            self.whiten_response(level, b, &work.w, y);
            target[w * w - 1] += dot(y, y);
        }
        Ok(count as f64 * logdet)
    }

    #[inline(always)]
    pub(crate) fn add_whitened(&self, level: usize, work: &Workspace, target: &mut [f64]) {
        let q = self.reduction.levels[level].q;
        for row in work.whitened.chunks_exact(q + self.width[level]).take(q) {
            add_outer(&row[q..], target);
        }
    }

    /// M of an outer unit: its own rotated rows and what its children pass up.
    pub(crate) fn gather_children(
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

    pub(crate) fn children(&self, level: usize, unit: usize) -> Range<usize> {
        let offsets = &self.reduction.levels[level].first_child;
        offsets[unit]..offsets[unit + 1]
    }

    pub(crate) fn own_rows(&self, level: usize, unit: usize, work: &mut Workspace, m: &mut [f64]) {
        let (q, w) = (self.reduction.levels[level].q, self.width[level]);
        m.fill(0.0);
        self.load_block(level, unit, &mut work.whitened);
        for row in work.whitened.chunks_exact(q + w).take(q) {
            add_outer(row, m);
        }
    }

    /// [T A] from M into `work.whitened`, and `M_BB` - A'A in place of `M_BB`.
    pub(crate) fn root_rows(&self, level: usize, m: &mut [f64], work: &mut Workspace) {
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
        work.keep_t(q, w);
        for row in work.whitened.chunks_exact(size).take(q) {
            let a = &row[q..];
            for (i, &value) in a.iter().enumerate() {
                axpy(-value, &a[..=i], &mut m[(q + i) * size + q..][..=i]);
            }
        }
    }

    /// H and U of the whitened rows, then S and -G U, appended to the level's nodes.
    pub(crate) fn push_node(
        &self,
        level: usize,
        unit: usize,
        layout: NodeLayout,
        work: &mut Workspace,
    ) -> usize {
        let NodeLayout { q, w, .. } = layout;
        let start = work.nodes[level].len();
        lengthen(&mut work.nodes[level], start + layout.size());
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
        let g = self.covariance(level, unit);
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
        let s = &mut node[layout.s()];
        if self.roots[level].is_empty() {
            // S = G - (G H) G
            let gh = product(g, &work.h, q, q, q);
            s.copy_from_slice(g);
            for a in 0..q {
                for b in 0..q {
                    axpy(-gh[a * q + b], &g[block(b, q)], &mut s[block(a, q)]);
                }
            }
        } else {
            conditional_covariance(&self.roots[level], &work.t, q, s);
        }
        start
    }

    pub(crate) fn layout(&self, level: usize) -> NodeLayout {
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
    pub(crate) fn tangent_top(
        &self,
        item: usize,
        work: &mut Workspace,
        sums: &mut Sums,
    ) -> Result<(), NotPositiveDefinite> {
        work.nodes.iter_mut().for_each(Vec::clear);
        work.visited.fill(0);
        let (mut gram, mut gram_by) =
            (std::mem::take(&mut sums.gram), std::mem::take(&mut sums.gram_by));
        let mut second = std::mem::take(&mut sums.second);
        let mut target = Target { gram: &mut gram, by: &mut gram_by, second: &mut second };
        let result = self.tangent(0, item, work, &mut target, &mut sums.logdet_by);
        sums.second = second;
        sums.gram = gram;
        sums.gram_by = gram_by;
        sums.logdet += result?;
        Ok(())
    }

    /// Adds the unit's N and its derivatives by the entries of this and inner levels.
    pub(crate) fn tangent(
        &self,
        level: usize,
        unit: usize,
        work: &mut Workspace,
        target: &mut Target<'_>,
        logdet_by: &mut [f64],
    ) -> Result<f64, NotPositiveDefinite> {
        let layout = self.layout(level);
        let NodeLayout { q, w, .. } = layout;
        if let Some(series) = self.series().filter(|_| self.is_leaf(level)) {
            // What is known of log|R| beforehand is added once, at the end.
            return self.series_tangent(series, unit, work, target);
        }
        if self.is_leaf(level) {
            return vectorised(LeafTangent { of: self, unit, layout, work, target, logdet_by });
        }
        let mut m = std::mem::take(&mut work.m[level]);
        let mut m_by = std::mem::take(&mut work.m_by[level]);
        let mut m_second = std::mem::take(&mut work.m_second[level]);
        m_by.fill(0.0);
        m_second.fill(0.0);
        self.own_rows(level, unit, work, &mut m);
        let mut logdet = 0.0;
        let mut inner = Target { gram: &mut m, by: &mut m_by, second: &mut m_second };
        for child in self.children(level, unit) {
            logdet += self.tangent(level + 1, child, work, &mut inner, logdet_by)?;
        }
        self.root_rows(level, &mut m, work);
        logdet += self.factor_w(level, unit, &work.whitened, &mut work.w)?;
        solve_lower(&work.w, q, &mut work.whitened, q + w);
        for i in 0..w {
            axpy(1.0, &m[(q + i) * (q + w) + q..][..=i], &mut target.gram[i * w..i * w + i + 1]);
        }
        self.add_whitened(level, work, target.gram);
        let start = self.push_node(level, unit, layout, work);
        self.own_tangents(level, unit, &work.u, &work.h, 1.0, target.by, logdet_by);
        let node = &mut work.nodes[level][start..];
        let own = self.first_entry[level + 1] - self.first_entry[level];
        for k in 0..layout.n_inner {
            let m_k = &mut m_by[block(k, (q + w) * (q + w))];
            symmetrise(m_k, q + w);
            let into = &mut target.by[block(own + k, w * w)];
            logdet_by[self.first_entry[level + 1] + k] += pull_back(layout, k, m_k, node, into);
        }
        let weights = &work.pair_weights;
        if !weights.is_empty() {
            for (set, weights) in weights.iter().enumerate() {
                let middle = self.own_middle(level, unit, &work.h, weights);
                add_quadratic(&work.u, &middle, q, w, &mut target.second[block(set, w * w)]);
            }
            self.inner_curvature(level, layout, node, weights, &mut m_second, target.second);
        }
        work.m[level] = m;
        work.m_by[level] = m_by;
        work.m_second[level] = m_second;
        Ok(logdet)
    }

    /// `tangent` of a unit of the innermost of several levels.
    #[inline(always)]
    pub(crate) fn leaf_tangent(
        &self,
        unit: usize,
        layout: NodeLayout,
        work: &mut Workspace,
        target: &mut Target<'_>,
        logdet_by: &mut [f64],
    ) -> Result<f64, NotPositiveDefinite> {
        let NodeLayout { q, w, .. } = layout;
        let level = self.reduction.levels.len() - 1;
        let Pattern { first, n_blocks, count, .. } = self.reduction.patterns[unit];
        let mut logdet = 0.0;
        let mut middles = Vec::new();
        for b in first..first + n_blocks {
            self.load_block(level, b, &mut work.whitened);
            if work.wants_conditional {
                work.keep_t(q, w);
            }
            if b == first {
                logdet = self.whiten_leaf(level, unit, work, true)?;
            } else {
                solve_lower(&work.w, q, &mut work.whitened, q + w);
            }
            self.push_node(level, unit, layout, work);
            let weight = if b == first { count as f64 } else { 0.0 };
            self.own_tangents(level, unit, &work.u, &work.h, weight, target.by, logdet_by);
            self.add_whitened(level, work, target.gram);
            if b == first {
                let middle = |weights| self.own_middle(level, unit, &work.h, weights);
                middles = work.pair_weights.iter().map(|w| middle(w)).collect::<Vec<_>>();
            }
            for (set, middle) in middles.iter().enumerate() {
                add_quadratic(&work.u, middle, q, w, &mut target.second[block(set, w * w)]);
            }
        }
        Ok(count as f64 * logdet)
    }

    /// -U'E U and tr(H E) for the entries of the unit's own level.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)] // the sums a unit adds to, each named once
    pub(crate) fn own_tangents(
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
                if q == 1 {
                    let into = &mut target_by[block(k, w * w)];
                    for i in 0..w {
                        axpy(-direction[0] * u[i], &u[..=i], &mut into[i * w..i * w + i + 1]);
                    }
                    logdet_by[first + k] += count * h[0] * direction[0];
                    continue;
                }
                let du = product(direction, u, q, q, w);
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
