//! The innermost level where residuals are Markov chains with parameters by visit: see
//! [`crate::nested::series::chain`].
//!
//! A step from the row z to the row x adds u u' to M, u = a x - b z. By the log standard deviations
//! of the two and by the parameters of the correlation f its derivatives are
//!
//! ```text
//! v u' + u v'     v = -a x,     v = b z,     v = (a_f x - b_f z) f_p
//! ```
//!
//! and log|R| has -2 log a. Second derivatives are summed class by class, by a and b, in which they
//! are constant. A unit above the series keeps derivatives by the parameters that its own rows touch,
//! so short series among many visits stay cheap.

use crate::criterion::sums::{ClassSums, Entry, Sums};
use crate::linalg::dense::{
    NotPositiveDefinite, add_outer, axpy, block, dot, solve_lower, symmetrise, vectorised,
};
use crate::nested::elimination::Elimination;
use crate::nested::elimination::downward::{i_minus_hg, sandwich, times};
use crate::nested::elimination::upward::{pull_back, weigh};
use crate::nested::elimination::workspace::{NodeLayout, Workspace};
use crate::nested::series::chain::ChainAt;
use crate::nested::series::items::Series;
use crate::running::memory::zeros;

/// What a unit adds to, lower triangles: N, and its derivatives by entries at their places.
struct Target<'a> {
    gram: &'a mut [f64],
    by: &'a mut [f64],
    /// Place of each entry among the derivatives.
    places: &'a [u32],
}

/// A unit with random effects on its way up.
struct Unit {
    level: usize,
    index: usize,
    /// Entries inside the unit that its rows touch, ascending.
    inner: Vec<usize>,
    /// Its record, by [`NodeLayout`].
    node: Vec<f64>,
    children: Vec<Unit>,
}

/// A row, the one before it, and u.
struct Rows {
    x: Vec<f64>,
    z: Vec<f64>,
    u: Vec<f64>,
}

impl Rows {
    fn new(w: usize) -> Self {
        Self { x: vec![0.0; w], z: vec![0.0; w], u: vec![0.0; w] }
    }
}

