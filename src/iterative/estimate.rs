//! The criterion at one G, its derivatives by entries of G, and their Monte Carlo errors.

use std::sync::Arc;

use super::blocks::Parts;
use super::columns::Right;
use super::conjugate_gradients::Stop;
use super::data::Data;
use super::gathered::Gathered;
use super::probes::{Probes, outlying_directions};
use super::quadrature::log_without_linear;
use super::system::System;
use crate::criterion::engine::Unsolved;
use crate::linalg::dense::{axpy, block, cholesky, dot, invert_lower, solve_lower};
use crate::linalg::small::{identity, product, transpose};
use crate::running::memory::zeros;

/// How traces are taken and equations solved.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Random probes.
    pub n_probes: usize,
    /// Exact traces, by a probe for every effect.
    pub exact: bool,
    /// Seed of the probes.
    pub seed: u64,
    /// When the conjugate gradients stop.
    pub stop: Stop,
}

/// Directions in which traces are taken exactly, once for all G.
///
/// # Errors
/// [`Unsolved`].
pub fn outlying(data: &Data, settings: &Settings) -> Result<Vec<Vec<f64>>, Unsolved> {
    if settings.exact || data.reduced_size() <= settings.n_probes {
        return Ok(Vec::new());
    }
    let mut g = vec![Vec::new(); data.factors.len()];
    for f in &data.factors {
        g[f.position] = identity(f.q);
    }
    let system =
        System::new(data, &untransformed(data, &g)).map_err(|_| Unsolved::NotPositiveDefinite)?;
    Ok(outlying_directions(&system, settings.seed))
}

/// All there is to know at one G.
pub struct Evaluation {
    /// log|W|.
    pub logdet: f64,
    /// Monte Carlo variance of log|W|.
    pub logdet_variance: f64,
    /// Coefficients in the orthonormal basis.
    pub beta: Vec<f64>,
    /// (X'W^-1 X)^-1.
    pub c: Vec<f64>,
    /// y'Py.
    pub rss: f64,
    /// log|X'W^-1 X|.
    pub logdet_xx: f64,
    /// By factor, Z'W^-1 (y - X beta).
    pub effects: Vec<Vec<f64>>,
    /// The equations.
    pub(super) parts: Arc<Parts>,
    /// Iterations of all solves.
    pub n_iterations: usize,
    /// By factor, sums over levels of the blocks of Z'W^-1 Z.
    pub(super) traces: Vec<Vec<f64>>,
    /// By random probe and factor, its part of them.
    pub(super) by_probe: Vec<Vec<Vec<f64>>>,
    /// By factor, sums over levels of U C U', U = Z'W^-1 X.
    pub(super) fixed_traces: Vec<Vec<f64>>,
    /// By factor, Z'W^-1 X, `rank` columns.
    pub(super) fixed: Vec<Vec<f64>>,
}

/// Runs `$body` with `$k` the narrowest width that holds `$width` columns.
macro_rules! with_width {
    ($width:expr, $k:ident => $body:expr) => {
        match $width {
            0..=4 => {
                const $k: usize = 4;
                $body
            }
            5..=8 => {
                const $k: usize = 8;
                $body
            }
            _ => {
                const $k: usize = 16;
                $body
            }
        }
    };
}
pub(super) use with_width;

/// Columns of one solve.
pub(super) const WIDTH: usize = 16;

/// Sum over levels of A B', each `q` x `width` a level.
pub(super) fn sum_products(a: &[f64], b: &[f64], q: usize, width: usize) -> Vec<f64> {
    let mut out = vec![0.0; q * q];
    let size = (q * width).max(1);
    for (a, b) in a.chunks_exact(size).zip(b.chunks_exact(size)) {
        for i in 0..q {
            for j in 0..q {
                out[i * q + j] += dot(&a[block(i, width)], &b[block(j, width)]);
            }
        }
    }
    out
}

/// The covariances of the untransformed columns, factors in the order of `data`.
fn untransformed(data: &Data, g: &[Vec<f64>]) -> Vec<Vec<f64>> {
    data.factors
        .iter()
        .map(|f| {
            let inverse = inverse_basis(&f.basis, f.q);
            let half = product(&inverse, &g[f.position], f.q, f.q, f.q);
            product(&half, &transpose(&inverse, f.q, f.q), f.q, f.q, f.q)
        })
        .collect()
}

/// B^-1 of the upper triangular B.
pub(super) fn inverse_basis(basis: &[f64], q: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; q * q];
    invert_lower(&transpose(basis, q, q), q, &mut inverse);
    transpose(&inverse, q, q)
}

