//! Value of the criterion's parts at one G: factors, cross-products and solutions.

use super::factor::panels::Panels;
use super::marginal::Marginal;
use super::prior::SMALLEST_ROOT;
use super::reduction::Reduction;
use super::root::{Root, apply_transposed};
use crate::linalg::dense::{
    NotPositiveDefinite, add_outer, axpy, block, cholesky, invert_lower, multiply, solve_lower,
};
use crate::linalg::many::{fill, pairwise};
use crate::linalg::small::{solve_upper, transpose};
use crate::running::memory::zeros;

/// The factored system of one response at one G.
pub struct Factorisation<'a> {
    pub(crate) reduction: &'a Reduction,
    pub(crate) fit: usize,
    /// G of each level, row-major.
    pub(crate) g: &'a [Vec<f64>],
    /// Columns of [X y].
    pub(crate) width: usize,
    /// Per rest level, its root of G.
    pub(crate) roots: Vec<Root>,
    /// Per leading unit, the lower Cholesky factor of I + T G T'.
    pub(crate) w: Vec<f64>,
    /// Per leading unit, r = L^-1 (D - N `g_2`).
    pub(crate) r: Vec<f64>,
    /// Lower factor of A; `None` where all of `G_2` is zero, so that A is the identity.
    pub(crate) factor: Option<Panels>,
    /// A^-1 Lambda'D~, a row a column of `Z_2`.
    pub(crate) solution: Vec<f64>,
    /// `g_2` = Lambda A^-1 Lambda'D~.
    pub(crate) effects: Vec<f64>,
    /// log|W|.
    pub logdet: f64,
    /// [X y]'W^-1 [X y], lower triangle.
    pub gram: Vec<f64>,
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
        let (w, mut logdet) = if rest.leads_fixed() {
            reduction.fixed_leading()
        } else {
            leading_factors(reduction, reduction.leading_g(g))?
        };
        let fd = whiten_rows(&w, q, &reduction.leading_data[fit], width);
        let mut cross = reduction.unwhitened_cross(&w, &fd, width);
        axpy(1.0, &reduction.rest_data[fit], &mut cross);
        let mut gram = reduction.remainder[block(fit, width * width)].to_vec();
        axpy(1.0, &outer_sum(&fd, width), &mut gram);

        let mut roots: Vec<Root> =
            rest.levels.iter().map(|l| Root::new(&g[l.level], l.q)).collect();
        for (_, root) in roots.iter_mut().enumerate().filter(|(k, _)| reduction.is_related(*k)) {
            root.s.iter_mut().filter(|s| **s < SMALLEST_ROOT).for_each(|s| *s = SMALLEST_ROOT);
        }
        let lambda: Vec<Vec<f64>> = roots.iter().map(Root::lambda).collect();
        let is_zero = roots.iter().all(|r| r.s.iter().all(|s| *s == 0.0));
        let mut solution = apply_transposed(rest, &lambda, &cross, width);
        let factor = if is_zero {
            None
        } else {
            let leading_g = reduction.leading_g(g);
            let mut a = Marginal::new(reduction, leading_g).panels(&lambda, 1.0);
            if let Some(prior) = &reduction.prior {
                prior.add_to(rest, &mut a.values);
                logdet -= prior.logdet;
            }
            a.cholesky()?;
            logdet += a.logdet();
            let mut half = a.to_elimination(&solution, width);
            a.solve_lower(&mut half, width);
            axpy(-1.0, &outer_sum(&half, width), &mut gram);
            a.solve_upper(&mut half, width);
            solution = a.to_natural(half, width);
            Some(a)
        };
        let effects = apply_transposed(rest, &all_transposed(&roots, &lambda), &solution, width);
        let mut r = fd;
        axpy(-1.0, &reduction.whitened_product(&w, &effects, width), &mut r);
        if !logdet.is_finite() {
            return Err(NotPositiveDefinite { pivot: 0 });
        }
        Ok(Self { reduction, fit, g, width, roots, w, r, factor, solution, effects, logdet, gram })
    }

    /// Per leading unit, B' = T'L'^-1 x for the `q` rows x of `width` numbers.
    pub(crate) fn unwhiten(&self, x: &[f64], width: usize) -> Vec<f64> {
        let q = self.reduction.rest.leading_q;
        let one = |u: usize, out: &mut [f64]| {
            let mut rows = x[block(u, q * width)].to_vec();
            solve_upper(&self.w[block(u, q * q)], q, &mut rows, width);
            let t = &self.reduction.t[block(u, q * q)];
            for (i, row) in rows.chunks_exact(width).enumerate() {
                for (k, target) in out.chunks_exact_mut(width).enumerate() {
                    axpy(t[i * q + k], row, target);
                }
            }
        };
        fill(self.reduction.rest.leading_units, q * width, x.len() * q, one)
    }

    /// Lambda of each rest level, row-major.
    pub(crate) fn lambdas(&self) -> Vec<Vec<f64>> {
        self.roots.iter().map(Root::lambda).collect()
    }

    /// Lambda' of each rest level, row-major.
    pub(crate) fn lambdas_transposed(&self) -> Vec<Vec<f64>> {
        all_transposed(&self.roots, &self.lambdas())
    }

    /// K.
    pub(crate) fn marginal(&self) -> Marginal<'_> {
        Marginal::new(self.reduction, self.reduction.leading_g(self.g))
    }
}

