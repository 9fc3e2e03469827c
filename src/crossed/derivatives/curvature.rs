//! Second derivatives of the cross-products, from H E U for every entry.

use super::scores::Scores;
use crate::criterion::solution::Solution;
use crate::criterion::sums::{Entry, Sums};
use crate::crossed::evaluation::{Factorisation, whiten_rows};
use crate::crossed::root::apply_transposed;
use crate::linalg::dense::{axpy, block, cholesky, dot};
use crate::linalg::many::{fill, pairwise};
use crate::linalg::small::{transpose, transposed_times};
use crate::running::memory::zeros;

impl Factorisation<'_> {
    /// Second derivatives of the cross-products, from H E U for every entry.
    ///
    /// Columns of U are combined first: C^1/2 of the X block where log|X'W^-1 X| is weighed
    /// (`with_fixed`), and the residual.
    pub(crate) fn add_second(
        &self,
        entries: &[Entry],
        solution: &Solution,
        scores: &Scores,
        with_fixed: bool,
        sums: &mut Sums,
    ) {
        let n = entries.len();
        let combined = self.combine(scores, solution, with_fixed);
        let width = combined.leading.len()
            / (self.reduction.rest.leading_units * self.reduction.rest.leading_q).max(1);
        for level in 0..self.reduction.n_levels() {
            let own: Vec<usize> = (0..n).filter(|&l| entries[l].level == level).collect();
            for group in own.chunks((4096 / width).max(1)) {
                let chosen: Vec<Entry> = group.iter().map(|&l| entries[l]).collect();
                let image = self.times_information(&chosen, &combined, width);
                for (at, &l) in group.iter().enumerate() {
                    for (k, entry) in entries.iter().enumerate().skip(l) {
                        let (rss, fixed) =
                            self.inner(*entry, &combined, width, &image, at, group.len());
                        sums.hessian_rss[k * n + l] = 2.0 * rss;
                        sums.hessian[k * n + l] += 2.0 * fixed;
                    }
                }
            }
        }
    }

    pub(crate) fn information_second(
        &self,
        entries: &[Entry],
        weights: Option<&[f64]>,
    ) -> Vec<f64> {
        let (rank, n) = (self.width - 1, entries.len());
        let size = rank * rank;
        let mut out = zeros(if weights.is_some() { size } else { n * n * size });
        if rank == 0 || n == 0 {
            return out;
        }
        let scores = self.scores();
        let fixed = |rows: &[f64]| -> Vec<f64> {
            rows.chunks_exact(self.width).flat_map(|row| &row[..rank]).copied().collect()
        };
        let fixed = Scores { leading: fixed(&scores.leading), rest: fixed(&scores.rest) };
        for (l, entry) in entries.iter().enumerate() {
            let image = self.times_information(&[*entry], &fixed, rank);
            for (k, other) in entries.iter().enumerate() {
                let product = self.fixed_product(*other, &fixed, &image, rank);
                let (weight, target) = match weights {
                    Some(weights) => (weights[k * n + l], &mut out[..]),
                    None => (1.0, &mut out[block(k * n + l, size)]),
                };
                for i in 0..rank {
                    for j in 0..rank {
                        let both = product[i * rank + j] + product[j * rank + i];
                        target[i * rank + j] += weight * both;
                    }
                }
            }
        }
        out
    }

    /// (E U)'X over the columns of X, `rank` squared.
    pub(crate) fn fixed_product(
        &self,
        entry: Entry,
        u: &Scores,
        x: &Scores,
        rank: usize,
    ) -> Vec<f64> {
        let (q, own) = self.level_rows(entry.level, u);
        let (_, other) = self.level_rows(entry.level, x);
        let mut out = vec![0.0; rank * rank];
        let weight = entry.weight();
        for (u, x) in own.chunks_exact(q * rank).zip(other.chunks_exact(q * rank)) {
            for i in 0..rank {
                let row = &mut out[block(i, rank)];
                axpy(weight * u[entry.a * rank + i], &x[block(entry.b, rank)], row);
                axpy(weight * u[entry.b * rank + i], &x[block(entry.a, rank)], row);
            }
        }
        out
    }

    pub(crate) fn combine(&self, scores: &Scores, solution: &Solution, with_fixed: bool) -> Scores {
        let (rank, width) = (self.width - 1, self.width);
        let e = solution.e();
        let mut c = solution.c.clone();
        let with_fixed = with_fixed && cholesky(&mut c, rank).is_ok();
        let map = |rows: &[f64]| -> Vec<f64> {
            let mut out = Vec::new();
            for row in rows.chunks_exact(width) {
                if with_fixed {
                    out.extend(
                        (0..rank).map(|k| (k..rank).map(|i| row[i] * c[i * rank + k]).sum::<f64>()),
                    );
                }
                out.push(dot(row, &e));
            }
            out
        };
        Scores { leading: map(&scores.leading), rest: map(&scores.rest) }
    }

    /// H E U for entries of one level, columns of one entry after those of the one before.
    pub(crate) fn times_information(
        &self,
        entries: &[Entry],
        scores: &Scores,
        width: usize,
    ) -> Scores {
        let reduction = self.reduction;
        let (rest, q) = (&reduction.rest, reduction.rest.leading_q);
        let columns = entries.len() * width;
        let is_leading = entries[0].level == rest.leading;
        let (level_q, rows) = self.level_rows(entries[0].level, scores);
        let moved = weigh(entries, level_q, rows, width);
        let mut left = zeros(rest.order() * columns);
        let mut r = if is_leading {
            let one = |u: usize, out: &mut [f64]| {
                let t = transpose(&reduction.t[block(u, q * q)], q, q);
                out.copy_from_slice(&transposed_times(
                    &t,
                    q,
                    &moved[block(u, q * columns)],
                    columns,
                ));
            };
            let scaled = fill(rest.leading_units, q * columns, moved.len() * q, one);
            whiten_rows(&self.w, q, &scaled, columns)
        } else {
            let first = self.rest_level(entries[0].level).first_column;
            left[first * columns..first * columns + moved.len()].copy_from_slice(&moved);
            reduction.whitened_product(&self.w, &left, columns)
        };
        if let Some(factor) = &self.factor {
            let cross = if is_leading {
                reduction.unwhitened_cross(&self.w, &r, columns)
            } else {
                reduction.marginal_cross(&self.w, &r, &left, columns)
            };
            let inner = apply_transposed(rest, &self.lambdas(), &cross, columns);
            let solved = factor.solve(&inner, columns);
            let effects = apply_transposed(rest, &self.lambdas_transposed(), &solved, columns);
            axpy(-1.0, &reduction.whitened_product(&self.w, &effects, columns), &mut r);
            axpy(-1.0, &effects, &mut left);
        }
        let rest = reduction.marginal_cross(&self.w, &r, &left, columns);
        Scores { leading: self.unwhiten(&r, columns), rest }
    }

    /// (E U)'X summed over units: the last column of each entry apart from those before it.
    pub(crate) fn inner(
        &self,
        entry: Entry,
        scores: &Scores,
        width: usize,
        image: &Scores,
        at: usize,
        n_images: usize,
    ) -> (f64, f64) {
        let (q, own) = self.level_rows(entry.level, scores);
        let (_, other) = self.level_rows(entry.level, image);
        let columns = n_images * width;
        let add = |unit: usize, sum: &mut [f64]| {
            let (u, x) = (&own[block(unit, q * width)], &other[block(unit, q * columns)]);
            let x_of = |a: usize| &x[a * columns + at * width..][..width];
            let (u_a, u_b) = (&u[block(entry.a, width)], &u[block(entry.b, width)]);
            let (x_a, x_b) = (x_of(entry.a), x_of(entry.b));
            sum[0] += u_a[width - 1] * x_b[width - 1] + u_b[width - 1] * x_a[width - 1];
            if width > 1 {
                sum[1] += dot(&u_a[..width - 1], &x_b[..width - 1])
                    + dot(&u_b[..width - 1], &x_a[..width - 1]);
            }
        };
        let sums = pairwise(own.len() / (q * width), 2, &add);
        (entry.weight() * sums[0], entry.weight() * sums[1])
    }
}

/// E U for entries of one level: row-major, the columns of one entry after those of another.
fn weigh(entries: &[Entry], q: usize, rows: &[f64], width: usize) -> Vec<f64> {
    let columns = entries.len() * width;
    let mut out = zeros(rows.len() * entries.len());
    let units = rows.chunks_exact(q * width).zip(out.chunks_exact_mut(q * columns));
    for (u, out) in units {
        for (k, entry) in entries.iter().enumerate() {
            let weight = entry.weight();
            let (a, b) = (entry.a, entry.b);
            axpy(weight, &u[block(b, width)], &mut out[a * columns + k * width..][..width]);
            axpy(weight, &u[block(a, width)], &mut out[b * columns + k * width..][..width]);
        }
    }
    out
}
