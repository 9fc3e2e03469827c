//! Derivatives by entries of G: traces from blocks of the inverse, curvature from one solve an entry.
//!
//! With H = Z'W^-1 Z and U = Z'W^-1 [X y], for E the derivative of G by one of its entries,
//!
//! ```text
//! d log|W| = tr(H E)      d [X y]'W^-1 [X y] = -U'E U      d^2 [X y]'W^-1 [X y] = U'E_k H E_l U + transpose
//! ```
//!
//! H is never taken as a difference from 1 / G: where a root of G is small, its rows come from K.

use super::evaluation::{Factorisation, transposed_times, whiten_rows};
use super::factor::incidence::{fill, pairwise};
use super::factor::panels::Panels;
use super::root::{apply_transposed, transpose};
use super::{Reduction, RestLevel};
use crate::criterion::derivatives::{LikelihoodDerivatives, assemble};
use crate::criterion::solution::{Criterion, Shape, Solution};
use crate::criterion::sums::{Entry, Sums};
use crate::linalg::dense::{NotPositiveDefinite, axpy, block, cholesky, dot};
use crate::running::memory::zeros;

/// How the second derivatives are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curvature {
    /// Observed and expected, exactly.
    Exact,
    /// The mean of both at the optimum, which needs no trace of two factors (Gilmour, Thompson and
    /// Cullis 1995, Biometrics 51, 1440).
    Average,
}

/// U, by level.
pub(super) struct Scores {
    /// Row-major, `width` columns: a row a random effect of the leading factor.
    pub leading: Vec<f64>,
    /// The same for the columns of `Z_2`; of related units `K_0`^-1 U, as derivatives of their G take it.
    pub rest: Vec<f64>,
}

impl Reduction {
    /// Numbers that [`Criterion`] needs of this design.
    fn shape(&self) -> Shape {
        let n_rows = self.n_rows - self.rest.n_fixed(self);
        Shape { n_rows, rank: self.rank(), profiled: true }
    }

    /// Generalised least squares of response `fit` at `g`.
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] where W or X'W^-1 X is not positive definite.
    pub fn solve(&self, fit: usize, g: &[Vec<f64>]) -> Result<Solution, NotPositiveDefinite> {
        let factorisation = Factorisation::new(self, fit, g)?;
        Solution::new(&factorisation.gram, factorisation.logdet, self.rank())
    }

    /// The criterion; with `curvature` its gradient and second derivatives too.
    #[must_use]
    pub fn evaluate(
        &self,
        fit: usize,
        g: &[Vec<f64>],
        entries: &[Entry],
        reml: bool,
        curvature: Option<Curvature>,
    ) -> Criterion {
        let failed = Criterion::failed(entries.len());
        let Some(curvature) = curvature else {
            return match self.solve(fit, g) {
                Ok(solution) => Criterion { value: solution.value(self.shape(), reml), ..failed },
                Err(_) => failed,
            };
        };
        let exact = curvature == Curvature::Exact;
        match self.likelihood_derivatives(fit, g, entries, reml, exact) {
            Ok(parts) => assemble(self.shape(), &parts, entries.len(), reml, !exact),
            Err(_) => failed,
        }
    }

    /// Derivatives of the log-determinants and of y'Py; without `exact` those second derivatives of
    /// the log-determinants that need two factors H are left out.
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] as [`Self::solve`].
    pub fn likelihood_derivatives(
        &self,
        fit: usize,
        g: &[Vec<f64>],
        entries: &[Entry],
        reml: bool,
        exact: bool,
    ) -> Result<LikelihoodDerivatives, NotPositiveDefinite> {
        let mut factorisation = Factorisation::new(self, fit, g)?;
        let solution = Solution::new(&factorisation.gram, factorisation.logdet, self.rank())?;
        let sums = factorisation.sums(entries, &solution, reml, exact);
        Ok(LikelihoodDerivatives::new(self.rank(), solution, sums, entries.len(), reml))
    }

    /// Second derivatives of X'W^-1 X by entries, `U'E_k H E_l U` and its transpose: for each pair
    /// (k, l), or with `weights` (`n_entries` squared) their weighted sum alone.
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] as [`Self::solve`].
    pub fn information_second_derivatives(
        &self,
        fit: usize,
        g: &[Vec<f64>],
        entries: &[Entry],
        weights: Option<&[f64]>,
    ) -> Result<Vec<f64>, NotPositiveDefinite> {
        let factorisation = Factorisation::new(self, fit, g)?;
        Ok(factorisation.information_second(entries, weights))
    }

    /// Derivatives of X'W^-1 X by entries, lower triangles with the column of y.
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] as [`Self::solve`].
    pub fn information_derivatives(
        &self,
        fit: usize,
        g: &[Vec<f64>],
        entries: &[Entry],
    ) -> Result<Vec<f64>, NotPositiveDefinite> {
        let factorisation = Factorisation::new(self, fit, g)?;
        let scores = factorisation.scores();
        Ok(factorisation.gram_by(entries, &scores))
    }

    /// Operations of one factorisation with the blocks of its inverse, roughly.
    #[must_use]
    pub fn operations(&self) -> f64 {
        self.structure.operations + 2.0 * self.rest.leading_q as f64 * self.incidence.n_pairs()
    }

    /// Does the exact curvature cost little beside the factorisation?
    #[must_use]
    pub fn exact_is_cheap(&self) -> bool {
        let n = self.rest.order() as f64;
        let q = self.rest.leading_q as f64;
        let leading = if self.rest.leads_fixed() { 0.0 } else { q };
        let places = self.incidence.columns.len() as f64 * leading;
        let all = n + self.rest.leading_units as f64 * leading;
        let largest = self.rest.largest_q().max(self.rest.leading_q) as f64;
        let exact = places * (2.0 * n + all) + 4.0 * n * n + all * all * largest * largest;
        // The whole inverse is made of the factor column by column.
        let mut whole =
            if self.structure.is_dense { 0.0 } else { 4.0 * n * self.structure.n_values() };
        if self.prior.is_some() {
            // Solutions with the precision's factor for all columns, several times.
            whole += 10.0 * n * self.structure.n_values();
        }
        // A sparse operation costs several of the factorisation's.
        4.0 * (exact + whole) < self.operations() || exact + whole < 1e8
    }
}

