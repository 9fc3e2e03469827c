//! Probe vectors of the stochastic traces.
//!
//! A trace is taken exactly over a few directions Q and by random signs over what is orthogonal to
//! them (Meyer, Musco, Musco and Woodruff 2021, Hutch++; Hutchinson 1990, Commun. Statist. Simul.
//! 19, 433). Q are the directions in which crossed factors are nearly confounded: all levels of a
//! factor moving together. The signs are fixed by the seed (common random numbers).

use super::system::System;
use crate::dense::{axpy, dot};

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
    pub fn new(system: &System, n_random: usize, exact: bool, seed: u64) -> Self {
        let size = system.data.reduced_size();
        let units = exact || size <= n_random;
        let basis = if units { Vec::new() } else { common_directions(system) };
        Self { basis, n_random: if units { size } else { n_random }, units, size, seed }
    }

    /// Number of probe columns.
    #[must_use]
    pub fn len(&self) -> usize {
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
            let mut out = vec![0.0; self.size];
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

/// Orthonormal L'e over the levels of a factor, for each of its random effects.
fn common_directions(system: &System) -> Vec<Vec<f64>> {
    let size = system.data.reduced_size();
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for (j, factor) in system.data.factors.iter().enumerate().skip(1) {
        let q = factor.q;
        for a in 0..q {
            let mut v = vec![0.0; size];
            for level in 0..factor.n {
                // Row a of L is column a of L'.
                let l = &system.factors[j][level * q * q + a * q..][..q];
                v[factor.offset + level * q..][..q].copy_from_slice(l);
            }
            let before = dot(&v, &v).sqrt();
            for _ in 0..2 {
                for direction in &basis {
                    axpy(-dot(direction, &v), direction, &mut v);
                }
            }
            let norm = dot(&v, &v).sqrt();
            if norm > 1e-8 * before {
                v.iter_mut().for_each(|value| *value /= norm);
                basis.push(v);
            }
        }
    }
    basis
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
