//! Preconditioned conjugate gradients for K right-hand sides at once, with the Lanczos coefficients
//! that each leaves behind.
//!
//! References: Hestenes and Stiefel (1952), J. Res. NBS 49, 409; Golub and Meurant (2010), Matrices,
//! Moments and Quadrature with Applications, chapters 4 and 12.

use super::coupling::{pieces, small_product};
use super::system::System;
use crate::criterion::engine::Unsolved;
use crate::linalg::dense::{block, vectorised};
use crate::linalg::small::{add, divide_lower, divide_upper, transpose};
use crate::running::memory::{copied, zeros};
use crate::running::stop::check;
use crate::running::threads;

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// Residual over right-hand side, in the norm of P^-1.
    pub tolerance: f64,
    /// Most iterations.
    pub max_iter: usize,
}

/// Lanczos coefficients of one column: the tridiagonal matrix of P^-1/2 S P^-1/2 that starts at
/// P^-1/2 b.
#[derive(Clone, Debug, Default)]
pub struct Tridiagonal {
    /// Squared norm of the start.
    pub weight: f64,
    /// Diagonal.
    pub diagonal: Vec<f64>,
    /// Off the diagonal, one shorter.
    pub off: Vec<f64>,
}

/// Solutions of a block of columns.
pub struct Solved {
    /// S^-1 b.
    pub x: Vec<f64>,
    /// By column.
    pub tridiagonals: Vec<Tridiagonal>,
    /// Iterations of the slowest column.
    pub n_iterations: usize,
}

type Sums<const K: usize> = [f64; K];

fn total<const K: usize>(parts: &[Sums<K>]) -> Sums<K> {
    let mut out = [0.0; K];
    for part in parts {
        add::<K>(1.0, part, &mut out);
    }
    out
}

/// Solves S x = b for the K columns of `b`; a column of zeros costs nothing.
///
/// # Errors
/// [`Unsolved`].
pub fn solve<const K: usize>(
    system: &System,
    mut r: Vec<f64>,
    stop: Stop,
) -> Result<Solved, Unsolved> {
    let size = r.len();
    let lead = &system.data.factors[0];
    let mut t = zeros(lead.n * lead.q * K);
    let (mut x, mut nv) = (zeros(size), zeros(size));
    let mut z = copied(&r);
    let mut rho = precondition::<K>(system, &r, &mut z);
    let start = rho;
    let mut p = copied(&z);
    let mut v = zeros(size);
    let mut beta = [0.0; K];
    let mut last = ([1.0; K], [0.0; K]);
    let mut tridiagonals: Vec<Tridiagonal> =
        (0..K).map(|c| Tridiagonal { weight: start[c], ..Tridiagonal::default() }).collect();
    let limit = stop.tolerance * stop.tolerance;
    let going = |rho: &Sums<K>| -> Vec<usize> {
        (0..K).filter(|&c| rho[c] > limit * start[c] && start[c] > 0.0).collect()
    };
    let mut active = going(&rho);
    let mut n_iterations = 0;
    while !active.is_empty() {
        check();
        if n_iterations == stop.max_iter {
            let worst = active.iter().map(|&c| (rho[c] / start[c]).sqrt()).fold(0.0, f64::max);
            return Err(Unsolved::NotConverged(n_iterations, worst));
        }
        n_iterations += 1;
        direction::<K>(system, &z, &beta, &mut p, &mut v);
        system.apply::<K>(&v, &mut nv, &mut t, None);
        let curvature = finish_product::<K>(system, &p, &mut nv);
        let mut alpha = [0.0; K];
        for &c in &active {
            if curvature[c].is_nan() || curvature[c] <= 0.0 {
                return Err(Unsolved::NotPositiveDefinite);
            }
            alpha[c] = rho[c] / curvature[c];
        }
        step::<K>(&alpha, &p, &nv, &mut x, &mut r);
        let next = precondition::<K>(system, &r, &mut z);
        beta = [0.0; K];
        for &c in &active {
            let column = &mut tridiagonals[c];
            column.diagonal.push(1.0 / alpha[c] + last.1[c] / last.0[c]);
            beta[c] = next[c] / rho[c];
            last.0[c] = alpha[c];
            last.1[c] = beta[c];
            column.off.push(beta[c].sqrt() / alpha[c]);
            rho[c] = next[c];
        }
        let before = active;
        active = going(&rho).into_iter().filter(|c| before.contains(c)).collect();
    }
    for column in &mut tridiagonals {
        column.off.pop();
    }
    Ok(Solved { x, tridiagonals, n_iterations })
}