impl Factorisation<'_> {
    /// All sums over units that the criterion's derivatives are made of.
    ///
    /// The factor's values become those of the inverse on the way: it is the largest thing held.
    fn sums(&mut self, entries: &[Entry], solution: &Solution, reml: bool, exact: bool) -> Sums {
        let n = entries.len();
        let mut sums = Sums::zero(self.width, n);
        let scores = self.scores();
        sums.gram_by = self.gram_by(entries, &scores);
        self.add_second(entries, solution, &scores, reml && exact, &mut sums);
        drop(scores);
        let small = self.small_sums();
        let whole = if exact { self.whole_inverse() } else { None };
        let inverse = self.factor.take().map(Panels::into_inverse);
        let by_level = self.information_sums(inverse.as_ref(), &small);
        for (out, entry) in sums.logdet_by.iter_mut().zip(entries) {
            let q = self.reduction.q(entry.level);
            let h = &by_level[entry.level];
            *out = entry.weight() * (h[entry.a * q + entry.b] + h[entry.b * q + entry.a]);
        }
        if exact {
            let whole = whole.or_else(|| inverse.map(|v| v.to_dense()));
            let traces = self.traces(entries, whole.as_deref());
            axpy(-1.0, &traces, &mut sums.hessian);
        }
        sums
    }

    /// U = Z'W^-1 [X y].
    pub(super) fn scores(&self) -> Scores {
        let width = self.width;
        let leading = self.unwhiten(&self.r, width);
        let rest = &self.reduction.rest;
        let any_small = (self.roots.iter().enumerate())
            .any(|(l, r)| !self.reduction.is_related(l) && (0..r.q).any(|k| r.is_small(k)));
        // In eigenvector coordinates: s U = Lambda'Z'W^-1 D = K_0 A^-1 Lambda'D~.
        let mut u = self.solution.clone();
        let direct = any_small.then(|| {
            let residual = self.rest_residual(&self.effects, &self.r, width);
            apply_transposed(rest, &self.vectors(), &residual, width)
        });
        for (l, (level, root)) in rest.levels.iter().zip(&self.roots).enumerate() {
            let is_related = self.reduction.is_related(l);
            for c in level.columns() {
                let k = (c - level.first_column) % level.q;
                let row = &mut u[block(c, width)];
                match &direct {
                    Some(direct) if root.is_small(k) && !is_related => {
                        row.copy_from_slice(&direct[block(c, width)]);
                    }
                    _ => row.iter_mut().for_each(|v| *v /= root.s[k]),
                }
            }
        }
        Scores { leading, rest: apply_transposed(rest, &self.vectors_transposed(), &u, width) }
    }

    /// D~ - K `g_2`, as residuals.
    fn rest_residual(&self, effects: &[f64], r: &[f64], width: usize) -> Vec<f64> {
        let negative: Vec<f64> = effects.iter().map(|g| -g).collect();
        let mut out = self.reduction.marginal_cross(&self.w, r, &negative, width);
        // Only the data's own columns have a part outside the span of the leading factor.
        axpy(1.0, &self.reduction.rest_data[self.fit], &mut out);
        out
    }

    pub(super) fn vectors(&self) -> Vec<Vec<f64>> {
        self.roots.iter().map(|r| r.vectors.clone()).collect()
    }

    pub(super) fn vectors_transposed(&self) -> Vec<Vec<f64>> {
        self.roots.iter().map(|r| transpose(&r.vectors, r.q)).collect()
    }

    /// -U'E U by entry, lower triangles.
    fn gram_by(&self, entries: &[Entry], scores: &Scores) -> Vec<f64> {
        let width = self.width;
        let plain = self.reduction.prior.as_ref().map(|prior| {
            let rest = prior.multiply(&self.reduction.rest, &scores.rest, width);
            Scores { leading: scores.leading.clone(), rest }
        });
        let mut out = vec![0.0; entries.len() * width * width];
        for (entry, gram) in entries.iter().zip(out.chunks_exact_mut(width * width)) {
            let (q, rows) = self.level_rows(entry.level, scores);
            let (_, others) = self.level_rows(entry.level, plain.as_ref().unwrap_or(scores));
            let weight = -entry.weight();
            let add = |u: usize, sum: &mut [f64]| {
                let unit = &rows[block(u, q * width)];
                let other = &others[block(u, q * width)];
                let (a, b) = (&unit[block(entry.a, width)], &other[block(entry.b, width)]);
                let (c, d) = (&other[block(entry.b, width)], &unit[block(entry.a, width)]);
                for i in 0..width {
                    let row = &mut sum[i * width..i * width + i + 1];
                    axpy(weight * a[i], &b[..=i], row);
                    axpy(weight * c[i], &d[..=i], row);
                }
            };
            gram.copy_from_slice(&pairwise(rows.len() / (q * width), width * width, &add));
        }
        out
    }

    fn level_rows<'s>(&self, level: usize, scores: &'s Scores) -> (usize, &'s [f64]) {
        let rest = &self.reduction.rest;
        if level == rest.leading {
            return (rest.leading_q, &scores.leading);
        }
        let own = self.rest_level(level);
        let width = scores.rest.len() / rest.order().max(1);
        let columns = own.columns();
        (own.q, &scores.rest[columns.start * width..columns.end * width])
    }

    pub(super) fn rest_level(&self, level: usize) -> &RestLevel {
        let levels = &self.reduction.rest.levels;
        let at = if level > self.reduction.rest.leading { level - 1 } else { level };
        &levels[at]
    }

    /// Second derivatives of the cross-products, from H E U for every entry.
    ///
    /// Columns of U are combined first: C^1/2 of the X block where log|X'W^-1 X| is weighed
    /// (`with_fixed`), and the residual.
    fn add_second(
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

    fn information_second(&self, entries: &[Entry], weights: Option<&[f64]>) -> Vec<f64> {
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
    fn fixed_product(&self, entry: Entry, u: &Scores, x: &Scores, rank: usize) -> Vec<f64> {
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

    fn combine(&self, scores: &Scores, solution: &Solution, with_fixed: bool) -> Scores {
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
    fn times_information(&self, entries: &[Entry], scores: &Scores, width: usize) -> Scores {
        let reduction = self.reduction;
        let (rest, q) = (&reduction.rest, reduction.rest.leading_q);
        let columns = entries.len() * width;
        let is_leading = entries[0].level == rest.leading;
        let (level_q, rows) = self.level_rows(entries[0].level, scores);
        let moved = weigh(entries, level_q, rows, width);
        let mut left = zeros(rest.order() * columns);
        let mut r = if is_leading {
            let one = |u: usize, out: &mut [f64]| {
                let t = transpose(&reduction.t[block(u, q * q)], q);
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
    fn inner(
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
