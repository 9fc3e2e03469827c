//! The likelihood and its derivatives of a fit in each lane, from the sums over units.

use std::ops::Range;

use super::at::{At, Failed};
use super::matrices::{Matrix, lower_factor, square};
use super::sums::{Derivatives, Kept, Values, derivatives, second, values};
use crate::linalg::dense::{Kernel, NotPositiveDefinite, vectorised};
use crate::linalg::lanes::Lane;
use crate::running::memory::buffer;

/// [`crate::criterion::asked::Asked::Criteria`].
pub(super) fn criteria<V: Lane, const Q: usize, const W: usize, const N: usize>(
    at: &At<'_>,
    slots: &mut [&mut [f64]],
) -> Result<(), Failed> {
    let g = square::<V, Q>(at.g.lanes::<V>());
    let (solved, logdet, kept) = solve::<V, Q, W>(at, &g, at.keeps::<V>())?;
    let (psi, e) = solved.weights(at.reml);
    let by = differentiate::<V, Q, W, N>(at, &g, (&psi, &e), &kept)?;
    put_criteria(at, &by, (&solved, &e), logdet, slots);
    Ok(())
}

/// Puts the criteria together from the sums over units.
pub(super) fn put_criteria<V: Lane, const Q: usize, const W: usize, const N: usize>(
    at: &At<'_>,
    by: &Derivatives<V, Q, W, N>,
    (solved, e): (&Solved<V, W>, &[V; W]),
    logdet: V,
    slots: &mut [&mut [f64]],
) {
    let nu = V::from_lanes(|lane| at.degrees[lane]);
    vectorised(End { by, solved, e, logdet: Some((logdet, nu)), reml: at.reml, slots });
}

/// [`crate::criterion::asked::Asked::Likelihood`].
pub(super) fn likelihood<V: Lane, const Q: usize, const W: usize, const N: usize>(
    at: &At<'_>,
    slots: &mut [&mut [f64]],
) -> Result<(), Failed> {
    let g = square::<V, Q>(at.g.lanes::<V>());
    let (solved, _, kept) = solve::<V, Q, W>(at, &g, at.keeps::<V>())?;
    let (psi, e) = solved.weights(at.reml);
    let by = differentiate::<V, Q, W, N>(at, &g, (&psi, &e), &kept)?;
    vectorised(End { by: &by, solved: &solved, e: &e, logdet: None, reml: at.reml, slots });
    Ok(())
}

/// [`crate::criterion::asked::Asked::Solutions`].
pub(super) fn solutions<V: Lane, const Q: usize, const W: usize, const N: usize>(
    at: &At<'_>,
    slots: &mut [&mut [f64]],
) -> Result<(), Failed> {
    let (solved, logdet, _) = solve::<V, Q, W>(at, &square::<V, Q>(at.g.lanes::<V>()), false)?;
    for i in 0..W - 1 {
        put(slots, 0, W - 1, i, solved.beta[i]);
    }
    put_square::<V, W>(slots, 1, &solved.c);
    for (k, value) in [solved.rss, logdet, solved.logdet_xx].into_iter().enumerate() {
        put(slots, 2, 3, k, value);
    }
    Ok(())
}

/// [`crate::criterion::asked::Asked::SecondSums`].
pub(super) fn second_sums<V: Lane, const Q: usize, const W: usize, const N: usize>(
    at: &At<'_>,
    slots: &mut [&mut [f64]],
) -> Result<(), Failed> {
    let (g, weights) = (square::<V, Q>(at.g.lanes::<V>()), square::<V, N>(at.weights.lanes::<V>()));
    let mut sum = [[V::splat(0.0); W]; W];
    let one = |_, chunk| second::<V, Q, W, N>(&at.units, chunk, &g, &weights);
    for part in at.by_chunk(Q * W * W, one)? {
        for i in 0..W {
            for j in 0..W {
                sum[i][j] += part[i][j];
            }
        }
    }
    put_square::<V, W>(slots, 0, &sum);
    Ok(())
}

