//! Value of the criterion's parts at one G: factors, cross-products and solutions.

use super::Reduction;
use super::incidence::gather;
use super::root::{Root, apply_transposed, congruence, transpose};
use super::tiled::Tiled;
use crate::dense::{NotPositiveDefinite, add_outer, axpy, cholesky, invert_lower, solve_lower};
use crate::reduction::block;

/// The factored system of one response at one G.
pub struct Factorisation<'a> {
    pub(super) reduction: &'a Reduction,
    pub(super) fit: usize,
    /// G of each level, row-major.
    pub(super) g: &'a [Vec<f64>],
    /// Columns of [X y].
    pub(super) width: usize,
    /// Per rest level, its root of G.
    pub(super) roots: Vec<Root>,
    /// Per leading unit, the lower Cholesky factor of I + T G T'.
    pub(super) w: Vec<f64>,
    /// F = L^-1 N in the pattern of N.
    pub(super) f: Vec<f64>,
    /// Per leading unit, r = L^-1 (D - N `g_2`).
    pub(super) r: Vec<f64>,
    /// Lower factor of A; `None` where all of `G_2` is zero, so that A is the identity.
    pub(super) factor: Option<Tiled>,
    /// A^-1 Lambda'D~, a row a column of `Z_2`.
    pub(super) solution: Vec<f64>,
    /// `g_2` = Lambda A^-1 Lambda'D~.
    pub(super) effects: Vec<f64>,
    /// log|W|.
    pub logdet: f64,
    /// [X y]'W^-1 [X y], lower triangle.
    pub gram: Vec<f64>,
}

/// Conditional means and covariances of one level, units in order of their codes.
pub struct Conditional {
    /// Per unit, `q` means.
    pub mean: Vec<f64>,
    /// Per unit, the `q` x `q` covariance over `sigma^2`.
    pub covariance: Vec<f64>,
}

