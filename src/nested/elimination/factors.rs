//! Factorizations of W, and residual covariances that move by a few parameters.

use super::state::Elimination;
use super::workspace::{KeptFactor, PairProducts, Workspace};
use crate::criterion::sums::Sums;
use crate::linalg::dense::{
    NotPositiveDefinite, axpy, block, cholesky, dot, solve_lower, solve_lower_right,
};
use crate::linalg::small::product;

/// Order of G from which T G is formed before its product with T': q^3 operations, not q^4.
const LARGE: usize = 8;

impl Elimination<'_> {
    /// Copies block `b` of `level` with its response: q rows of [T | outer Z | X | y].
    #[inline(always)]
    pub(crate) fn load_block(&self, level: usize, b: usize, out: &mut [f64]) {
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

    /// L^-1 y of block `b`, for the factor L of W in `w`.
    #[inline(always)]
    pub(crate) fn whiten_response(&self, level: usize, b: usize, w: &[f64], out: &mut [f64]) {
        let blocks = &self.reduction.levels[level];
        let q = blocks.q;
        let n_blocks = blocks.design.len() / (q * (q + self.width[level] - 1));
        out.copy_from_slice(&blocks.response[block(self.fit * n_blocks + b, q)]);
        solve_lower(w, q, out, 1);
    }

    /// Factors W = I + T G T' of the [T ...] in `rows` into `w`; returns log|W|.
    #[inline(always)]
    pub(crate) fn factor_w(
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
        if q >= LARGE {
            identity_plus(rows, stride, g, q, w);
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

    /// Does the residual's covariance come with derivatives by parameters, or unit by unit?
    pub(crate) fn has_directions(&self, level: usize) -> bool {
        let blocks = &self.reduction.levels[level];
        blocks.is_residual && self.g[level].len() != blocks.q * blocks.q
    }

    /// Matrices of one kind: one for each unit, or one that all share.
    pub(crate) fn n_stacked(&self, level: usize) -> usize {
        let q = self.reduction.levels[level].q;
        let t = self.first_entry[level + 1] - self.first_entry[level];
        self.g[level].len() / (q * q * (1 + t + t * (t + 1) / 2))
    }

    /// The `kind`-th matrix of a unit: covariance, first derivatives, second derivatives by pairs.
    pub(crate) fn stacked(&self, level: usize, unit: usize, kind: usize) -> &[f64] {
        let q = self.reduction.levels[level].q;
        let n = self.n_stacked(level);
        &self.g[level][block(kind * n + if n == 1 { 0 } else { unit }, q * q)]
    }

    /// Covariance of a unit's random effects (of its residuals).
    pub(crate) fn covariance(&self, level: usize, unit: usize) -> &[f64] {
        if self.has_directions(level) { self.stacked(level, unit, 0) } else { &self.g[level] }
    }

    /// May units that saw the same visits share a factorization?
    pub(crate) fn shares_factors(&self, level: usize) -> bool {
        self.reduction.levels[level].is_residual
            && (!self.has_directions(level) || self.n_stacked(level) == 1)
    }

    /// Whitens the block in `work.whitened`; returns log|W|. With `keep`, H goes to `work.kept.h`.
    #[inline(always)]
    pub(crate) fn whiten_leaf(
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

    /// `own_second` where a covariance is moved by a few parameters.
    #[allow(clippy::too_many_arguments)] // the sums a unit adds to, each named once
    pub(crate) fn own_second_of_directions(
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
        if q == 1 {
            // A row that is its own unit, of which there may be millions: nothing is allocated.
            for k in 0..n_directions {
                for l in 0..=k {
                    let bend = self.stacked(level, unit, 1 + n_directions + k * (k + 1) / 2 + l)[0];
                    let (by_k, by_l) =
                        (self.stacked(level, unit, 1 + k)[0], self.stacked(level, unit, 1 + l)[0]);
                    let product = by_k * by_l * h[0];
                    let weight = 2.0 * product - bend;
                    let at = (first + k) * n + first + l;
                    sums.hessian[at] += weight * f[0] + count * h[0] * (bend - product);
                    sums.hessian_rss[at] += weight * f_rss[0];
                }
            }
            return;
        }
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
    pub(crate) fn pair_products(
        &self,
        level: usize,
        unit: usize,
        n_directions: usize,
        h: &[f64],
    ) -> Vec<PairProducts> {
        let q = self.reduction.levels[level].q;
        let by_h: Vec<Vec<f64>> = (0..n_directions)
            .map(|k| product(h, self.stacked(level, unit, 1 + k), q, q, q))
            .collect();
        let mut out = Vec::with_capacity(n_directions * (n_directions + 1) / 2);
        for k in 0..n_directions {
            for l in 0..=k {
                let bend = self.stacked(level, unit, 1 + n_directions + k * (k + 1) / 2 + l);
                let mut weight_of_f = product(self.stacked(level, unit, 1 + k), &by_h[l], q, q, q);
                axpy(
                    1.0,
                    &product(self.stacked(level, unit, 1 + l), &by_h[k], q, q, q),
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
}

/// The lower triangle of I + T G T' into `w`, for the upper triangular T in the first `q` columns of
/// `rows`.
fn identity_plus(rows: &[f64], stride: usize, g: &[f64], q: usize, w: &mut [f64]) {
    let mut t_g = vec![0.0; q];
    for i in 0..q {
        t_g.fill(0.0);
        for a in i..q {
            axpy(rows[i * stride + a], &g[block(a, q)], &mut t_g);
        }
        for j in 0..=i {
            let own = dot(&t_g[j..], &rows[j * stride + j..j * stride + q]);
            w[i * q + j] = own + f64::from(u8::from(i == j));
        }
    }
}
