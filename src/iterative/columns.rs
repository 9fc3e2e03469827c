//! Blocks of right-hand sides: what goes into the solver and what comes out of it.

use super::blocks::CHUNK_LEVELS;
use super::conjugate_gradients::{Stop, Tridiagonal, solve};
use super::coupling::{couple, small_product};
use super::system::System;
use crate::criterion::engine::Unsolved;
use crate::linalg::dense::block;
use crate::linalg::small::{add, divide_upper, multiply_lower};
use crate::running::memory::{copied, zeros};
use crate::running::threads;

/// K columns: of some the products with data, of others a probe of the trace.
pub struct Right {
    /// `Z_1`'`W_1`^-1 d by level of the leading factor; 0 for a probe.
    pub lead: Vec<f64>,
    /// Z'`W_1`^-1 d of the other factors; 0 for a probe.
    pub rest: Vec<f64>,
    /// The probe, in coordinates where the preconditioner is the identity; 0 for data.
    pub probe: Vec<f64>,
    /// Which columns are probes.
    pub is_probe: Vec<bool>,
}

/// What the solution says.
pub struct Products {
    /// `Z_1`'W^-1 d.
    pub lead: Vec<f64>,
    /// Z'W^-1 d of the other factors.
    pub rest: Vec<f64>,
    /// Lambda S^-1 Lambda' (Z'`W_1`^-1 d).
    pub solution: Vec<f64>,
    /// Per column.
    pub tridiagonals: Vec<Tridiagonal>,
    /// Per column and factor, the trace correction of a probe, `q` x `q`, symmetric.
    pub corrections: Vec<Vec<Vec<f64>>>,
    /// Iterations taken.
    pub n_iterations: usize,
}

impl Right {
    /// Columns of zeros.
    #[must_use]
    pub fn zeros<const K: usize>(system: &System) -> Self {
        let lead = &system.data.factors[0];
        let m = system.data.reduced_size();
        Self {
            lead: zeros(lead.n * lead.q * K),
            rest: zeros(m * K),
            probe: zeros(m * K),
            is_probe: vec![false; K],
        }
    }

    /// Products of `W_1`^-1 d from those with d itself: `lead` and `rest` hold Z'd on entry.
    pub fn whiten<const K: usize>(&mut self, system: &System) {
        let mut t = copied(&self.lead);
        system.eliminate_lead::<K>(&mut t);
        system.add_lead_gram::<K>(&t, &mut self.lead);
        self.reach::<K>(system, &t);
    }

    /// Adds to `rest` what the leading factor's effects `t` give.
    pub fn reach<const K: usize>(&mut self, system: &System, t: &[f64]) {
        let mut sources: Vec<Option<&[f64]>> = vec![None; system.data.factors.len()];
        sources[0] = Some(t);
        for j in 1..system.data.factors.len() {
            couple::<K>(system.data, j, &sources, &mut self.rest[system.stretch(j, K)]);
        }
    }