impl<'a> Factorisation<'a> {
    /// Factors W for response `fit`; `g[l]` is row-major.
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] where W is not positive definite (or not finite).
    pub fn new(
        reduction: &'a Reduction,
        fit: usize,
        g: &'a [Vec<f64>],
    ) -> Result<Self, NotPositiveDefinite> {
        let rest = &reduction.rest;
        let (q, width) = (rest.leading_q, reduction.rank() + 1);
        let (w, mut logdet) = leading_factors(reduction, &g[rest.leading])?;
        let incidence = &reduction.incidence;
        let f = whiten(&w, q, &incidence.values, &incidence.first);
        let data = &reduction.leading_data[fit];
        let fd = whiten_rows(&w, q, data, width);
        let mut cross = incidence.transposed_times(&f, q, &fd, width);
        axpy(1.0, &reduction.rest_data[fit], &mut cross);
        let mut gram = reduction.remainder[block(fit, width * width)].to_vec();
        fd.chunks_exact(width).for_each(|row| add_outer(row, &mut gram));

        let roots: Vec<Root> = rest.levels.iter().map(|l| Root::new(&g[l.level], l.q)).collect();
        let lambda: Vec<Vec<f64>> = roots.iter().map(Root::lambda).collect();
        let is_zero = roots.iter().all(|r| r.s.iter().all(|s| *s == 0.0));
        let mut solution = apply_transposed(rest, &lambda, &cross, width);
        let factor = if is_zero {
            None
        } else {
            let mut a = marginal_gram(reduction, &f);
            congruence(&mut a, rest, &lambda);
            for c in 0..rest.order() {
                *a.entry(c, c) += 1.0;
            }
            a.cholesky()?;
            logdet += a.logdet();
            a.solve_lower(&mut solution, width);
            let mut down = vec![0.0; width * width];
            solution.chunks_exact(width).for_each(|row| add_outer(row, &mut down));
            axpy(-1.0, &down, &mut gram);
            a.solve_upper(&mut solution, width);
            Some(a)
        };
        let transposed: Vec<Vec<f64>> =
            lambda.iter().zip(&roots).map(|(l, r)| transpose(l, r.q)).collect();
        let effects = apply_transposed(rest, &transposed, &solution, width);
        let mut r = fd;
        axpy(-1.0, &incidence.times(&f, q, &effects, width), &mut r);
        if !logdet.is_finite() {
            return Err(NotPositiveDefinite { pivot: 0 });
        }
        Ok(Self {
            reduction,
            fit,
            g,
            width,
            roots,
            w,
            f,
            r,
            factor,
            solution,
            effects,
            logdet,
            gram,
        })
    }

    /// Per leading unit, B' = T'L'^-1 x for the `q` rows x of `width` numbers.
    pub(super) fn unwhiten(&self, x: &[f64], width: usize) -> Vec<f64> {
        let q = self.reduction.rest.leading_q;
        let one = |u: usize| -> Vec<f64> {
            let mut rows = x[block(u, q * width)].to_vec();
            solve_upper(&self.w[block(u, q * q)], q, &mut rows, width);
            transposed_times(&self.reduction.t[block(u, q * q)], q, &rows, width)
        };
        gather(self.reduction.rest.leading_units, x.len() * q, one)
    }

    /// Lambda of each rest level, row-major.
    pub(super) fn lambdas(&self) -> Vec<Vec<f64>> {
        self.roots.iter().map(Root::lambda).collect()
    }

    /// K = M + F'F, diagonal tiles filled.
    pub(super) fn marginal_gram(&self) -> Tiled {
        marginal_gram(self.reduction, &self.f)
    }

    /// Lambda A^-1 Lambda', the conditional covariance of the rest's effects.
    pub(super) fn rest_covariance(&self, inverse: Option<&Tiled>) -> Option<Tiled> {
        let mut v = inverse?.clone();
        let transposed: Vec<Vec<f64>> =
            self.roots.iter().map(|r| transpose(&r.lambda(), r.q)).collect();
        congruence(&mut v, &self.reduction.rest, &transposed);
        Some(v)
    }

    /// Conditional means and covariances of all levels given [X y] e.
    #[must_use]
    pub fn conditional(&self, e: &[f64]) -> Vec<Conditional> {
        let rest = &self.reduction.rest;
        let inverse = self.factor.as_ref().map(Tiled::inverse_from_factor);
        let v = self.rest_covariance(inverse.as_ref());
        let mut levels: Vec<Conditional> = (0..self.reduction.n_levels())
            .map(|_| Conditional { mean: Vec::new(), covariance: Vec::new() })
            .collect();
        for level in &rest.levels {
            let out = &mut levels[level.level];
            for c in level.columns() {
                let row = &self.effects[block(c, self.width)];
                out.mean.push(crate::dense::dot(row, e));
                let first = level.first_column + (c - level.first_column) / level.q * level.q;
                for other in first..first + level.q {
                    out.covariance.push(v.as_ref().map_or(0.0, |v| v.at(c, other)));
                }
            }
        }
        levels[rest.leading] = self.leading_conditional(e, v.as_ref());
        levels
    }

    /// G - G T'W^-1 T G = Lambda (I + Lambda'T'T Lambda)^-1 Lambda', without a difference; `root` is
    /// the leading factor's Lambda.
    fn unit_covariance(&self, unit: usize, root: &[f64]) -> Vec<f64> {
        let q = self.reduction.rest.leading_q;
        let t_root = crate::dense::multiply(&self.reduction.t[block(unit, q * q)], root, q);
        let mut inner = crate::dense::multiply(&transpose(&t_root, q), &t_root, q);
        (0..q).for_each(|i| inner[i * q + i] += 1.0);
        if cholesky(&mut inner, q).is_err() {
            return vec![f64::NAN; q * q];
        }
        let mut half = transpose(root, q);
        solve_lower(&inner, q, &mut half, q);
        crate::dense::multiply(&transpose(&half, q), &half, q)
    }

    /// Errors of the prediction of sums z'g: the variance of z'g given the data, over `sigma^2` and with
    /// beta known, and z'G Z'W^-1 X; (m,) and (m, `rank`) for m rows.
    ///
    /// `codes[l]` is the unit of each row at level l, negative for a unit that the data lack; `z[l]`
    /// its `q` columns, row-major.
    #[must_use]
    pub fn prediction(&self, codes: &[&[i32]], z: &[&[f64]]) -> (Vec<f64>, Vec<f64>) {
        let rest = &self.reduction.rest;
        let (q, rank) = (rest.leading_q, self.width - 1);
        let inverse = self.factor.as_ref().map(Tiled::inverse_from_factor);
        let v = self.rest_covariance(inverse.as_ref());
        let scores = self.unwhiten(&self.r, self.width);
        let b = self.cross_information();
        let g = &self.g[rest.leading];
        let root = Root::new(g, q).lambda();
        let one = |row: usize| -> Vec<f64> {
            let mut out = vec![0.0; 1 + rank];
            // What the row weighs of the rest's effects.
            let mut weights: Vec<(usize, f64)> = Vec::new();
            for level in &rest.levels {
                let own = &z[level.level][block(row, level.q)];
                let code = codes[level.level][row];
                if code < 0 {
                    out[0] += quadratic(&self.g[level.level], own);
                    continue;
                }
                let columns = rest.columns_of(level.first_block + code as usize);
                for (c, weight) in columns.zip(own) {
                    weights.push((c, *weight));
                    axpy(*weight, &self.effects[block(c, self.width)][..rank], &mut out[1..]);
                }
            }
            let own = &z[rest.leading][block(row, q)];
            let code = codes[rest.leading][row];
            if code < 0 {
                out[0] += quadratic(g, own);
            } else {
                let unit = code as usize;
                out[0] += quadratic(&self.unit_covariance(unit, &root), own);
                let g_z: Vec<f64> = g.chunks_exact(q).map(|g| crate::dense::dot(g, own)).collect();
                for (a, value) in g_z.iter().enumerate() {
                    axpy(*value, &scores[block(unit * q + a, self.width)][..rank], &mut out[1..]);
                }
                let incidence = &self.reduction.incidence;
                for place in incidence.first[unit]..incidence.first[unit + 1] {
                    let value = crate::dense::dot(&b[block(place, q)], &g_z);
                    weights.push((incidence.columns[place] as usize, -value));
                }
            }
            if let Some(v) = &v {
                for &(c, a) in &weights {
                    out[0] += a * weights.iter().map(|&(d, b)| b * v.at(c, d)).sum::<f64>();
                }
            }
            out
        };
        let n = codes[rest.leading].len();
        let rows = gather(n, n * 1000, one);
        rows.chunks_exact(1 + rank).fold((Vec::new(), Vec::new()), |mut all, row| {
            all.0.push(row[0]);
            all.1.extend_from_slice(&row[1..]);
            all
        })
    }

    /// g = G U, and G - G H G with H = P - B V B'.
    fn leading_conditional(&self, e: &[f64], v: Option<&Tiled>) -> Conditional {
        let reduction = self.reduction;
        let (q, g) = (reduction.rest.leading_q, &self.g[reduction.rest.leading]);
        let incidence = &reduction.incidence;
        let residual: Vec<f64> =
            self.r.chunks_exact(self.width).map(|row| crate::dense::dot(row, e)).collect();
        let u = self.unwhiten(&residual, 1);
        let root = Root::new(g, q).lambda();
        let one = |unit: usize| -> Vec<f64> {
            let mut out: Vec<f64> =
                g.chunks_exact(q).map(|row| crate::dense::dot(row, &u[block(unit, q)])).collect();
            let mut covariance = self.unit_covariance(unit, &root);
            if let Some(v) = v {
                // G T'L'^-1 F, a column a place.
                let places = incidence.first[unit]..incidence.first[unit + 1];
                let n = places.len();
                let mut b = vec![0.0; q * n];
                for (i, place) in places.clone().enumerate() {
                    (0..q).for_each(|a| b[a * n + i] = self.f[place * q + a]);
                }
                solve_upper(&self.w[block(unit, q * q)], q, &mut b, n);
                let b = transposed_times(&reduction.t[block(unit, q * q)], q, &b, n);
                let b = transposed_times(g, q, &b, n);
                let mut b_v = vec![0.0; q * n];
                for (i, place) in places.clone().enumerate() {
                    for (k, other) in places.clone().enumerate() {
                        let (c, d) = (incidence.columns[place], incidence.columns[other]);
                        let value = v.at(c as usize, d as usize);
                        (0..q).for_each(|a| b_v[a * n + i] += b[a * n + k] * value);
                    }
                }
                for a in 0..q {
                    for c in 0..q {
                        covariance[a * q + c] +=
                            crate::dense::dot(&b_v[block(a, n)], &b[block(c, n)]);
                    }
                }
            }
            out.extend(covariance);
            out
        };
        let work = incidence.n_pairs() as usize * q + reduction.rest.leading_units;
        let both = gather(reduction.rest.leading_units, work, one);
        let (mut mean, mut covariance) = (Vec::new(), Vec::new());
        for row in both.chunks_exact(q + q * q) {
            mean.extend_from_slice(&row[..q]);
            covariance.extend_from_slice(&row[q..]);
        }
        Conditional { mean, covariance }
    }
}

