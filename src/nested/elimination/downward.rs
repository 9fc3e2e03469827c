//! The way down: second derivatives and conditional distributions, from the outermost units in.

use super::pairs::Pending;
use super::products::{i_minus_hg, information, sandwich, weigh};
use super::state::Elimination;
use super::workspace::{KeptFactor, NodeLayout, Workspace};
use crate::criterion::sums::{Conditional, Entry, Sums};
use crate::linalg::dense::{
    Kernel, NotPositiveDefinite, axpy, block, dot, solve_lower, symmetrise,
};
use crate::linalg::small::product;
use crate::nested::patterns::Pattern;

/// [`Elimination::pattern`] as a kernel.
pub(super) struct OfPattern<'a> {
    pub(super) of: &'a Elimination<'a>,
    pub(super) item: usize,
    pub(super) psi: &'a [f64],
    pub(super) e: &'a [f64],
    pub(super) work: &'a mut Workspace,
    pub(super) sums: &'a mut Sums,
}

impl Kernel for OfPattern<'_> {
    type Output = Result<(), NotPositiveDefinite>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        self.of.pattern(self.item, self.psi, self.e, self.work, self.sums)
    }
}

impl Elimination<'_> {
    /// Second derivatives of one unit and of everything inside it.
    pub(crate) fn descend(
        &self,
        level: usize,
        unit: usize,
        psi: &[f64],
        e: &[f64],
        work: &mut Workspace,
        sums: &mut Sums,
    ) {
        if let Some(series) = self.series().filter(|_| self.is_leaf(level)) {
            self.series_second(series, psi, e, work, sums);
            return;
        }
        let layout = self.layout(level);
        let NodeLayout { q, w, .. } = layout;
        let first = work.visited[level] * layout.size();
        work.visited[level] += 1;
        let (mut f, mut f_rss) = (vec![0.0; q * q], vec![0.0; q * q]);
        let node = &work.nodes[level][first..first + layout.size()];
        weigh(&node[layout.u()], q, w, psi, e, &mut work.row, &mut f, &mut f_rss);
        symmetrise(&mut f, q);
        symmetrise(&mut f_rss, q);
        let (kept, pending) = (&mut work.kept, &mut work.pending);
        self.own_second(level, unit, &node[layout.h()], &f, &f_rss, 1.0, kept, pending, sums);
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
    pub(crate) fn pattern(
        &self,
        item: usize,
        psi: &[f64],
        e: &[f64],
        work: &mut Workspace,
        sums: &mut Sums,
    ) -> Result<(), NotPositiveDefinite> {
        let (q, w) = (self.reduction.levels[0].q, self.width[0]);
        let Pattern { first, n_blocks, n_full, count } = self.reduction.patterns[item];
        let mut logdet = 0.0;
        work.f.fill(0.0);
        work.f_rss.fill(0.0);
        for b in first..first + n_full {
            self.load_block(0, b, &mut work.whitened);
            if b == first {
                logdet = self.factor_w(0, item, &work.whitened, &mut work.w)?;
            }
            solve_lower(&work.w, q, &mut work.whitened, q + w);
            information(&work.whitened, q, w, &mut work.h, &mut work.u);
            let weight = if b == first { count as f64 } else { 0.0 };
            let (by, logdet_by) = (&mut sums.gram_by, &mut sums.logdet_by);
            if self.waits(0) {
                self.own_traces(0, &work.h, weight, logdet_by);
                self.push_tangents(0, &work.u, &mut work.tangents, by);
            } else {
                self.own_tangents(0, item, &work.u, &work.h, weight, by, logdet_by);
            }
            let (f, f_rss) = (&mut work.f, &mut work.f_rss);
            weigh(&work.u, q, w, psi, e, &mut work.row, f, f_rss);
        }
        for b in first + n_full..first + n_blocks {
            self.response_tangents(item, b, e[w - 1], work, &mut sums.gram_by);
        }
        symmetrise(&mut work.f, q);
        symmetrise(&mut work.f_rss, q);
        let (kept, pending) = (&mut work.kept, &mut work.pending);
        let count_f = count as f64;
        self.own_second(0, item, &work.h, &work.f, &work.f_rss, count_f, kept, pending, sums);
        sums.logdet += count as f64 * logdet;
        Ok(())
    }

    /// A block's share in derivatives where it has only a response: those of y'V^-1 y.
    ///
    /// T and W are those of the blocks before it.
    #[inline(always)]
    fn response_tangents(
        &self,
        item: usize,
        b: usize,
        e: f64,
        work: &mut Workspace,
        gram_by: &mut [f64],
    ) {
        let (q, w) = (self.reduction.levels[0].q, self.width[0]);
        let (y, u) = work.row.split_at_mut(q);
        let u = &mut u[..q];
        self.whiten_response(0, b, &work.w, y);
        u.fill(0.0);
        for (row, &value) in work.whitened.chunks_exact(q + w).zip(&*y) {
            axpy(value, &row[..q], u);
        }
        let last = |k: usize| (k + 1) * w * w - 1;
        if self.has_directions(0) {
            for k in 0..self.entries.len() {
                let direction = self.stacked(0, item, 1 + k);
                let du: f64 = (0..q).map(|a| u[a] * dot(&direction[block(a, q)], u)).sum();
                gram_by[last(k)] -= du;
            }
        } else {
            for (k, entry) in self.entries.iter().enumerate() {
                gram_by[last(k)] -= 2.0 * entry.weight() * u[entry.a] * u[entry.b];
            }
        }
        for a in 0..q {
            axpy(e * e * u[a], &u[..=a], &mut work.f_rss[a * q..=a * q + a]);
        }
    }

    /// Second differential by two entries of the unit's own G.
    #[allow(clippy::too_many_arguments)] // the sums a unit adds to, each named once
    pub(crate) fn own_second(
        &self,
        level: usize,
        unit: usize,
        h: &[f64],
        f: &[f64],
        f_rss: &[f64],
        count: f64,
        kept: &mut KeptFactor,
        pending: &mut Pending,
        sums: &mut Sums,
    ) {
        if sums.hessian.is_empty() {
            return;
        }
        let q = self.reduction.levels[level].q;
        let n = self.entries.len();
        let range = self.first_entry[level]..self.first_entry[level + 1];
        if self.has_directions(level) {
            self.own_second_of_directions(level, unit, h, f, f_rss, count, kept, sums);
            return;
        }
        if !self.runs[level].is_empty() {
            self.own_second_by_runs(level, [h, f, f_rss], count, pending, sums);
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

    /// Second differential by an entry of this level and one inside, and by two inside.
    pub(crate) fn inner_second(
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
        let u_psi = product(u, psi, q, w, w);
        let u_e = product(u, e, q, w, 1);
        let inner = self.first_entry[level + 1];
        let sp: Vec<Vec<f64>> =
            (0..n_inner).map(|k| product(s, &node[layout.p(k)], q, q, w)).collect();
        let sm: Vec<Vec<f64>> =
            (0..n_inner).map(|k| product(s, &node[layout.m_zz(k)], q, q, q)).collect();
        for k in 0..n_inner {
            let p = &node[layout.p(k)];
            let u_k = product(&ihg, p, q, q, w);
            let u_k_e = product(&u_k, e, q, w, 1);
            let h_k = sandwich(&ihg, &node[layout.m_zz(k)], q);
            for own in self.first_entry[level]..inner {
                let Entry { a, b, .. } = self.entries[own];
                let weight = self.entries[own].weight();
                let trace = |i: usize, j: usize| dot(&u_psi[block(i, w)], &u_k[block(j, w)]);
                let at = (inner + k) * n + own;
                sums.hessian[at] += 2.0 * weight * (h_k[a * q + b] - trace(a, b) - trace(b, a));
                sums.hessian_rss[at] -= 2.0 * weight * (u_e[a] * u_k_e[b] + u_e[b] * u_k_e[a]);
            }
            let p_psi = product(p, psi, q, w, w);
            let p_e = product(p, e, q, w, 1);
            for l in 0..=k {
                let sp_e = product(&sp[l], e, q, w, 1);
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
    pub(crate) fn weight_of_children(
        layout: NodeLayout,
        node: &[f64],
        psi: &[f64],
        e: &[f64],
    ) -> (Vec<f64>, Vec<f64>) {
        let NodeLayout { q, w, .. } = layout;
        let size = q + w;
        let j = &node[layout.j()];
        let j_psi = product(j, psi, q, w, w);
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
        let mut e_child = product(j, e, q, w, 1);
        e_child.extend_from_slice(e);
        (child, e_child)
    }

    pub(crate) fn descend_conditional(
        &self,
        level: usize,
        unit: usize,
        psi: &[f64],
        e: &[f64],
        work: &mut Workspace,
        out: &mut [Conditional],
    ) {
        if self.series().is_some() && self.is_leaf(level) {
            return;
        }
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