/// Puts a number of every lane with a fit to place `at` of one of the slots, which has `size` numbers
/// a fit.
#[inline(always)]
fn put<V: Lane>(slots: &mut [&mut [f64]], slot: usize, size: usize, at: usize, value: V) {
    for lane in 0..V::COUNT {
        if let Some(to) = slots[slot].get_mut(lane * size + at) {
            *to = value.lane(lane);
        }
    }
}

/// Puts the part of a matrix that is over X.
#[inline(always)]
fn put_square<V: Lane, const W: usize>(
    slots: &mut [&mut [f64]],
    slot: usize,
    matrix: &Matrix<V, W, W>,
) {
    let rank = W - 1;
    for i in 0..rank {
        for j in 0..rank {
            put(slots, slot, rank * rank, i * rank + j, matrix[i][j]);
        }
    }
}

/// H and U of the blocks of each chunk.
type KeptChunks<V, const Q: usize, const W: usize> = Vec<Vec<Kept<V, Q, W>>>;

/// Generalised least squares, log|V|, and what derivatives go on from where it is kept.
fn solve<V: Lane, const Q: usize, const W: usize>(
    at: &At<'_>,
    g: &Matrix<V, Q, Q>,
    keeps: bool,
) -> Result<(Solved<V, W>, V, KeptChunks<V, Q, W>), NotPositiveDefinite> {
    let one = |_, chunk: Range<usize>| {
        let n_blocks = |item: usize| at.units.patterns[item].n_blocks;
        let n = if keeps { chunk.clone().map(n_blocks).sum() } else { 0 };
        let mut kept = buffer(n);
        let found = values::<V, Q, W>(&at.units, chunk, g, keeps.then_some(&mut kept))?;
        Ok((found, kept))
    };
    let (mut sums, mut all);
    if let Some(chunk) = at.only_chunk() {
        let kept;
        (sums, kept) = one(0, chunk)?;
        all = if keeps { vec![kept] } else { Vec::new() };
    } else {
        all = Vec::new();
        sums = Values { logdet: V::splat(0.0), gram: [[V::splat(0.0); W]; W] };
        for (part, kept) in at.by_chunk(Q * W * W, one)? {
            sums.logdet += part.logdet;
            for i in 0..W {
                for j in 0..=i {
                    sums.gram[i][j] += part.gram[i][j];
                }
            }
            if keeps {
                all.push(kept);
            }
        }
    }
    let rest = square::<V, W>(at.remainder.lanes::<V>());
    for i in 0..W {
        for j in 0..=i {
            sums.gram[i][j] += rest[i][j];
        }
    }
    Ok((self::solved(&sums.gram)?, sums.logdet, all))
}

fn differentiate<V: Lane, const Q: usize, const W: usize, const N: usize>(
    at: &At<'_>,
    g: &Matrix<V, Q, Q>,
    weights: (&Matrix<V, W, W>, &[V; W]),
    kept: &KeptChunks<V, Q, W>,
) -> Result<Derivatives<V, Q, W, N>, NotPositiveDefinite> {
    let one = |k: usize, chunk| {
        let known = kept.get(k).map(|kept| &kept[..]);
        derivatives::<V, Q, W, N>(&at.units, chunk, g, weights, known)
    };
    if let Some(chunk) = at.only_chunk() {
        return one(0, chunk);
    }
    let mut by = Derivatives::<V, Q, W, N>::zero();
    for part in at.by_chunk(Q * W * (W + N * W), one)? {
        by.add(&part);
    }
    Ok(by)
}

/// Generalised least squares from [X y]'V^-1 [X y].
pub(super) fn solved<V: Lane, const W: usize>(
    gram: &Matrix<V, W, W>,
) -> Result<Solved<V, W>, NotPositiveDefinite> {
    vectorised(SolvedOf { gram })
}

struct SolvedOf<'a, V, const W: usize> {
    gram: &'a Matrix<V, W, W>,
}