/// K = M + F'F.
fn marginal_gram(reduction: &Reduction, f: &[f64]) -> Tiled {
    let mut gram = reduction.base.clone();
    reduction.incidence.add_products(f, reduction.rest.leading_q, 1.0, &mut gram);
    gram.fill_diagonal_tiles();
    gram
}

/// Lower Cholesky factors of I + T G T' and the sum of their log-determinants.
fn leading_factors(
    reduction: &Reduction,
    g: &[f64],
) -> Result<(Vec<f64>, f64), NotPositiveDefinite> {
    let q = reduction.rest.leading_q;
    let mut out = vec![0.0; reduction.t.len()];
    let mut logdet = 0.0;
    for (t, w) in reduction.t.chunks_exact(q * q).zip(out.chunks_exact_mut(q * q)) {
        for i in 0..q {
            for j in 0..=i {
                let mut s = 0.0;
                for a in i..q {
                    for b in j..q {
                        s += t[i * q + a] * g[a * q + b] * t[j * q + b];
                    }
                }
                w[i * q + j] = s + if i == j { 1.0 } else { 0.0 };
            }
        }
        cholesky(w, q)?;
        logdet += 2.0 * (0..q).map(|i| w[i * q + i].ln()).sum::<f64>();
    }
    Ok((out, logdet))
}

