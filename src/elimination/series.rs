//! The innermost level where residuals are series: see [`crate::series`].

use super::{Elimination, Sums};
use crate::dense::{axpy, dot, vectorised};
use crate::reduction::block;
use crate::series::Series;

impl Elimination<'_> {
    /// The series, where the innermost level holds them.
    pub(super) fn series(&self) -> Option<&Series> {
        self.reduction.levels.last().and_then(|leaf| leaf.series.as_ref())
    }

    /// Weights by class, then log|R|: their values (`kind` 0) or derivatives.
    fn weights(&self, series: &Series, kind: usize) -> &[f64] {
        let level = self.reduction.levels.len() - 1;
        &self.g[level][block(kind, series.n_classes + 1)]
    }

    /// Adds log|R| and, for `n` entries that end with the residual's, its derivatives.
    pub(super) fn add_series_determinant(&self, sums: &mut Sums, n: usize) {
        let Some(series) = self.series() else { return };
        let at = |kind: usize| self.weights(series, kind)[series.n_classes];
        sums.logdet += at(0);
        if n == 0 {
            return;
        }
        let first = self.first_entry[self.reduction.levels.len() - 1];
        let t = n - first;
        for k in 0..t {
            sums.logdet_by[first + k] += at(1 + k);
            for l in 0..=k {
                sums.hessian[(first + k) * n + first + l] += at(1 + t + k * (k + 1) / 2 + l);
            }
        }
    }

    /// Adds a bundle's N to `target`, and its derivatives to `target_by` (one matrix a parameter).
    pub(super) fn series_tangent(
        &self,
        series: &Series,
        bundle: usize,
        target: &mut [f64],
        target_by: &mut [f64],
    ) {
        let w = series.n_columns + 1;
        let t = target_by.len() / (w * w);
        let weights: Vec<&[f64]> = (0..=t).map(|kind| self.weights(series, kind)).collect();
        vectorised(
            #[inline(always)]
            || {
                let mut v = vec![0.0; w];
                for item in series.gram_offsets[bundle]..series.gram_offsets[bundle + 1] {
                    let class = series.gram_classes[item] as usize;
                    self.add_gram(series, item, weights[0][class], target);
                    for k in 0..t {
                        let into = &mut target_by[block(k, w * w)];
                        self.add_gram(series, item, weights[1 + k][class], into);
                    }
                }
                for item in series.row_offsets[bundle]..series.row_offsets[bundle + 1] {
                    let class = series.row_classes[item] as usize;
                    self.load_item(series, item, &mut v);
                    add_scaled_outer(weights[0][class], &v, target);
                    for k in 0..t {
                        let into = &mut target_by[block(k, w * w)];
                        add_scaled_outer(weights[1 + k][class], &v, into);
                    }
                }
            },
        );
    }

    /// Adds a bundle's second derivatives under the weights `psi` of N and e of the residual.
    pub(super) fn series_second(
        &self,
        series: &Series,
        bundle: usize,
        psi: &[f64],
        e: &[f64],
        sums: &mut Sums,
    ) {
        let level = self.reduction.levels.len() - 1;
        let (first, n) = (self.first_entry[level], self.entries.len());
        let t = n - first;
        let pairs: Vec<(usize, usize)> = (0..t).flat_map(|k| (0..=k).map(move |l| (k, l))).collect();
        let weights: Vec<&[f64]> =
            (0..pairs.len()).map(|pair| self.weights(series, 1 + t + pair)).collect();
        let mut add = |class: usize, by_psi: f64, by_e: f64| {
            for (weight, &(k, l)) in weights.iter().zip(&pairs) {
                let at = (first + k) * n + first + l;
                sums.hessian[at] += weight[class] * by_psi;
                sums.hessian_rss[at] += weight[class] * by_e;
            }
        };
        vectorised(
            #[inline(always)]
            || {
                let w = series.n_columns + 1;
                let mut v = vec![0.0; w];
                for item in series.gram_offsets[bundle]..series.gram_offsets[bundle + 1] {
                    let (by_psi, by_e) = self.gram_forms(series, item, psi, e);
                    add(series.gram_classes[item] as usize, by_psi, by_e);
                }
                for item in series.row_offsets[bundle]..series.row_offsets[bundle + 1] {
                    self.load_item(series, item, &mut v);
                    let mut by_psi = 0.0;
                    for (i, value) in v.iter().enumerate() {
                        by_psi += value * dot(&psi[block(i, w)], &v);
                    }
                    add(series.row_classes[item] as usize, by_psi, dot(&v, e).powi(2));
                }
            },
        );
    }

    #[inline(always)]
    fn load_item(&self, series: &Series, item: usize, out: &mut [f64]) {
        let columns = series.n_columns;
        out[..columns].copy_from_slice(&series.rows[block(item, columns)]);
        out[columns] = series.row_responses[self.fit * series.row_classes.len() + item];
    }

    /// Lower triangle of [outer Z | X] squared, and the products with the response.
    #[inline(always)]
    fn gram<'a>(&self, series: &'a Series, item: usize) -> (&'a [f64], &'a [f64]) {
        let columns = series.n_columns;
        let at = self.fit * series.gram_classes.len() + item;
        (
            &series.grams[block(item, columns * (columns + 1) / 2)],
            &series.gram_responses[block(at, columns + 1)],
        )
    }

    #[inline(always)]
    fn add_gram(&self, series: &Series, item: usize, weight: f64, target: &mut [f64]) {
        let w = series.n_columns + 1;
        let (columns, response) = self.gram(series, item);
        let mut at = 0;
        for i in 0..w - 1 {
            axpy(weight, &columns[at..at + i + 1], &mut target[i * w..i * w + i + 1]);
            at += i + 1;
        }
        axpy(weight, response, &mut target[(w - 1) * w..]);
    }

    /// <psi, M> and e'M e of a cross-product M, for symmetric psi.
    #[inline(always)]
    fn gram_forms(&self, series: &Series, item: usize, psi: &[f64], e: &[f64]) -> (f64, f64) {
        let w = series.n_columns + 1;
        let (columns, response) = self.gram(series, item);
        let (mut by_psi, mut by_e) = (0.0, 0.0);
        let mut at = 0;
        for i in 0..w {
            let row = if i + 1 == w { response } else { &columns[at..at + i + 1] };
            at += i + 1;
            by_psi += 2.0 * dot(row, &psi[i * w..i * w + i + 1]) - row[i] * psi[i * w + i];
            by_e += e[i] * (2.0 * dot(row, &e[..i + 1]) - row[i] * e[i]);
        }
        (by_psi, by_e)
    }
}

/// Adds the lower triangle of weight v v'.
#[inline(always)]
fn add_scaled_outer(weight: f64, v: &[f64], target: &mut [f64]) {
    let w = v.len();
    for (i, value) in v.iter().enumerate() {
        axpy(weight * value, &v[..=i], &mut target[i * w..i * w + i + 1]);
    }
}
