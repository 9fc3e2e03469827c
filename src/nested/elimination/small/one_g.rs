//! Many responses of one design at one G: what depends on G and on X alone is found once.
//!
//! Each response's numbers are those it has alone, to the bit: the same operations in the same order,
//! but that those which would be done again for each are done once.

use super::at::{At, Failed};
use super::likelihood::{put_criteria, solved};
use super::matrices::{Matrix, factor, information, square, whiten};
use super::sums::{Derivatives, PLACES, Values, derivatives, paired, values};
use super::units::Units;
use crate::linalg::dense::{Kernel, vectorised};
use crate::linalg::lanes::Lane;

/// A block without its response.
struct Block<const Q: usize, const W: usize> {
    /// L of its unit, below the diagonal.
    l: Matrix<f64, Q, Q>,
    inverse: [f64; Q],
    /// Whitened rows of T, divided by pivots, and of X.
    t: Matrix<f64, Q, Q>,
    x: Matrix<f64, Q, W>,
    h: Matrix<f64, Q, Q>,
    u: Matrix<f64, Q, W>,
}

/// What responses share.
pub(super) struct Shared<const Q: usize, const W: usize, const N: usize> {
    blocks: Vec<Block<Q, W>>,
    values: Values<f64, W>,
    by: Derivatives<f64, Q, W, N>,
}

impl<const Q: usize, const W: usize, const N: usize> Shared<Q, W, N> {
    /// From any of the responses, of units in one chunk.
    pub(super) fn of(at: &At<'_>) -> Result<Self, Failed> {
        let chunk = at.only_chunk().ok_or(Failed)?;
        let g = square::<f64, Q>(at.g.lanes::<f64>());
        let mut kept = Vec::new();
        let values = values::<f64, Q, W>(&at.units, chunk.clone(), &g, Some(&mut kept))?;
        let (psi, e) = solved(&with_remainder(at, &values.gram))?.weights(at.reml);
        let by = derivatives(&at.units, chunk.clone(), &g, (&psi, &e), Some(&kept))?;
        let mut blocks = Vec::with_capacity(kept.len());
        for pattern in &at.units.patterns[chunk] {
            let mut l = None;
            for b in pattern.first..pattern.first + pattern.n_blocks {
                let mut rows = at.units.rows::<f64, Q, W>(b);
                let l = l.get_or_insert_with(|| factor(&rows.t, &g));
                whiten(l, &mut rows);
                let (h, u) = information(l, &rows, None);
                let mut t = rows.t;
                for (row, inverse) in t.iter_mut().zip(l.inverse) {
                    row.iter_mut().for_each(|value| *value *= inverse);
                }
                blocks.push(Block { l: l.l, inverse: l.inverse, t, x: rows.a, h, u });
            }
        }
        Ok(Self { blocks, values, by })
    }

    /// [`super::likelihood::criteria`] of a response in each lane.
    pub(super) fn criteria<V: Lane>(
        &self,
        at: &At<'_>,
        slots: &mut [&mut [f64]],
    ) -> Result<(), Failed> {
        let mut along = Vec::with_capacity(self.blocks.len());
        let gram = vectorised(Gram { of: self, units: &at.units, along: &mut along });
        let solved = solved(&with_remainder(at, &gram))?;
        let (_, e) = solved.weights(at.reml);
        let by = vectorised(By { of: self, units: &at.units, along: &along, e: &e });
        put_criteria(at, &by, (&solved, &e), V::splat(self.values.logdet), slots);
        Ok(())
    }
}

fn with_remainder<V: Lane, const W: usize>(at: &At<'_>, gram: &Matrix<V, W, W>) -> Matrix<V, W, W> {
    let (mut out, rest) = (*gram, square::<V, W>(at.remainder.lanes::<V>()));
    for i in 0..W {
        for j in 0..=i {
            out[i][j] += rest[i][j];
        }
    }
    out
}

/// [X y]'V^-1 [X y] of units, and T'W^-1 y of each block.
struct Gram<'a, V, const Q: usize, const W: usize, const N: usize> {
    of: &'a Shared<Q, W, N>,
    units: &'a Units<'a>,
    along: &'a mut Vec<[V; Q]>,
}