impl<V: Lane, const W: usize> Kernel for SolvedOf<'_, V, W> {
    type Output = Result<Solved<V, W>, NotPositiveDefinite>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        Solved::of(self.gram)
    }
}

/// What results are put together from; log|V| and the degrees of freedom of `sigma^2` where the
/// criterion is wanted.
struct End<'a, 'b, 'c, V, const Q: usize, const W: usize, const N: usize> {
    by: &'a Derivatives<V, Q, W, N>,
    solved: &'a Solved<V, W>,
    e: &'a [V; W],
    logdet: Option<(V, V)>,
    reml: bool,
    slots: &'b mut [&'c mut [f64]],
}

impl<V: Lane, const Q: usize, const W: usize, const N: usize> Kernel
    for End<'_, '_, '_, V, Q, W, N>
{
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { by, solved, e, logdet, reml, slots } = self;
        let ends = Ends::of(by, solved, e, reml);
        match logdet {
            Some((logdet, nu)) => ends.write(solved, logdet, nu, reml, slots),
            None => ends.write_parts(by, solved, slots),
        }
    }
}

/// Generalised least squares, as [`crate::criterion::solution::Solution`]; matrices over X lead.
pub(super) struct Solved<V, const W: usize> {
    beta: [V; W],
    c: Matrix<V, W, W>,
    rss: V,
    logdet_xx: V,
}

impl<V: Lane, const W: usize> Solved<V, W> {
    #[inline(always)]
    fn of(gram: &Matrix<V, W, W>) -> Result<Self, NotPositiveDefinite> {
        let (zero, one, rank) = (V::splat(0.0), V::splat(1.0), W - 1);
        let mut l = *gram;
        lower_factor::<V, W>(&mut l, rank)?;
        let (mut half, mut inverse) = ([zero; W], [[zero; W]; W]);
        for i in 0..rank {
            let scale = one / l[i][i];
            half[i] = (0..i).fold(gram[rank][i], |s, j| s - l[i][j] * half[j]) * scale;
            inverse[i][i] = one;
            for j in 0..i {
                for c in 0..=j {
                    let above = inverse[j][c];
                    inverse[i][c] -= l[i][j] * above;
                }
            }
            inverse[i].iter_mut().for_each(|value| *value *= scale);
        }
        let rss = gram[rank][rank] - (0..rank).fold(zero, |s, i| s + half[i] * half[i]);
        if !rss.is_positive() {
            return Err(NotPositiveDefinite { pivot: rank });
        }
        let (mut beta, mut c) = ([zero; W], [[zero; W]; W]);
        for k in 0..rank {
            for i in 0..rank {
                beta[i] += half[k] * inverse[k][i];
                for j in 0..rank {
                    c[i][j] += inverse[k][i] * inverse[k][j];
                }
            }
        }
        let logs = (0..rank).fold(zero, |sum, i| sum + l[i][i].log());
        Ok(Self { beta, c, rss, logdet_xx: V::splat(2.0) * logs })
    }

    /// Psi and e: how the criterion weighs [X y]'V^-1 [X y].
    #[inline(always)]
    pub(super) fn weights(&self, reml: bool) -> (Matrix<V, W, W>, [V; W]) {
        let mut e = self.beta.map(|b| -b);
        e[W - 1] = V::splat(1.0);
        (if reml { self.c } else { [[V::splat(0.0); W]; W] }, e)
    }
}

/// Derivatives of the log-determinants and of y'Py.
struct Ends<V, const N: usize> {
    logdet: [V; N],
    logdet_second: Matrix<V, N, N>,
    rss: [V; N],
    rss_second: Matrix<V, N, N>,
}

