//! The criterion at one G, its derivatives by entries of G, and their Monte Carlo errors.

use std::sync::Arc;

use super::columns::{Products, Right};
use super::conjugate_gradients::{Stop, Unsolved};
use super::data::Data;
use super::probes::{Probes, outlying_directions};
use super::quadrature::log_without_linear;
use super::system::{Parts, System, product, transpose};
use crate::dense::{axpy, cholesky, dot, invert_lower, solve_lower};
use crate::elimination::Entry;
use crate::reduction::block;

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
pub fn outlying(
    data: &Data,
    settings: &Settings,
    interrupted: &dyn Fn() -> bool,
) -> Result<Vec<Vec<f64>>, Unsolved> {
    if settings.exact || data.reduced_size() <= settings.n_probes {
        return Ok(Vec::new());
    }
    let mut g = vec![Vec::new(); data.factors.len()];
    for f in &data.factors {
        g[f.position] = (0..f.q * f.q).map(|at| f64::from(u8::from(at % (f.q + 1) == 0))).collect();
    }
    let system =
        System::new(data, &untransformed(data, &g)).map_err(|_| Unsolved::NotPositiveDefinite)?;
    outlying_directions(&system, settings.seed, interrupted).ok_or(Unsolved::Interrupted)
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
    parts: Arc<Parts>,
    /// Iterations of all solves.
    pub n_iterations: usize,
    /// By factor, sums over levels of the blocks of Z'W^-1 Z.
    traces: Vec<Vec<f64>>,
    /// By random probe and factor, its part of them.
    by_probe: Vec<Vec<Vec<f64>>>,
    /// By factor, sums over levels of U C U', U = Z'W^-1 X.
    fixed_traces: Vec<Vec<f64>>,
    /// By factor, Z'W^-1 X, `rank` columns.
    fixed: Vec<Vec<f64>>,
}

