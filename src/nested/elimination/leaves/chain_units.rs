//! Units with random effects above chains with parameters by visit: up and down in one visit.
//!
//! A unit keeps derivatives by the parameters that its own rows touch, so short series among many
//! visits stay cheap.

use super::chain::{Target, class_of};
use crate::criterion::sums::{Entry, Sums};
use crate::linalg::dense::{
    NotPositiveDefinite, axpy, block, dot, solve_lower, symmetrise, vectorised,
};
use crate::linalg::small::product;
use crate::nested::elimination::products::{i_minus_hg, pull_back, sandwich, weigh};
use crate::nested::elimination::state::Elimination;
use crate::nested::elimination::workspace::{NodeLayout, Workspace};
use crate::nested::series::chain::ChainAt;
use crate::nested::series::items::Series;
use crate::running::memory::zeros;

/// A unit with random effects on its way up.
pub(crate) struct Unit {
    level: usize,
    index: usize,
    /// Entries inside the unit that its rows touch, ascending.
    inner: Vec<usize>,
    /// Its record, by [`NodeLayout`].
    node: Vec<f64>,
    children: Vec<Unit>,
}

impl Elimination<'_> {
    /// Adds a unit's N and its derivatives by its own entries and those inside it that it touches.
    pub(crate) fn chain_up(
        &self,
        (series, chain): (&Series, &ChainAt),
        (level, unit): (usize, usize),
        work: &mut Workspace,
        target: &mut Target<'_>,
        logdet_by: &mut [f64],
    ) -> Result<(f64, Unit), NotPositiveDefinite> {
        let (q, w) = (self.reduction.levels[level].q, self.width[level]);
        let size = q + w;
        let inner = self.touched(series, chain, level, unit);
        let mut places = vec![u32::MAX; self.entries.len()];
        inner.iter().enumerate().for_each(|(k, &entry)| places[entry] = k as u32);
        let mut m = vec![0.0; size * size];
        let mut m_by = vec![0.0; inner.len() * size * size];
        let mut logdet = 0.0;
        let mut children = Vec::new();
        self.own_rows(level, unit, work, &mut m);
        let mut within = Target { gram: &mut m, by: &mut m_by, places: &places };
        for child in self.children(level, unit) {
            if self.is_leaf(level + 1) {
                logdet += vectorised(
                    #[inline(always)]
                    || self.chain_tangent(series, chain, child, &mut within, logdet_by),
                )?;
            } else {
                let at = (level + 1, child);
                let (own, child) =
                    self.chain_up((series, chain), at, work, &mut within, logdet_by)?;
                logdet += own;
                children.push(child);
            }
        }
        self.root_rows(level, &mut m, work);
        logdet += self.factor_w(level, unit, &work.whitened, &mut work.w)?;
        solve_lower(&work.w, q, &mut work.whitened, size);
        for i in 0..w {
            axpy(1.0, &m[(q + i) * size + q..][..=i], &mut target.gram[i * w..i * w + i + 1]);
        }
        self.add_whitened(level, work, target.gram);
        let layout = NodeLayout { q, w, n_inner: inner.len() };
        work.nodes[level].clear();
        self.push_node(level, unit, layout, work);
        let mut node = std::mem::take(&mut work.nodes[level]);
        let first = target.places[self.first_entry[level]] as usize;
        let own = &mut target.by[first * w * w..];
        self.own_tangents(level, unit, &work.u, &work.h, 1.0, own, logdet_by);
        for (k, &entry) in inner.iter().enumerate() {
            let m_k = &mut m_by[block(k, size * size)];
            symmetrise(m_k, size);
            let into = &mut target.by[block(target.places[entry] as usize, w * w)];
            logdet_by[entry] += pull_back(layout, k, m_k, &mut node, into);
        }
        Ok((logdet, Unit { level, index: unit, inner, node, children }))
    }

    /// Entries inside a unit: all of random effects, and the parameters its rows depend on.
    fn touched(&self, series: &Series, chain: &ChainAt, level: usize, unit: usize) -> Vec<usize> {
        let leaf = self.reduction.levels.len() - 1;
        let first = self.first_entry[leaf];
        let mut out: Vec<usize> = (self.first_entry[level + 1]..first).collect();
        let (mut from, mut to) = (unit, unit + 1);
        for level in &self.reduction.levels[level..leaf] {
            from = level.first_child[from];
            to = level.first_child[to];
        }
        let rows = series.row_offsets[from]..series.row_offsets[to];
        let mut met = vec![false; chain.parameters.n_theta];
        for item in rows {
            match class_of(series, item) {
                (start, None) => met[chain.parameters.starts[start]] = true,
                (_, Some(step)) => {
                    chain.parameters.steps[step].iter().for_each(|&at| met[at] = true);
                    chain.correlation(step).for_each(|(p, _)| met[p] = true);
                }
            }
        }
        out.extend(met.iter().enumerate().filter(|m| *m.1).map(|(p, _)| first + p));
        out
    }

    /// Second derivatives of a unit and of everything inside it.
    pub(crate) fn chain_down(
        &self,
        (series, chain): (&Series, &ChainAt),
        unit: &Unit,
        (psi, e): (&[f64], &[f64]),
        work: &mut Workspace,
        sums: &mut Sums,
    ) {
        let (level, node) = (unit.level, &unit.node[..]);
        let (q, w) = (self.reduction.levels[level].q, self.width[level]);
        let layout = NodeLayout { q, w, n_inner: unit.inner.len() };
        let (mut f, mut f_rss) = (vec![0.0; q * q], vec![0.0; q * q]);
        weigh(&node[layout.u()], q, w, psi, e, &mut work.row, &mut f, &mut f_rss);
        symmetrise(&mut f, q);
        symmetrise(&mut f_rss, q);
        let h = &node[layout.h()];
        let (kept, pending) = (&mut work.kept, &mut work.pending);
        self.own_second(level, unit.index, h, &f, &f_rss, 1.0, kept, pending, sums);
        self.chain_mixed(unit, layout, psi, e, sums);
        self.chain_pairs(unit, layout, psi, e, sums);
        let (psi_child, e_child) = Self::weight_of_children(layout, node, psi, e);
        if unit.children.is_empty() {
            for bundle in self.children(level, unit.index) {
                vectorised(
                    #[inline(always)]
                    || self.chain_second(series, chain, bundle, (&psi_child, &e_child), sums),
                );
            }
        }
        for child in &unit.children {
            self.chain_down((series, chain), child, (&psi_child, &e_child), work, sums);
        }
    }

    /// Second differential by an entry of the unit's own and one inside it.
    fn chain_mixed(
        &self,
        unit: &Unit,
        layout: NodeLayout,
        psi: &[f64],
        e: &[f64],
        sums: &mut Sums,
    ) {
        let NodeLayout { q, w, .. } = layout;
        let (node, n) = (&unit.node, self.entries.len());
        let u = &node[layout.u()];
        let ihg = i_minus_hg(q, &node[layout.h()], &self.g[unit.level]);
        let (u_psi, u_e) = (product(u, psi, q, w, w), product(u, e, q, w, 1));
        for (k, &entry) in unit.inner.iter().enumerate() {
            let u_k = product(&ihg, &node[layout.p(k)], q, q, w);
            let u_k_e = product(&u_k, e, q, w, 1);
            let h_k = sandwich(&ihg, &node[layout.m_zz(k)], q);
            for own in self.first_entry[unit.level]..self.first_entry[unit.level + 1] {
                let Entry { a, b, .. } = self.entries[own];
                let weight = self.entries[own].weight();
                let trace = |i: usize, j: usize| dot(&u_psi[block(i, w)], &u_k[block(j, w)]);
                let at = entry * n + own;
                sums.hessian[at] += 2.0 * weight * (h_k[a * q + b] - trace(a, b) - trace(b, a));
                sums.hessian_rss[at] -= 2.0 * weight * (u_e[a] * u_k_e[b] + u_e[b] * u_k_e[a]);
            }
        }
    }

    /// Second differential by two entries inside the unit:
    /// -tr(S `M_k` S `M_l`) - 2 <S `P_k` Psi, `P_l`>, as products of two tall matrices.
    fn chain_pairs(
        &self,
        unit: &Unit,
        layout: NodeLayout,
        psi: &[f64],
        e: &[f64],
        sums: &mut Sums,
    ) {
        let NodeLayout { q, w, n_inner } = layout;
        let (node, s) = (&unit.node, &unit.node[layout.s()]);
        let (n_first, n_features) = (q * q, q * q + q * w);
        let mut left = zeros(n_inner * n_features);
        let mut right = zeros(n_features * n_inner);
        let (mut left_rss, mut right_rss) = (zeros(n_inner * q), zeros(q * n_inner));
        for k in 0..n_inner {
            let (p, m_zz) = (&node[layout.p(k)], &node[layout.m_zz(k)]);
            let sp = product(s, p, q, q, w);
            let own = &mut left[block(k, n_features)];
            own[..n_first].copy_from_slice(&sandwich(s, m_zz, q));
            own[n_first..].copy_from_slice(&product(&sp, psi, q, w, w));
            own[n_first..].iter_mut().for_each(|value| *value *= 2.0);
            for (at, value) in m_zz.iter().chain(p).enumerate() {
                right[at * n_inner + k] = *value;
            }
            for a in 0..q {
                left_rss[k * q + a] = 2.0 * dot(&sp[block(a, w)], e);
                right_rss[a * n_inner + k] = dot(&p[block(a, w)], e);
            }
        }
        let n = self.entries.len();
        subtract_products(&left, &right, &unit.inner, &mut sums.hessian, n);
        subtract_products(&left_rss, &right_rss, &unit.inner, &mut sums.hessian_rss, n);
    }
}

/// Subtracts the lower triangle of A B, A (m x f) and B (f x m), from the rows and columns `places`.
fn subtract_products(a: &[f64], b: &[f64], places: &[usize], hessian: &mut [f64], n: usize) {
    let m = places.len();
    if m == 0 {
        return;
    }
    let f = a.len() / m;
    vectorised(
        #[inline(always)]
        || {
            let mut row = vec![0.0; m];
            for (k, &place) in places.iter().enumerate() {
                let row = &mut row[..=k];
                row.fill(0.0);
                for (at, &value) in a[block(k, f)].iter().enumerate() {
                    axpy(value, &b[at * m..at * m + k + 1], row);
                }
                let into = &mut hessian[place * n..][..n];
                for (value, &column) in row.iter().zip(places) {
                    into[column] -= value;
                }
            }
        },
    );
}