impl<V: Lane, const Q: usize, const W: usize, const N: usize> Kernel for Gram<'_, V, Q, W, N> {
    type Output = Matrix<V, W, W>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        let Self { of, units, along } = self;
        let mut last = [V::splat(0.0); W];
        let blocks = units.patterns.iter().flat_map(|own| own.first..own.first + own.n_blocks);
        for (own, b) in of.blocks.iter().zip(blocks) {
            let lanes = units.responses::<V, Q>(b);
            let mut y = [V::splat(0.0); Q];
            for i in 0..Q {
                y[i] = V::from_lanes(|lane| lanes[lane][i]);
                for j in 0..Q {
                    if j < i {
                        let above = y[j];
                        y[i] += V::splat(-own.l[i][j]) * above;
                    }
                }
            }
            let (mut u, mut sum) = ([V::splat(0.0); Q], [V::splat(0.0); W]);
            for i in 0..Q {
                // As `information` adds.
                let add = |to: &mut V, value: V| *to = if i == 0 { value } else { *to + value };
                for a in 0..Q {
                    add(&mut u[a], V::splat(own.t[i][a]) * y[i]);
                }
                let by = y[i] * V::splat(own.inverse[i]);
                for c in 0..W - 1 {
                    add(&mut sum[c], by * V::splat(own.x[i][c]));
                }
                add(&mut sum[W - 1], by * y[i]);
            }
            for c in 0..W {
                last[c] += sum[c];
            }
            along.push(u);
        }
        let mut gram = splat(&of.values.gram);
        gram[W - 1] = last;
        gram
    }
}

/// Derivatives of sums over units.
struct By<'a, V, const Q: usize, const W: usize, const N: usize> {
    of: &'a Shared<Q, W, N>,
    units: &'a Units<'a>,
    along: &'a [[V; Q]],
    e: &'a [V; W],
}

impl<V: Lane, const Q: usize, const W: usize, const N: usize> Kernel for By<'_, V, Q, W, N> {
    type Output = Derivatives<V, Q, W, N>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        let Self { of, units, along, e } = self;
        let zero = V::splat(0.0);
        let mut out = Derivatives::zero();
        out.hessian = splat(&of.by.hessian);
        for k in 0..N {
            out.gram[k] = splat(&of.by.gram[k]);
            out.traces[k] = V::splat(of.by.traces[k]);
        }
        let mut last = [[zero; W]; N];
        let mut blocks = of.blocks.iter().zip(along);
        for pattern in units.patterns {
            let (mut h, mut f) = ([[zero; Q]; Q], [[zero; Q]; Q]);
            for (own, along) in blocks.by_ref().take(pattern.n_blocks) {
                let mut u = splat(&own.u);
                for a in 0..Q {
                    u[a][W - 1] = along[a];
                }
                h = splat(&own.h);
                add_last(&u, &mut last);
                add_squares(&u, e, &mut f);
            }
            add_second(&h, &f, &mut out.hessian_rss);
        }
        for k in 0..N {
            out.gram[k][W - 1] = last[k];
        }
        out
    }
}

/// The same matrix in every lane.
#[inline(always)]
fn splat<V: Lane, const K: usize, const M: usize>(matrix: &Matrix<f64, K, M>) -> Matrix<V, K, M> {
    let mut out = [[V::splat(0.0); M]; K];
    for i in 0..K {
        for j in 0..M {
            out[i][j] = V::splat(matrix[i][j]);
        }
    }
    out
}

/// Takes off the last rows of derivatives of [X y]'V^-1 [X y].
#[inline(always)]
fn add_last<V: Lane, const Q: usize, const W: usize, const N: usize>(
    u: &Matrix<V, Q, W>,
    last: &mut Matrix<V, N, W>,
) {
    for k in 0..N {
        let (a, b) = PLACES[k];
        for j in 0..W {
            last[k][j] -= if a == b {
                u[a][W - 1] * u[a][j]
            } else {
                u[a][W - 1] * u[b][j] + u[b][W - 1] * u[a][j]
            };
        }
    }
}

/// Adds U e e'U', whole.
#[inline(always)]
fn add_squares<V: Lane, const Q: usize, const W: usize>(
    u: &Matrix<V, Q, W>,
    e: &[V; W],
    f: &mut Matrix<V, Q, Q>,
) {
    let mut u_e = [V::splat(0.0); Q];
    for a in 0..Q {
        for i in 0..W {
            u_e[a] += u[a][i] * e[i];
        }
    }
    for a in 0..Q {
        for b in 0..Q {
            // One triangle is the other's, to the bit.
            f[a][b] += u_e[a] * u_e[b];
        }
    }
}

/// Second derivatives of e'[X y]'V^-1 [X y] e.
#[inline(always)]
fn add_second<V: Lane, const Q: usize, const N: usize>(
    h: &Matrix<V, Q, Q>,
    f: &Matrix<V, Q, Q>,
    hessian: &mut Matrix<V, N, N>,
) {
    for k in 0..N {
        for l in 0..N {
            if l <= k {
                hessian[k][l] += paired(h, f, PLACES[k], PLACES[l]);
            }
        }
    }
}