    /// Solves, and forms the products with W^-1.
    ///
    /// # Errors
    /// [`Unsolved`].
    pub fn solve<const K: usize>(self, system: &System, stop: Stop) -> Result<Products, Unsolved> {
        let Self { mut lead, mut rest, mut probe, is_probe } = self;
        let mut b = copied(&probe);
        system.by_factor::<K>(&mut b, multiply_lower::<K>);
        b.iter_mut().zip(system.scale::<K>(&rest, true)).for_each(|(b, d)| *b += d);
        let solved = solve::<K>(system, b, stop)?;
        let solution = system.scale::<K>(&solved.x, false);
        drop(solved.x);
        let mut reached = zeros(solution.len());
        let (mut t, mut c) = (zeros(lead.len()), Vec::new());
        system.apply::<K>(&solution, &mut reached, &mut t, Some(&mut c));
        rest.iter_mut().zip(&reached).for_each(|(r, n)| *r -= n);
        lead.iter_mut().zip(&c).for_each(|(l, c)| *l -= c);
        let mut corrections = vec![Vec::new(); K];
        if is_probe.contains(&true) {
            system.by_factor::<K>(&mut probe, divide_upper::<K>);
            let start = system.scale::<K>(&probe, false);
            let (mut reached_start, mut c_start) = (zeros(start.len()), Vec::new());
            system.apply::<K>(&start, &mut reached_start, &mut t, Some(&mut c_start));
            c.iter_mut().zip(&c_start).for_each(|(x, w)| *x -= w);
            let q = system.data.factors[0].q;
            push_products::<K>(&c, &c_start, q, &mut corrections);
            drop((c, c_start));
            for j in 1..system.data.factors.len() {
                let (q, own) = (system.data.factors[j].q, system.stretch(j, K));
                outside_blocks::<K>(system, j, &solution[own.clone()], &mut reached[own.clone()]);
                let start = &start[own.clone()];
                outside_blocks::<K>(system, j, start, &mut reached_start[own.clone()]);
                let (a, b) = (&reached[own.clone()], &reached_start[own]);
                push_products::<K>(a, b, q, &mut corrections);
            }
        }
        Ok(Products {
            lead,
            rest,
            solution,
            tridiagonals: solved.tridiagonals,
            corrections,
            n_iterations: solved.n_iterations,
        })
    }
}

/// n <- (I + N G)^-1 (n - N v), N the level's own block: what the other levels contribute.
fn outside_blocks<const K: usize>(system: &System, j: usize, v: &[f64], n: &mut [f64]) {
    let q = system.data.factors[j].q;
    let size = CHUNK_LEVELS * q * K;
    threads::each(n.chunks_mut(size).zip(v.chunks(size)).enumerate(), |(chunk, (n, v))| {
        let (mut own, mut through) = (zeros(q * K), zeros(q * K));
        let levels = n.chunks_exact_mut(q * K).zip(v.chunks_exact(q * K));
        for (i, (n, v)) in levels.enumerate() {
            let level = chunk * CHUNK_LEVELS + i;
            let blocks = &system.blocks[j][block(level, q * q)];
            let middle = &system.middles[j][block(level, q * q)];
            small_product::<K>(blocks, q, q, v, &mut own);
            n.iter_mut().zip(&own).for_each(|(n, o)| *n -= o);
            small_product::<K>(middle, q, q, n, &mut through);
            small_product::<K>(blocks, q, q, &through, &mut own);
            n.iter_mut().zip(&own).for_each(|(n, o)| *n -= o);
        }
    });
}

/// Pushes, for each column, the symmetric part of the sum over levels of a b'.
fn push_products<const K: usize>(a: &[f64], b: &[f64], q: usize, out: &mut [Vec<Vec<f64>>]) {
    let size = CHUNK_LEVELS * q * K;
    let parts = threads::map(a.chunks(size).zip(b.chunks(size)), |(a, b)| {
        let mut sums = zeros(q * q * K);
        for (a, b) in a.chunks_exact(q * K).zip(b.chunks_exact(q * K)) {
            for i in 0..q {
                for j in 0..q {
                    let (a, b) = (&a[i * K..][..K], &b[j * K..][..K]);
                    let sum = &mut sums[(i * q + j) * K..][..K];
                    for c in 0..K {
                        sum[c] += a[c] * b[c];
                    }
                }
            }
        }
        sums
    });
    let mut total = zeros(q * q * K);
    for part in parts {
        for at in 0..q * q {
            add::<K>(1.0, &part[at * K..], &mut total[at * K..]);
        }
    }
    for (c, out) in out.iter_mut().enumerate() {
        let half = |i: usize, j: usize| 0.5 * total[(i * q + j) * K + c];
        out.push((0..q * q).map(|at| half(at / q, at % q) + half(at % q, at / q)).collect());
    }
}