impl Evaluation {
    /// Solves at `g`, by factor as given (not as stored), in the transformed basis.
    ///
    /// # Errors
    /// [`Unsolved`].
    pub fn new(
        data: &Data,
        g: &[Vec<f64>],
        fit: usize,
        settings: &Settings,
        outlying: &[Vec<f64>],
    ) -> Result<Self, Unsolved> {
        let system = System::new(data, &untransformed(data, g))
            .map_err(|_| Unsolved::NotPositiveDefinite)?;
        let probes =
            Probes::new(&system, settings.n_probes, settings.exact, settings.seed, outlying);
        let width = data.rank() + 1;
        let mut gathered = Gathered {
            width,
            by_factor: data.factors.iter().map(|f| zeros(f.n * f.q * width)).collect(),
            solution: zeros(data.reduced_size() * width),
            right: zeros(data.reduced_size() * width),
        };
        let mut traces = system.traces.clone();
        let mut by_probe = Vec::new();
        let (mut logdet, mut logdets) = (system.logdet, Vec::new());
        let mut n_iterations = 0;
        let total = width + probes.count();
        for first in (0..total).step_by(WIDTH) {
            let columns = first..(first + WIDTH).min(total);
            let products = with_width!(columns.len(), K => {
                let mut right = Right::zeros::<K>(&system);
                if first < width {
                    gathered.fill::<K>(data, fit, columns.clone(), &mut right);
                    right.whiten::<K>(&system);
                    gathered.keep::<K>(columns.clone(), &right);
                }
                for (c, column) in columns.clone().enumerate().filter(|(_, i)| *i >= width) {
                    right.is_probe[c] = true;
                    let probe = probes.column(column - width);
                    right.probe.iter_mut().skip(c).step_by(K).zip(probe).for_each(|(r, p)| *r = p);
                }
                let products = right.solve::<K>(&system, settings.stop)?;
                gathered.store::<K>(data, columns.clone(), &products);
                products
            });
            n_iterations += products.n_iterations;
            for (c, column) in columns.enumerate().filter(|(_, i)| *i >= width) {
                let value = log_without_linear(&products.tridiagonals[c]);
                let corrections = products.corrections[c].clone();
                let share = if probes.is_random(column - width) {
                    1.0 / probes.n_random() as f64
                } else {
                    1.0
                };
                logdet += share * value;
                for (trace, correction) in traces.iter_mut().zip(&corrections) {
                    axpy(-share, correction, trace);
                }
                if probes.is_random(column - width) {
                    logdets.push(value);
                    by_probe.push(corrections);
                }
            }
        }
        let mut evaluation = Self {
            logdet,
            logdet_variance: variance_of_mean(&logdets),
            beta: Vec::new(),
            c: Vec::new(),
            rss: 0.0,
            logdet_xx: 0.0,
            effects: Vec::new(),
            parts: Arc::clone(&system.parts),
            n_iterations,
            traces,
            by_probe,
            fixed_traces: Vec::new(),
            fixed: Vec::new(),
        };
        let gram = gathered.gram(data, &system, fit);
        evaluation.solve_fixed(&gram, width - 1)?;
        evaluation.set_effects(data, &gathered);
        Ok(evaluation)
    }

    fn solve_fixed(&mut self, gram: &[f64], rank: usize) -> Result<(), Unsolved> {
        let width = rank + 1;
        let mut l = vec![0.0; rank * rank];
        for i in 0..rank {
            l[i * rank..=i * rank + i].copy_from_slice(&gram[i * width..=i * width + i]);
        }
        cholesky(&mut l, rank).map_err(|_| Unsolved::NotPositiveDefinite)?;
        let mut half = gram[rank * width..rank * width + rank].to_vec();
        solve_lower(&l, rank, &mut half, 1);
        self.rss = gram[width * width - 1] - dot(&half, &half);
        if self.rss.is_nan() || self.rss <= 0.0 {
            return Err(Unsolved::NotPositiveDefinite);
        }
        let mut inverse = vec![0.0; rank * rank];
        invert_lower(&l, rank, &mut inverse);
        self.c = product(&transpose(&inverse, rank, rank), &inverse, rank, rank, rank);
        self.beta = product(&half, &inverse, 1, rank, rank);
        self.logdet_xx = 2.0 * (0..rank).map(|i| l[i * rank + i].ln()).sum::<f64>();
        Ok(())
    }

    fn set_effects(&mut self, data: &Data, gathered: &Gathered) {
        let (width, rank) = (gathered.width, gathered.width - 1);
        let e: Vec<f64> = self.beta.iter().map(|b| -b).chain([1.0]).collect();
        for (factor, u) in data.factors.iter().zip(&gathered.by_factor) {
            self.effects.push(u.chunks_exact(width).map(|row| dot(row, &e)).collect());
            let fixed: Vec<f64> =
                u.chunks_exact(width).flat_map(|row| row[..rank].iter().copied()).collect();
            let through = product(&fixed, &self.c, factor.n * factor.q, rank, rank);
            self.fixed_traces.push(sum_products(&fixed, &through, factor.q, rank));
            self.fixed.push(fixed);
        }
    }

    /// -2 log-likelihood.
    #[must_use]
    pub fn value(&self, data: &Data, reml: bool) -> f64 {
        let nu = degrees(data, reml);
        let tau = 2.0 * std::f64::consts::PI;
        let restricted = if reml { self.logdet_xx } else { 0.0 };
        self.logdet + nu * (1.0 + (tau * self.rss / nu).ln()) + restricted
    }

    /// By factor as stored, conditional means of the effects in the transformed basis.
    #[must_use]
    pub fn conditional_means(&self, data: &Data, g: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let factors = data.factors.iter().zip(&self.effects);
        factors
            .map(|(f, effects)| {
                let inverse = inverse_basis(&f.basis, f.q);
                let map = product(&g[f.position], &transpose(&inverse, f.q, f.q), f.q, f.q, f.q);
                effects.chunks_exact(f.q).flat_map(|e| product(&map, e, f.q, f.q, 1)).collect()
            })
            .collect()
    }
}

pub(super) fn degrees(data: &Data, reml: bool) -> f64 {
    (data.n_rows - if reml { data.rank() } else { 0 }) as f64
}

fn variance_of_mean(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    if values.len() < 2 {
        return 0.0;
    }
    let mean = values.iter().sum::<f64>() / n;
    values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (n * (n - 1.0))
}