/// The sum of x x' over the rows of x, lower triangle.
fn outer_sum(x: &[f64], width: usize) -> Vec<f64> {
    pairwise(x.len() / width, width * width, &|k, sum| add_outer(&x[block(k, width)], sum))
}

fn all_transposed(roots: &[Root], matrices: &[Vec<f64>]) -> Vec<Vec<f64>> {
    matrices.iter().zip(roots).map(|(m, root)| transpose(m, root.q, root.q)).collect()
}

impl Reduction {
    /// L^-1 N x by leading unit, for the x of `width` columns, a row a column of `Z_2`.
    pub(crate) fn whitened_product(&self, w: &[f64], x: &[f64], width: usize) -> Vec<f64> {
        let (incidence, q) = (&self.incidence, self.rest.leading_q);
        whiten_rows(w, q, &incidence.times(&incidence.values, q, x, width), width)
    }

    /// N'L'^-1 r for the `q` rows r of `width` numbers of each leading unit.
    pub(crate) fn unwhitened_cross(&self, w: &[f64], r: &[f64], width: usize) -> Vec<f64> {
        let (incidence, q) = (&self.incidence, self.rest.leading_q);
        let x = self.solve_units(w, r, width);
        incidence.transposed_times(&incidence.values, q, &x, width)
    }

    /// N'L'^-1 r + M x, with M = `Z_2`'`Z_2` - N'N and a row of x a column of `Z_2`.
    pub(crate) fn marginal_cross(&self, w: &[f64], r: &[f64], x: &[f64], width: usize) -> Vec<f64> {
        let (incidence, q) = (&self.incidence, self.rest.leading_q);
        let mut inside = self.solve_units(w, r, width);
        axpy(-1.0, &incidence.times(&incidence.values, q, x, width), &mut inside);
        let mut out = incidence.transposed_times(&incidence.values, q, &inside, width);
        axpy(1.0, &self.gram.multiply(&self.rest, x, width), &mut out);
        out
    }

    /// L'^-1 r.
    fn solve_units(&self, w: &[f64], r: &[f64], width: usize) -> Vec<f64> {
        let q = self.rest.leading_q;
        let one = |u: usize, own: &mut [f64]| {
            own.copy_from_slice(&r[block(u, q * width)]);
            solve_upper(&w[block(u, q * q)], q, own, width);
        };
        fill(self.rest.leading_units, q * width, r.len() * q, one)
    }
}

/// Lower Cholesky factors of I + T G T' and the sum of their log-determinants.
fn leading_factors(
    reduction: &Reduction,
    g: &[f64],
) -> Result<(Vec<f64>, f64), NotPositiveDefinite> {
    let q = reduction.rest.leading_q;
    let mut out = zeros(reduction.t.len());
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
    }
    let add = |u: usize, sum: &mut [f64]| {
        sum[0] += (0..q).map(|i| out[u * q * q + i * q + i].ln()).sum::<f64>();
    };
    let logdet = 2.0 * pairwise(reduction.rest.leading_units, 1, &add)[0];
    Ok((out, logdet))
}

/// L^-1 D for the `q` rows of `width` numbers of each unit.
pub(crate) fn whiten_rows(w: &[f64], q: usize, rows: &[f64], width: usize) -> Vec<f64> {
    let one = |u: usize, own: &mut [f64]| {
        own.copy_from_slice(&rows[block(u, q * width)]);
        solve_lower(&w[block(u, q * q)], q, own, width);
    };
    fill(rows.len() / (q * width).max(1), q * width, rows.len() * q, one)
}

/// T'W^-1 T of a unit.
pub(crate) fn unit_information(t: &[f64], l: &[f64], q: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; q * q];
    invert_lower(l, q, &mut inverse);
    let half = multiply(&inverse, t, q);
    multiply(&transpose(&half, q, q), &half, q)
}