/// L^-1 v for the `q` values of each place.
fn whiten(w: &[f64], q: usize, values: &[f64], first: &[usize]) -> Vec<f64> {
    let one = |u: usize| -> Vec<f64> {
        let mut own = values[first[u] * q..first[u + 1] * q].to_vec();
        let l = &w[block(u, q * q)];
        for v in own.chunks_exact_mut(q) {
            solve_lower(l, q, v, 1);
        }
        own
    };
    gather(first.len() - 1, values.len() * q, one)
}

/// L^-1 D for the `q` rows of `width` numbers of each unit.
pub(super) fn whiten_rows(w: &[f64], q: usize, rows: &[f64], width: usize) -> Vec<f64> {
    let one = |u: usize| -> Vec<f64> {
        let mut own = rows[block(u, q * width)].to_vec();
        solve_lower(&w[block(u, q * q)], q, &mut own, width);
        own
    };
    gather(rows.len() / (q * width).max(1), rows.len() * q, one)
}

/// x <- L'^-1 x for the lower triangular `q` x `q` L and the row-major x of `width` columns.
pub(super) fn solve_upper(l: &[f64], q: usize, x: &mut [f64], width: usize) {
    for i in (0..q).rev() {
        let (head, tail) = x.split_at_mut((i + 1) * width);
        let row = &mut head[i * width..];
        for j in i + 1..q {
            axpy(-l[j * q + i], &tail[(j - i - 1) * width..(j - i) * width], row);
        }
        let inverse = 1.0 / l[i * q + i];
        row.iter_mut().for_each(|v| *v *= inverse);
    }
}

/// A'x for the row-major `q` x `q` A and the row-major x of `width` columns.
pub(super) fn transposed_times(a: &[f64], q: usize, x: &[f64], width: usize) -> Vec<f64> {
    let mut out = vec![0.0; q * width];
    for i in 0..q {
        for k in 0..q {
            axpy(a[i * q + k], &x[block(i, width)], &mut out[block(k, width)]);
        }
    }
    out
}

/// T'W^-1 T of a unit.
pub(super) fn unit_information(t: &[f64], l: &[f64], q: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; q * q];
    invert_lower(l, q, &mut inverse);
    let half = crate::dense::multiply(&inverse, t, q);
    crate::dense::multiply(&transpose(&half, q), &half, q)
}

/// x'A x for a row-major A.
fn quadratic(a: &[f64], x: &[f64]) -> f64 {
    a.chunks_exact(x.len()).zip(x).map(|(row, xi)| xi * crate::dense::dot(row, x)).sum()
}