impl Elimination<'_> {
    /// All derivatives of one outermost item: up and down in one visit.
    pub(crate) fn chain_derivatives(
        &self,
        (series, chain): (&Series, &ChainAt),
        item: usize,
        (psi, e): (&[f64], &[f64]),
        work: &mut Workspace,
        sums: &mut Sums,
    ) -> Result<(), NotPositiveDefinite> {
        sums.classes.resize(2 * (chain.starts.len() + chain.steps.len()), ClassSums::default());
        let places: Vec<u32> = (0..self.entries.len() as u32).collect();
        let Sums { gram, gram_by, logdet_by, .. } = sums;
        let mut target = Target { gram, by: gram_by, places: &places };
        if self.is_leaf(0) {
            let logdet = vectorised(
                #[inline(always)]
                || self.chain_tangent(series, chain, item, &mut target, logdet_by),
            )?;
            sums.logdet += logdet;
            vectorised(
                #[inline(always)]
                || self.chain_second(series, chain, item, (psi, e), sums),
            );
            return Ok(());
        }
        let (logdet, unit) =
            self.chain_up((series, chain), (0, item), work, &mut target, logdet_by)?;
        sums.logdet += logdet;
        self.chain_down((series, chain), &unit, (psi, e), work, sums);
        Ok(())
    }

    /// Adds a bundle's N to `target`; returns log|R|.
    #[inline(always)]
    pub(crate) fn chain_value(
        &self,
        series: &Series,
        bundle: usize,
        target: &mut [f64],
    ) -> Result<f64, NotPositiveDefinite> {
        let mut rows = Rows::new(series.n_columns + 1);
        let mut logdet = 0.0;
        for item in series.row_offsets[bundle]..series.row_offsets[bundle + 1] {
            let [a, _] = self.chain_step(series, item, &mut rows)?;
            add_outer(&rows.u, target);
            logdet -= 2.0 * a.ln();
        }
        Ok(logdet)
    }

    /// Steps on to an item; returns a and b, b = 0 where a series begins.
    #[inline(always)]
    fn chain_step(
        &self,
        series: &Series,
        item: usize,
        rows: &mut Rows,
    ) -> Result<[f64; 2], NotPositiveDefinite> {
        let Some(chain) = &self.chain_at else { return Err(NotPositiveDefinite { pivot: item }) };
        let (a, b) = match class_of(series, item) {
            (start, None) => (chain.starts[start], 0.0),
            (_, Some(step)) => (chain.steps[step].a[0], chain.steps[step].b[0]),
        };
        // A singular covariance, or one beyond the range of numbers.
        if a.is_nan() || a <= 0.0 || !a.is_finite() || !b.is_finite() {
            return Err(NotPositiveDefinite { pivot: item });
        }
        std::mem::swap(&mut rows.x, &mut rows.z);
        self.load_item(series, item, &mut rows.x);
        for ((u, x), z) in rows.u.iter_mut().zip(&rows.x).zip(&rows.z) {
            *u = a * x - b * z;
        }
        Ok([a, b])
    }

    /// Adds a bundle's N and its derivatives; returns log|R|.
    #[inline(always)]
    fn chain_tangent(
        &self,
        series: &Series,
        chain: &ChainAt,
        bundle: usize,
        target: &mut Target<'_>,
        logdet_by: &mut [f64],
    ) -> Result<f64, NotPositiveDefinite> {
        let w = series.n_columns + 1;
        let first = self.first_entry[self.reduction.levels.len() - 1];
        let mut rows = Rows::new(w);
        let mut v = vec![0.0; w];
        let mut logdet = 0.0;
        for item in series.row_offsets[bundle]..series.row_offsets[bundle + 1] {
            let [a, b] = self.chain_step(series, item, &mut rows)?;
            let Rows { x, z, u } = &rows;
            add_outer(u, target.gram);
            logdet -= 2.0 * a.ln();
            let mut add = |parameter: usize, scale: f64, v: &[f64]| {
                let place = target.places[first + parameter] as usize;
                add_both(scale, v, u, &mut target.by[block(place, w * w)]);
            };
            let (class, step) = class_of(series, item);
            let Some(c) = step else {
                let at = chain.parameters.starts[class];
                add(at, -a, x);
                logdet_by[first + at] += 2.0;
                continue;
            };
            let [before, at] = chain.parameters.steps[c];
            add(at, -a, x);
            add(before, b, z);
            logdet_by[first + at] += 2.0;
            let (a_f, b_f) = (chain.steps[c].a[1], chain.steps[c].b[1]);
            for ((v, x), z) in v.iter_mut().zip(x).zip(z) {
                *v = a_f * x - b_f * z;
            }
            for (p, by) in chain.correlation(c) {
                add(p, by, &v);
                logdet_by[first + p] -= 2.0 * a_f / a * by;
            }
        }
        Ok(logdet)
    }

    /// Adds the derivatives by a and b of a bundle's N under the weights `psi` and e, and of log|R|.
    #[inline(always)]
    fn chain_second(
        &self,
        series: &Series,
        chain: &ChainAt,
        bundle: usize,
        (psi, e): (&[f64], &[f64]),
        sums: &mut Sums,
    ) {
        let w = series.n_columns + 1;
        let n_classes = chain.starts.len() + chain.steps.len();
        let mut rows = Rows::new(w);
        let (mut psi_x, mut psi_z) = (vec![0.0; w], vec![0.0; w]);
        for item in series.row_offsets[bundle]..series.row_offsets[bundle + 1] {
            let Ok([a, b]) = self.chain_step(series, item, &mut rows) else { return };
            std::mem::swap(&mut psi_x, &mut psi_z);
            for (out, row) in psi_x.iter_mut().zip(psi.chunks_exact(w)) {
                *out = dot(row, &rows.x);
            }
            let (class, step) = class_of(series, item);
            let squares = |xx: f64, xz: f64, zz: f64| ClassSums {
                first: [2.0 * (a * xx - b * xz), 2.0 * (b * zz - a * xz)],
                second: [2.0 * xx, -2.0 * xz, 2.0 * zz],
            };
            let (mut by_psi, mut by_e) = (ClassSums::default(), ClassSums::default());
            let (e_x, e_z) = (dot(&rows.x, e), dot(&rows.z, e));
            let xx = dot(&rows.x, &psi_x);
            if step.is_none() {
                by_psi.add(&squares(xx, 0.0, 0.0));
                by_e.add(&squares(e_x * e_x, 0.0, 0.0));
            } else {
                by_psi.add(&squares(xx, dot(&rows.z, &psi_x), dot(&rows.z, &psi_z)));
                by_e.add(&squares(e_x * e_x, e_x * e_z, e_z * e_z));
            }
            by_psi.first[0] -= 2.0 / a;
            by_psi.second[0] += 2.0 / (a * a);
            sums.classes[class].add(&by_psi);
            sums.classes[n_classes + class].add(&by_e);
        }
    }

    /// Adds what the sums by class are by theta to the Hessians.
    pub(crate) fn add_chain_second(&self, sums: &mut Sums) {
        let Some(chain) = self.chain_at.as_ref().filter(|_| !sums.classes.is_empty()) else {
            return;
        };
        let (outer, n) = (self.first_entry[self.reduction.levels.len() - 1], self.entries.len());
        sums.hessian.resize(n * n, 0.0);
        sums.hessian_rss.resize(n * n, 0.0);
        let (by_psi, by_e) = sums.classes.split_at(sums.classes.len() / 2);
        chain.add_second(by_psi, outer, &mut sums.hessian, n);
        chain.add_second(by_e, outer, &mut sums.hessian_rss, n);
    }

    /// Adds a unit's N and its derivatives by its own entries and those inside it that it touches.
    fn chain_up(
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
    fn chain_down(
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
        let (u_psi, u_e) = (times(u, psi, q, w, w), times(u, e, q, w, 1));
        for (k, &entry) in unit.inner.iter().enumerate() {
            let u_k = times(&ihg, &node[layout.p(k)], q, q, w);
            let u_k_e = times(&u_k, e, q, w, 1);
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
            let sp = times(s, p, q, q, w);
            let own = &mut left[block(k, n_features)];
            own[..n_first].copy_from_slice(&sandwich(s, m_zz, q));
            own[n_first..].copy_from_slice(&times(&sp, psi, q, w, w));
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

/// Class of an item among all, and of its step unless a series begins there.
#[inline(always)]
fn class_of(series: &Series, item: usize) -> (usize, Option<usize>) {
    let class = series.row_classes[item] as usize;
    match class.checked_sub(series.n_ends) {
        None => (class, None),
        // Items of a step stand at every second class.
        Some(twice) => (series.n_ends + twice / 2, Some(twice / 2)),
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

/// Adds the lower triangle of scale (x y' + y x').
#[inline(always)]
fn add_both(scale: f64, x: &[f64], y: &[f64], target: &mut [f64]) {
    let w = x.len();
    for i in 0..w {
        let (x_i, y_i) = (scale * x[i], scale * y[i]);
        let row = &mut target[i * w..i * w + i + 1];
        for ((value, x_j), y_j) in row.iter_mut().zip(x).zip(y) {
            *value += x_i * y_j + y_i * x_j;
        }
    }
}