impl<V: Lane, const N: usize> Ends<V, N> {
    /// As [`crate::criterion::derivatives::LikelihoodDerivatives`] has them.
    #[inline(always)]
    fn of<const Q: usize, const W: usize>(
        by: &Derivatives<V, Q, W, N>,
        solved: &Solved<V, W>,
        e: &[V; W],
        reml: bool,
    ) -> Self {
        let (zero, rank) = (V::splat(0.0), W - 1);
        let c = &solved.c;
        let mut out = Self {
            logdet: [zero; N],
            logdet_second: [[zero; N]; N],
            rss: [zero; N],
            rss_second: [[zero; N]; N],
        };
        let (mut v, mut c_v) = ([[zero; W]; N], [[zero; W]; N]);
        let mut c_d = [[[zero; W]; W]; N];
        for k in 0..N {
            let at = |i: usize, j: usize| by.gram[k][i.max(j)][i.min(j)];
            for i in 0..W {
                v[k][i] = (0..W).fold(zero, |s, j| s + at(i, j) * e[j]);
                out.rss[k] += v[k][i] * e[i];
            }
            out.logdet[k] = by.trace(k);
            for i in 0..rank {
                c_v[k][i] = (0..rank).fold(zero, |s, j| s + c[i][j] * v[k][j]);
                for j in 0..rank {
                    c_d[k][i][j] = (0..rank).fold(zero, |s, m| s + c[i][m] * at(m, j));
                }
            }
            if reml {
                out.logdet[k] += (0..rank).fold(zero, |s, i| s + c_d[k][i][i]);
            }
            for l in 0..=k {
                (out.logdet_second[k][l], out.rss_second[k][l]) = by.second(k, l);
                let shared = (0..rank).fold(zero, |s, i| s + c_v[k][i] * v[l][i]);
                out.rss_second[k][l] -= V::splat(2.0) * shared;
                if reml {
                    for i in 0..rank {
                        let row = (0..rank).fold(zero, |s, j| s + c_d[k][j][i] * c_d[l][i][j]);
                        out.logdet_second[k][l] -= row;
                    }
                }
            }
        }
        out
    }

    /// The criterion profiled over sigma^2, as [`crate::criterion::derivatives::assemble`] has it.
    #[inline(always)]
    fn write<const W: usize>(
        &self,
        solved: &Solved<V, W>,
        logdet: V,
        nu: V,
        reml: bool,
        slots: &mut [&mut [f64]],
    ) {
        let rss = solved.rss;
        let tau = V::splat(2.0 * std::f64::consts::PI);
        let mut value = logdet + nu * (V::splat(1.0) + (tau * rss / nu).log());
        if reml {
            value += solved.logdet_xx;
        }
        let weight = nu / rss;
        for k in 0..N {
            let gradient = self.logdet[k] + weight * self.rss[k];
            put(slots, 1, N, k, gradient);
            for l in 0..=k {
                let t = self.logdet_second[k][l];
                let observed = t + weight * self.rss_second[k][l]
                    - nu * self.rss[k] * self.rss[l] / (rss * rss);
                let expected = -t - self.logdet[k] * self.logdet[l] / nu;
                for at in [k * N + l, l * N + k] {
                    put(slots, 2, N * N, at, observed);
                    put(slots, 3, N * N, at, expected);
                }
            }
        }
        put(slots, 0, 1, 0, value);
    }

    /// As they are, with the derivatives of X'V^-1 X and its inverse.
    #[inline(always)]
    fn write_parts<const Q: usize, const W: usize>(
        &self,
        by: &Derivatives<V, Q, W, N>,
        solved: &Solved<V, W>,
        slots: &mut [&mut [f64]],
    ) {
        let rank = W - 1;
        let square = rank * rank;
        for k in 0..N {
            put(slots, 0, N, k, self.logdet[k]);
            put(slots, 2, N, k, self.rss[k]);
            for l in 0..=k {
                for at in [k * N + l, l * N + k] {
                    put(slots, 1, N * N, at, self.logdet_second[k][l]);
                    put(slots, 3, N * N, at, self.rss_second[k][l]);
                }
            }
            for i in 0..rank {
                for j in 0..rank {
                    let value = by.gram[k][i.max(j)][i.min(j)];
                    put(slots, 4, N * square, k * square + i * rank + j, value);
                }
            }
        }
        put_square::<V, W>(slots, 5, &solved.c);
        put(slots, 6, 1, 0, solved.rss);
    }
}
