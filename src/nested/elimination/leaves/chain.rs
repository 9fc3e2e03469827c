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
//! are constant.

use crate::criterion::sums::{ClassSums, Sums};
use crate::linalg::dense::{NotPositiveDefinite, add_outer, block, dot, vectorised};
use crate::nested::elimination::state::Elimination;
use crate::nested::elimination::workspace::Workspace;
use crate::nested::series::chain::ChainAt;
use crate::nested::series::items::Series;

/// What a unit adds to, lower triangles: N, and its derivatives by entries at their places.
pub(crate) struct Target<'a> {
    pub(crate) gram: &'a mut [f64],
    pub(crate) by: &'a mut [f64],
    /// Place of each entry among the derivatives.
    pub(crate) places: &'a [u32],
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
    pub(crate) fn chain_tangent(
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
    pub(crate) fn chain_second(
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
}

/// Class of an item among all, and of its step unless a series begins there.
#[inline(always)]
pub(crate) fn class_of(series: &Series, item: usize) -> (usize, Option<usize>) {
    let class = series.row_classes[item] as usize;
    match class.checked_sub(series.n_ends) {
        None => (class, None),
        // Items of a step stand at every second class.
        Some(twice) => (series.n_ends + twice / 2, Some(twice / 2)),
    }
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