/// z = P^-1 r; returns r'z by column.
fn precondition<const K: usize>(system: &System, r: &[f64], z: &mut [f64]) -> Sums<K> {
    let sizes: Vec<usize> = system.sizes::<K>().collect();
    let mut at = 0;
    let starts: Vec<usize> = sizes
        .iter()
        .map(|size| {
            at += size;
            at - size
        })
        .collect();
    let tasks = pieces(z, sizes.iter().copied());
    let parts: Vec<Sums<K>> = threads::map(
        tasks.into_iter().zip(&system.chunks).zip(&starts),
        |((z, &(j, first, _)), &at)| {
            let q = system.data.factors[j].q;
            let r = &r[at..at + z.len()];
            vectorised(|| {
                let mut sum = [0.0; K];
                z.copy_from_slice(r);
                let levels = z.chunks_exact_mut(q * K).zip(r.chunks_exact(q * K));
                for (i, (z, r)) in levels.enumerate() {
                    let l = &system.factors[j][block(first + i, q * q)];
                    divide_lower::<K>(l, q, z);
                    divide_upper::<K>(l, q, z);
                    for a in 0..q {
                        let (z, r) = (&z[a * K..][..K], &r[a * K..][..K]);
                        for c in 0..K {
                            sum[c] += z[c] * r[c];
                        }
                    }
                }
                sum
            })
        },
    );
    total(&parts)
}

/// p <- z + beta p, v = Lambda p.
fn direction<const K: usize>(
    system: &System,
    z: &[f64],
    beta: &Sums<K>,
    p: &mut [f64],
    v: &mut [f64],
) {
    let mut at = 0;
    let starts: Vec<usize> = system
        .sizes::<K>()
        .map(|size| {
            at += size;
            at - size
        })
        .collect();
    let (ps, vs) = (pieces(p, system.sizes::<K>()), pieces(v, system.sizes::<K>()));
    let tasks = ps.into_iter().zip(vs).zip(&system.chunks).zip(starts);
    threads::each(tasks, |(((p, v), &(j, _, _)), at)| {
        let q = system.data.factors[j].q;
        let z = &z[at..at + p.len()];
        vectorised(|| {
            for (p, z) in p.chunks_exact_mut(K).zip(z.chunks_exact(K)) {
                for c in 0..K {
                    p[c] = z[c] + beta[c] * p[c];
                }
            }
            for (v, p) in v.chunks_exact_mut(q * K).zip(p.chunks_exact(q * K)) {
                small_product::<K>(&system.roots[j], q, q, p, v);
            }
        });
    });
}

/// nv <- p + Lambda'nv, the product S p; returns p'S p by column.
fn finish_product<const K: usize>(system: &System, p: &[f64], nv: &mut [f64]) -> Sums<K> {
    let mut at = 0;
    let starts: Vec<usize> = system
        .sizes::<K>()
        .map(|size| {
            at += size;
            at - size
        })
        .collect();
    let roots: Vec<Vec<f64>> = (0..system.roots.len())
        .map(|j| transpose(&system.roots[j], system.data.factors[j].q, system.data.factors[j].q))
        .collect();
    let tasks = pieces(nv, system.sizes::<K>());
    let parts: Vec<Sums<K>> = threads::map(
        tasks.into_iter().zip(&system.chunks).zip(starts),
        |((nv, &(j, _, _)), at)| {
            let q = system.data.factors[j].q;
            let p = &p[at..at + nv.len()];
            vectorised(|| {
                let mut sum = [0.0; K];
                let mut out = vec![0.0; q * K];
                for (nv, p) in nv.chunks_exact_mut(q * K).zip(p.chunks_exact(q * K)) {
                    small_product::<K>(&roots[j], q, q, nv, &mut out);
                    for a in 0..q {
                        let nv = &mut nv[a * K..][..K];
                        let (p, out) = (&p[a * K..][..K], &out[a * K..][..K]);
                        for c in 0..K {
                            nv[c] = p[c] + out[c];
                            sum[c] += p[c] * nv[c];
                        }
                    }
                }
                sum
            })
        },
    );
    total(&parts)
}

/// x <- x + alpha p, r <- r - alpha q.
fn step<const K: usize>(alpha: &Sums<K>, p: &[f64], q: &[f64], x: &mut [f64], r: &mut [f64]) {
    const SIZE: usize = 4096;
    let changed = x.chunks_mut(SIZE * K).zip(r.chunks_mut(SIZE * K));
    let read = p.chunks(SIZE * K).zip(q.chunks(SIZE * K));
    threads::each(changed.zip(read), |((x, r), (p, q))| {
        vectorised(|| {
            let rows = x.chunks_exact_mut(K).zip(r.chunks_exact_mut(K));
            for ((x, r), (p, q)) in rows.zip(p.chunks_exact(K).zip(q.chunks_exact(K))) {
                for c in 0..K {
                    x[c] += alpha[c] * p[c];
                    r[c] -= alpha[c] * q[c];
                }
            }
        });
    });
}