/// Derivatives by entries of G in the transformed basis.
pub struct Derivatives {
    /// Of the criterion.
    pub gradient: Vec<f64>,
    /// Average information, `n` squared.
    pub information: Vec<f64>,
    /// Monte Carlo covariance of the gradient, `n` squared.
    pub gradient_covariance: Vec<f64>,
    /// Derivatives of y'Py.
    pub rss_by: Vec<f64>,
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

/// Columns of one solve.
const WIDTH: usize = 16;

/// Sum over levels of A B', each `q` x `width` a level.
fn sum_products(a: &[f64], b: &[f64], q: usize, width: usize) -> Vec<f64> {
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
fn inverse_basis(basis: &[f64], q: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; q * q];
    invert_lower(&transpose(basis, q, q), q, &mut inverse);
    transpose(&inverse, q, q)
}

/// Z'W^-1 D of all factors, column by column of D as the blocks come in.
struct Gathered {
    width: usize,
    by_factor: Vec<Vec<f64>>,
    /// Lambda S^-1 Lambda'Z'`W_1`^-1 D and Z'`W_1`^-1 D of the reduced equations.
    solution: Vec<f64>,
    right: Vec<f64>,
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
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Self, Unsolved> {
        let system = System::new(data, &untransformed(data, g))
            .map_err(|_| Unsolved::NotPositiveDefinite)?;
        let probes =
            Probes::new(&system, settings.n_probes, settings.exact, settings.seed, outlying);
        let width = data.rank() + 1;
        let mut gathered = Gathered {
            width,
            by_factor: data.factors.iter().map(|f| vec![0.0; f.n * f.q * width]).collect(),
            solution: vec![0.0; data.reduced_size() * width],
            right: vec![0.0; data.reduced_size() * width],
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
                let products = right.solve::<K>(&system, settings.stop, interrupted)?;
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

    /// Gradient, average information (Gilmour, Thompson and Cullis 1995, Biometrics 51, 1440) and
    /// the Monte Carlo covariance of the gradient.
    ///
    /// # Errors
    /// [`Unsolved`].
    pub fn derivatives(
        &self,
        data: &Data,
        entries: &[Entry],
        reml: bool,
        settings: &Settings,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Derivatives, Unsolved> {
        let n = entries.len();
        let nu = degrees(data, reml);
        let directions: Vec<(usize, Vec<f64>)> =
            entries.iter().map(|entry| direction(data, entry)).collect();
        let along = |matrices: &[Vec<f64>]| -> Vec<f64> {
            directions.iter().map(|(j, e)| dot(e, &matrices[*j])).collect()
        };
        let mut trace = along(&self.traces);
        if reml {
            axpy(-1.0, &along(&self.fixed_traces), &mut trace);
        }
        let squares: Vec<Vec<f64>> = (data.factors.iter().zip(&self.effects))
            .map(|(f, e)| sum_products(e, e, f.q, 1))
            .collect();
        let quadratic = along(&squares);
        let gradient = (0..n).map(|k| trace[k] - nu / self.rss * quadratic[k]).collect();
        let forms = self.second_forms(data, &directions, settings, interrupted)?;
        let mut information = vec![0.0; n * n];
        for k in 0..n {
            for l in 0..n {
                let form = 0.5 * (forms[k * n + l] + forms[l * n + k]);
                information[k * n + l] =
                    nu / self.rss * (form - quadratic[k] * quadratic[l] / self.rss);
            }
        }
        let by_probe: Vec<Vec<f64>> = self.by_probe.iter().map(|c| along(c)).collect();
        let rss_by = quadratic.iter().map(|q| -q).collect();
        Ok(Derivatives {
            gradient,
            information,
            gradient_covariance: covariance(&by_probe, n),
            rss_by,
        })
    }

    /// Derivatives of X'W^-1 X by entries, each `rank` squared.
    #[must_use]
    pub fn information_derivatives(&self, data: &Data, entries: &[Entry]) -> Vec<f64> {
        let rank = data.rank();
        let mut out = Vec::with_capacity(entries.len() * rank * rank);
        for entry in entries {
            let (j, e) = direction(data, entry);
            let q = data.factors[j].q;
            let mut sum = vec![0.0; rank * rank];
            for u in self.fixed[j].chunks_exact((q * rank).max(1)) {
                let through = product(&e, u, q, q, rank);
                axpy(-1.0, &product(&transpose(u, q, rank), &through, rank, q, rank), &mut sum);
            }
            out.extend(sum);
        }
        out
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

    /// y'P `V_k` P `V_l` P y.
    fn second_forms(
        &self,
        data: &Data,
        directions: &[(usize, Vec<f64>)],
        settings: &Settings,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Vec<f64>, Unsolved> {
        let system = System { data, parts: Arc::clone(&self.parts) };
        let (n, rank) = (directions.len(), data.rank());
        let mut out = vec![0.0; n * n];
        for first in (0..n).step_by(WIDTH) {
            let columns = first..(first + WIDTH).min(n);
            with_width!(columns.len(), K => {
                let right = self.second_right::<K>(&system, &directions[columns.clone()]);
                let products = right.solve::<K>(&system, settings.stop, interrupted)?;
                for (c, l) in columns.enumerate() {
                    for (k, (j, e)) in directions.iter().enumerate() {
                        let q = data.factors[*j].q;
                        let u = if *j == 0 {
                            &products.lead
                        } else {
                            &products.rest[system.stretch(*j, K)]
                        };
                        let column: Vec<f64> = u.iter().skip(c).step_by(K).copied().collect();
                        let sums = sum_products(&self.effects[*j], &column, q, 1);
                        out[k * n + l] = dot(e, &sums);
                    }
                }
            });
        }
        let reached: Vec<Vec<f64>> = directions
            .iter()
            .map(|(j, e)| {
                let q = data.factors[*j].q;
                let mut sum = vec![0.0; rank];
                let levels = self.effects[*j].chunks_exact(q);
                for (effects, u) in levels.zip(self.fixed[*j].chunks_exact((q * rank).max(1))) {
                    let h = product(e, effects, q, q, 1);
                    h.iter()
                        .zip(u.chunks_exact(rank.max(1)))
                        .for_each(|(h, u)| axpy(*h, u, &mut sum));
                }
                sum
            })
            .collect();
        for k in 0..n {
            let through = product(&self.c, &reached[k], rank, rank, 1);
            for l in 0..n {
                out[k * n + l] -= dot(&through, &reached[l]);
            }
        }
        Ok(out)
    }

    /// Z'`W_1`^-1 `V_k` P y of K entries.
    fn second_right<const K: usize>(
        &self,
        system: &System,
        directions: &[(usize, Vec<f64>)],
    ) -> Right {
        let data = system.data;
        let mut right = Right::zeros::<K>(system);
        let mut v = vec![0.0; right.rest.len()];
        let mut lead = vec![0.0; right.lead.len()];
        for (c, (j, e)) in directions.iter().enumerate() {
            let q = data.factors[*j].q;
            let out = if *j == 0 { &mut lead[..] } else { &mut v[system.stretch(*j, K)] };
            for (out, effects) in out.chunks_exact_mut(q * K).zip(self.effects[*j].chunks_exact(q))
            {
                for a in 0..q {
                    out[a * K + c] = dot(&e[a * q..(a + 1) * q], effects);
                }
            }
        }
        let mut t = vec![0.0; lead.len()];
        system.apply::<K>(&v, &mut right.rest, &mut t, Some(&mut right.lead));
        // The leading factor's own: t = (I - M H) h gives Z'W_1^-1 Z_1 h = Z'Z_1 t.
        t.fill(0.0);
        system.add_lead_gram::<K>(&lead, &mut t);
        system.eliminate_lead::<K>(&mut t);
        t.iter_mut().zip(&lead).for_each(|(t, h)| *t += h);
        system.add_lead_gram::<K>(&t, &mut right.lead);
        right.reach::<K>(system, &t);
        right
    }
}

impl Gathered {
    /// Z'D of a block of columns of D = [X y].
    fn fill<const K: usize>(
        &self,
        data: &Data,
        fit: usize,
        columns: std::ops::Range<usize>,
        right: &mut Right,
    ) {
        let stored = data.rank() + data.n_fits;
        for factor in &data.factors {
            let out = if std::ptr::eq(factor, &raw const data.factors[0]) {
                &mut right.lead[..]
            } else {
                &mut right.rest[factor.offset * K..(factor.offset + factor.n * factor.q) * K]
            };
            for (c, column) in columns.clone().enumerate().filter(|(_, i)| *i < self.width) {
                let source = if column + 1 == self.width { data.rank() + fit } else { column };
                let values = factor.products.iter().skip(source).step_by(stored);
                out.iter_mut().skip(c).step_by(K).zip(values).for_each(|(o, v)| *o = *v);
            }
        }
    }

    /// Keeps Z'`W_1`^-1 D.
    fn keep<const K: usize>(&mut self, columns: std::ops::Range<usize>, right: &Right) {
        let width = self.width;
        for (c, column) in columns.enumerate().filter(|(_, i)| *i < width) {
            copy_column(&right.rest, K, c, &mut self.right, width, column);
        }
    }

    fn store<const K: usize>(
        &mut self,
        data: &Data,
        columns: std::ops::Range<usize>,
        products: &Products,
    ) {
        let width = self.width;
        for (c, column) in columns.enumerate().filter(|(_, i)| *i < width) {
            copy_column(&products.solution, K, c, &mut self.solution, width, column);
            copy_column(&products.lead, K, c, &mut self.by_factor[0], width, column);
            for (j, f) in data.factors.iter().enumerate().skip(1) {
                let own = &products.rest[f.offset * K..(f.offset + f.n * f.q) * K];
                copy_column(own, K, c, &mut self.by_factor[j], width, column);
            }
        }
    }

    /// D'W^-1 D.
    fn gram(&self, data: &Data, system: &System, fit: usize) -> Vec<f64> {
        let (width, rank) = (self.width, self.width - 1);
        let stored = rank + data.n_fits;
        let position = |i: usize| if i == rank { rank + fit } else { i };
        let lead = &data.factors[0];
        let mut gram = vec![0.0; width * width];
        for i in 0..width {
            for j in 0..width {
                gram[i * width + j] = data.gram[position(i) * stored + position(j)];
            }
        }
        let q = lead.q;
        for level in 0..lead.n {
            let b = &lead.products[level * q * stored..(level + 1) * q * stored];
            let inner = &system.inner[level * q * q..(level + 1) * q * q];
            let through = product(inner, b, q, q, stored);
            for i in 0..width {
                for j in 0..width {
                    for a in 0..q {
                        gram[i * width + j] -=
                            b[a * stored + position(i)] * through[a * stored + position(j)];
                    }
                }
            }
        }
        for (b, x) in self.right.chunks_exact(width).zip(self.solution.chunks_exact(width)) {
            for i in 0..width {
                for j in 0..width {
                    gram[i * width + j] -= 0.5 * (b[i] * x[j] + b[j] * x[i]);
                }
            }
        }
        gram
    }
}

fn copy_column(from: &[f64], k: usize, c: usize, to: &mut [f64], width: usize, column: usize) {
    let values = from.iter().skip(c).step_by(k);
    to.iter_mut().skip(column).step_by(width).zip(values).for_each(|(t, f)| *t = *f);
}

/// Position of the factor of an entry, and B^-1 E B'^-1.
fn direction(data: &Data, entry: &Entry) -> (usize, Vec<f64>) {
    let (j, factor) = data
        .factors
        .iter()
        .enumerate()
        .find(|(_, f)| f.position == entry.level)
        .expect("entries were checked");
    let q = factor.q;
    let mut e = vec![0.0; q * q];
    e[entry.a * q + entry.b] = 1.0;
    e[entry.b * q + entry.a] = 1.0;
    let inverse = inverse_basis(&factor.basis, q);
    let half = product(&inverse, &e, q, q, q);
    (j, product(&half, &transpose(&inverse, q, q), q, q, q))
}

fn degrees(data: &Data, reml: bool) -> f64 {
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

/// Covariance of the mean of the rows.
fn covariance(rows: &[Vec<f64>], size: usize) -> Vec<f64> {
    let n = rows.len() as f64;
    let mut out = vec![0.0; size * size];
    if rows.len() < 2 {
        return out;
    }
    let mut mean = vec![0.0; size];
    rows.iter().for_each(|row| axpy(1.0 / n, row, &mut mean));
    for row in rows {
        for i in 0..size {
            for j in 0..size {
                out[i * size + j] += (row[i] - mean[i]) * (row[j] - mean[j]) / (n * (n - 1.0));
            }
        }
    }
    out
}
