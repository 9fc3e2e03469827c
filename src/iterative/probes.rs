//! Probe vectors of the stochastic traces.
//!
//! A trace is taken exactly over a few directions Q and by random signs over what is orthogonal to
//! them (Meyer, Musco, Musco and Woodruff 2021, Hutch++; Hutchinson 1990, Commun. Statist. Simul.
//! 19, 433). Q are the directions in which crossed factors are nearly confounded: all levels of a
//! factor moving together, and those that a few steps of subspace iteration find. The signs are fixed by the seed (common random numbers).

use super::system::System;
use crate::linalg::dense::{axpy, dot};
use crate::linalg::small::{divide_lower, divide_upper};
use crate::running::memory::zeros;
use crate::running::stop::check;

/// Directions of the subspace iteration, and how often it is repeated.
const OUTLYING: usize = 16;
const SUBSPACE_ITERATIONS: usize = 4;

/// Exact directions first, then random ones.
pub struct Probes {
    basis: Vec<Vec<f64>>,
    n_random: usize,
    /// Unit vectors instead of random ones: exact traces.
    units: bool,
    size: usize,
    seed: u64,
}

impl Probes {
    /// `n_random` probes; unit vectors where these are no more, or with `exact`.
    #[must_use]
    pub fn new(
        system: &System,
        n_random: usize,
        exact: bool,
        seed: u64,
        outlying: &[Vec<f64>],
    ) -> Self {
        let size = system.data.reduced_size();
        let units = exact || size <= n_random;
        let basis = if units { Vec::new() } else { exact_directions(system, outlying) };
        Self { basis, n_random: if units { size } else { n_random }, units, size, seed }
    }

    /// Number of probe columns.
    #[must_use]
    pub fn count(&self) -> usize {
        self.basis.len() + self.n_random
    }

    /// Random probes, 0 where traces are exact.
    #[must_use]
    pub fn n_random(&self) -> usize {
        if self.units { 0 } else { self.n_random }
    }

    /// Whether probe `i` is a random one.
    #[must_use]
    pub fn is_random(&self, i: usize) -> bool {
        !self.units && i >= self.basis.len()
    }

    /// Probe `i`.
    #[must_use]
    pub fn column(&self, i: usize) -> Vec<f64> {
        if self.units {
            let mut out = zeros(self.size);
            out[i] = 1.0;
            return out;
        }
        if i < self.basis.len() {
            return self.basis[i].clone();
        }
        let mut out = signs(self.seed, (i - self.basis.len()) as u64, self.size);
        for direction in &self.basis {
            axpy(-dot(direction, &out), direction, &mut out);
        }
        out
    }
}

/// Orthonormal L'x for x = 1 over the levels of a factor, for each of its random effects, and for
/// the outlying directions.
fn exact_directions(system: &System, outlying: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let size = system.data.reduced_size();
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for factor in &system.data.factors[1..] {
        for a in 0..factor.q {
            let mut v = zeros(size);
            let own = &mut v[factor.offset..factor.offset + factor.n * factor.q];
            own.iter_mut().skip(a).step_by(factor.q).for_each(|value| *value = 1.0);
            extend_basis(&mut basis, transposed_factor(system, v));
        }
    }
    for x in outlying {
        extend_basis(&mut basis, transposed_factor(system, x.clone()));
    }
    basis
}

/// L'x.
fn transposed_factor(system: &System, mut x: Vec<f64>) -> Vec<f64> {
    system.by_factor::<1>(&mut x, |l, q, x| {
        for i in 0..q {
            x[i] = (i..q).map(|j| l[j * q + i] * x[j]).sum();
        }
    });
    x
}

/// Adds what of `v` lies outside the orthonormal `basis` to it.
fn extend_basis(basis: &mut Vec<Vec<f64>>, mut v: Vec<f64>) {
    let before = dot(&v, &v).sqrt();
    for _ in 0..2 {
        for direction in &*basis {
            axpy(-dot(direction, &v), direction, &mut v);
        }
    }
    let norm = dot(&v, &v).sqrt();
    if norm > 1e-8 * before {
        v.iter_mut().for_each(|value| *value /= norm);
        basis.push(v);
    }
}

/// Directions x in which P^-1 S is farthest from 1, by subspace iteration at effects as large as
/// the noise in a level's mean. They serve at every G: the trace is unbiased whatever they are.
#[must_use]
pub fn outlying_directions(system: &System, seed: u64) -> Vec<Vec<f64>> {
    const K: usize = OUTLYING;
    let size = system.data.reduced_size();
    let lead = &system.data.factors[0];
    let mut t = zeros(lead.n * lead.q * K);
    let mut nv = zeros(size * K);
    let mut columns: Vec<Vec<f64>> =
        (0..K).map(|c| signs(seed, (1 << 32) + c as u64, size)).collect();
    let common = exact_directions(system, &[]);
    for _ in 0..SUBSPACE_ITERATIONS {
        check();
        let mut basis = common.clone();
        columns.drain(..).for_each(|column| extend_basis(&mut basis, column));
        let own = &basis[common.len()..];
        let mut x = zeros(size * K);
        for (c, column) in own.iter().enumerate() {
            x.iter_mut().skip(c).step_by(K).zip(column).for_each(|(x, v)| *x = *v);
        }
        system.by_factor::<K>(&mut x, divide_upper::<K>);
        let v = system.scale::<K>(&x, false);
        system.apply::<K>(&v, &mut nv, &mut t, None);
        let mut product = system.scale::<K>(&nv, true);
        product.iter_mut().zip(&x).for_each(|(p, x)| *p += x);
        system.by_factor::<K>(&mut product, divide_lower::<K>);
        for (c, column) in own.iter().enumerate() {
            let values = product.iter().skip(c).step_by(K).zip(column);
            columns.push(values.map(|(p, v)| p - v).collect());
        }
    }
    let mut basis = common.clone();
    columns.drain(..).for_each(|column| extend_basis(&mut basis, column));
    let solved = |mut column: Vec<f64>| {
        system.by_factor::<1>(&mut column, divide_upper::<1>);
        column
    };
    basis.into_iter().skip(common.len()).map(solved).collect()
}

/// Random signs (splitmix64, Steele, Lea and Flood 2014): the same for a seed and column, always.
fn signs(seed: u64, column: u64, size: usize) -> Vec<f64> {
    let start = mix(seed ^ mix(column.wrapping_add(0x9e37_79b9_7f4a_7c15)));
    let mut bits = 0;
    (0..size)
        .map(|i| {
            if i % 64 == 0 {
                bits = mix(start.wrapping_add((i as u64 / 64).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            }
            let sign = if bits & 1 == 0 { 1.0 } else { -1.0 };
            bits >>= 1;
            sign
        })
        .collect()
}

fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
