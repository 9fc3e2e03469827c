//! Sums over units: values, first and second derivatives.

use std::ops::Range;

use super::matrices::{Factor, Matrix, factor, information, weigh, whiten};
use super::product::Product;
use super::units::Units;
use crate::linalg::dense::{Kernel, NotPositiveDefinite, vectorised};
use crate::linalg::lanes::Lane;
use crate::nested::patterns::Pattern;

/// log|V| and [X y]'V^-1 [X y] (lower triangle) of some units.
pub(super) struct Values<V, const W: usize> {
    pub(super) logdet: V,
    pub(super) gram: Matrix<V, W, W>,
}

/// H and U of a block.
pub(super) type Kept<V, const Q: usize, const W: usize> = (Matrix<V, Q, Q>, Matrix<V, Q, W>);

/// Those of some patterns; what derivatives go on from is put into `kept`.
pub(super) fn values<V: Lane, const Q: usize, const W: usize>(
    units: &Units<'_>,
    items: Range<usize>,
    g: &Matrix<V, Q, Q>,
    kept: Option<&mut Vec<Kept<V, Q, W>>>,
) -> Result<Values<V, W>, NotPositiveDefinite> {
    vectorised(ValuesOf::<V, Q, W> { units, items, g, kept })
}

struct ValuesOf<'a, V, const Q: usize, const W: usize> {
    units: &'a Units<'a>,
    items: Range<usize>,
    g: &'a Matrix<V, Q, Q>,
    kept: Option<&'a mut Vec<Kept<V, Q, W>>>,
}

impl<V: Lane, const Q: usize, const W: usize> Kernel for ValuesOf<'_, V, Q, W> {
    type Output = Result<Values<V, W>, NotPositiveDefinite>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        let Self { units, items, g, mut kept } = self;
        let zero = V::splat(0.0);
        let mut out = Values { logdet: zero, gram: [[zero; W]; W] };
        let (mut pivots, mut least) = (Product::<V>::one(), V::splat(1.0));
        for item in items {
            let Pattern { first, n_blocks, count, .. } = units.patterns[item];
            let mut l = Factor::none();
            for b in first..first + n_blocks {
                let mut rows = units.rows::<V, Q, W>(b);
                if b == first {
                    l = factor(&rows.t, g);
                    least = l.least(least);
                }
                whiten(&l, &mut rows);
                let found = information(&l, &rows, Some(&mut out.gram));
                if let Some(kept) = &mut kept {
                    kept.push(found);
                }
            }
            if count == 1 {
                for i in 0..Q {
                    pivots.times(l.pivots[i]);
                }
            } else {
                let logs = (0..Q).fold(zero, |sum, i| sum + l.pivots[i].log());
                out.logdet += V::splat(count as f64) * logs;
            }
        }
        out.logdet += pivots.log();
        definite(out, least)
    }
}

/// First derivatives of some patterns, and second ones under the weights `psi` and `e`; from what
/// [`values`] kept of their blocks, where it did.
pub(super) fn derivatives<V: Lane, const Q: usize, const W: usize, const N: usize>(
    units: &Units<'_>,
    items: Range<usize>,
    g: &Matrix<V, Q, Q>,
    (psi, e): (&Matrix<V, W, W>, &[V; W]),
    kept: Option<&[Kept<V, Q, W>]>,
) -> Result<Derivatives<V, Q, W, N>, NotPositiveDefinite> {
    vectorised(DerivativesOf::<V, Q, W, N> { units, items, g, psi, e, kept })
}

struct DerivativesOf<'a, V, const Q: usize, const W: usize, const N: usize> {
    units: &'a Units<'a>,
    items: Range<usize>,
    g: &'a Matrix<V, Q, Q>,
    psi: &'a Matrix<V, W, W>,
    e: &'a [V; W],
    kept: Option<&'a [Kept<V, Q, W>]>,
}

impl<V: Lane, const Q: usize, const W: usize, const N: usize> Kernel
    for DerivativesOf<'_, V, Q, W, N>
{
    type Output = Result<Derivatives<V, Q, W, N>, NotPositiveDefinite>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        let Self { units, items, g, psi, e, kept } = self;
        let zero = V::splat(0.0);
        let mut out = Derivatives::<V, Q, W, N>::zero();
        let (mut kept, mut least) = (kept.map(<[_]>::iter), V::splat(1.0));
        for item in items {
            let Pattern { first, n_blocks, count, .. } = units.patterns[item];
            let count = V::splat(count as f64);
            let (mut l, mut h) = (Factor::none(), [[zero; Q]; Q]);
            let (mut f, mut f_rss) = ([[zero; Q]; Q], [[zero; Q]; Q]);
            for b in first..first + n_blocks {
                let u;
                if let Some(&known) = kept.as_mut().and_then(Iterator::next) {
                    (h, u) = known;
                } else {
                    let mut rows = units.rows::<V, Q, W>(b);
                    if b == first {
                        l = factor(&rows.t, g);
                        least = l.least(least);
                    }
                    whiten(&l, &mut rows);
                    (h, u) = information(&l, &rows, None);
                }
                out.add_tangents(&u, &h, if b == first { count } else { zero });
                weigh(&u, psi, e, &mut f, &mut f_rss);
            }
            for i in 0..Q {
                for j in 0..i {
                    f[j][i] = f[i][j];
                    f_rss[j][i] = f_rss[i][j];
                }
            }
            out.add_second(&h, &f, &f_rss, count);
        }
        definite(out, least)
    }
}

/// `sum_kl w_kl U'(E_k H E_l + E_l H E_k) U` over some patterns: second derivatives of
/// [X y]'V^-1 [X y] with weights.
pub(super) fn second<V: Lane, const Q: usize, const W: usize, const N: usize>(
    units: &Units<'_>,
    items: Range<usize>,
    g: &Matrix<V, Q, Q>,
    weights: &Matrix<V, N, N>,
) -> Result<Matrix<V, W, W>, NotPositiveDefinite> {
    vectorised(SecondOf::<V, Q, W, N> { units, items, g, weights })
}

struct SecondOf<'a, V, const Q: usize, const W: usize, const N: usize> {
    units: &'a Units<'a>,
    items: Range<usize>,
    g: &'a Matrix<V, Q, Q>,
    weights: &'a Matrix<V, N, N>,
}

impl<V: Lane, const Q: usize, const W: usize, const N: usize> Kernel for SecondOf<'_, V, Q, W, N> {
    type Output = Result<Matrix<V, W, W>, NotPositiveDefinite>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        let Self { units, items, g, weights } = self;
        let zero = V::splat(0.0);
        let (mut out, mut least) = ([[zero; W]; W], V::splat(1.0));
        for item in items {
            let Pattern { first, n_blocks, .. } = units.patterns[item];
            let (mut l, mut middle) = (Factor::none(), [[zero; Q]; Q]);
            for b in first..first + n_blocks {
                let mut rows = units.rows::<V, Q, W>(b);
                if b == first {
                    l = factor(&rows.t, g);
                    least = l.least(least);
                }
                whiten(&l, &mut rows);
                let (h, u) = information(&l, &rows, None);
                if b == first {
                    middle = middle_of(&h, weights);
                }
                for a in 0..Q {
                    let mut along = [zero; W];
                    for c in 0..Q {
                        for i in 0..W {
                            along[i] += middle[a][c] * u[c][i];
                        }
                    }
                    for i in 0..W {
                        for j in 0..W {
                            out[i][j] += u[a][i] * along[j];
                        }
                    }
                }
            }
        }
        definite(out, least)
    }
}

/// What was found, if all pivots were positive.
#[inline(always)]
fn definite<V: Lane, T>(found: T, least: V) -> Result<T, NotPositiveDefinite> {
    if least.is_positive() { Ok(found) } else { Err(NotPositiveDefinite { pivot: 0 }) }
}

/// `sum_kl w_kl (E_k H E_l + E_l H E_k)` over the lower triangle of G.
#[inline(always)]
fn middle_of<V: Lane, const Q: usize, const N: usize>(
    h: &Matrix<V, Q, Q>,
    weights: &Matrix<V, N, N>,
) -> Matrix<V, Q, Q> {
    let zero = V::splat(0.0);
    let mut half = [[zero; Q]; Q];
    let mut k = 0;
    for a in 0..Q {
        for b in 0..=a {
            // H sum_l w_kl E_l.
            let mut product = [[zero; Q]; Q];
            let mut l = 0;
            for c in 0..Q {
                for d in 0..=c {
                    for i in 0..Q {
                        product[i][d] += h[i][c] * weights[k][l];
                        if c != d {
                            product[i][c] += h[i][d] * weights[k][l];
                        }
                    }
                    l += 1;
                }
            }
            for j in 0..Q {
                half[a][j] += product[b][j];
                if a != b {
                    half[b][j] += product[a][j];
                }
            }
            k += 1;
        }
    }
    let mut out = [[zero; Q]; Q];
    for i in 0..Q {
        for j in 0..Q {
            out[i][j] = half[i][j] + half[j][i];
        }
    }
    out
}

/// Derivatives by the lower triangle of G, N = Q (Q + 1) / 2 of them, without the weights of the
/// entries: these are powers of two, so sums have the same bits with them and without.
pub(super) struct Derivatives<V, const Q: usize, const W: usize, const N: usize> {
    pub(super) gram: [Matrix<V, W, W>; N],
    pub(super) traces: [V; N],
    pub(super) hessian: Matrix<V, N, N>,
    pub(super) hessian_rss: Matrix<V, N, N>,
}

impl<V: Lane, const Q: usize, const W: usize, const N: usize> Derivatives<V, Q, W, N> {
    #[inline(always)]
    pub(super) fn zero() -> Self {
        let zero = V::splat(0.0);
        Self {
            gram: [[[zero; W]; W]; N],
            traces: [zero; N],
            hessian: [[zero; N]; N],
            hessian_rss: [[zero; N]; N],
        }
    }

    /// Adds the sums over other units.
    #[inline(always)]
    pub(super) fn add(&mut self, other: &Self) {
        for k in 0..N {
            for i in 0..W {
                for j in 0..=i {
                    self.gram[k][i][j] += other.gram[k][i][j];
                }
            }
            self.traces[k] += other.traces[k];
            for l in 0..=k {
                self.hessian[k][l] += other.hessian[k][l];
                self.hessian_rss[k][l] += other.hessian_rss[k][l];
            }
        }
    }

    /// Derivative of log|V| by an entry.
    #[inline(always)]
    pub(super) fn trace(&self, k: usize) -> V {
        V::splat(2.0 * weight(k)) * self.traces[k]
    }

    /// Second derivatives by two entries of log|V| + <Psi, gram>, and of e' gram e.
    #[inline(always)]
    pub(super) fn second(&self, k: usize, l: usize) -> (V, V) {
        let two = V::splat(2.0);
        (two * self.hessian[k][l], two * self.hessian_rss[k][l])
    }

    #[inline(always)]
    fn add_tangents(&mut self, u: &Matrix<V, Q, W>, h: &Matrix<V, Q, Q>, count: V) {
        for k in 0..N {
            self.add_tangent(k, PLACES[k], u, h, count);
        }
    }

    #[inline(always)]
    fn add_tangent(
        &mut self,
        k: usize,
        (a, b): (usize, usize),
        u: &Matrix<V, Q, W>,
        h: &Matrix<V, Q, Q>,
        count: V,
    ) {
        for i in 0..W {
            for j in 0..W {
                if j <= i {
                    self.gram[k][i][j] -= if a == b {
                        u[a][i] * u[a][j]
                    } else {
                        u[a][i] * u[b][j] + u[b][i] * u[a][j]
                    };
                }
            }
        }
        self.traces[k] += count * h[a][b];
    }

    #[inline(always)]
    fn add_second(
        &mut self,
        h: &Matrix<V, Q, Q>,
        f: &Matrix<V, Q, Q>,
        f_rss: &Matrix<V, Q, Q>,
        count: V,
    ) {
        // What log|V| takes off is the same form in H: -(H x H) = H x (-H / 2) + (-H / 2) x H.
        let half = V::splat(-0.5) * count;
        let mut both = *f;
        for a in 0..Q {
            for b in 0..Q {
                both[a][b] += half * h[a][b];
            }
        }
        for k in 0..N {
            for l in 0..N {
                if l <= k {
                    self.add_pair((k, l), PLACES[k], PLACES[l], h, &both, f_rss);
                }
            }
        }
    }

    #[inline(always)]
    fn add_pair(
        &mut self,
        (k, l): (usize, usize),
        one: (usize, usize),
        other: (usize, usize),
        h: &Matrix<V, Q, Q>,
        f: &Matrix<V, Q, Q>,
        f_rss: &Matrix<V, Q, Q>,
    ) {
        self.hessian[k][l] += paired(h, f, one, other);
        self.hessian_rss[k][l] += paired(h, f_rss, one, other);
    }
}

/// Rows and columns of a lower triangle, row by row.
pub(super) const PLACES: [(usize, usize); 6] = [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)];

/// `H_bc F_ad + H_bd F_ac + H_ac F_bd + H_ad F_bc`, halved for each of the pairs whose two are one.
#[inline(always)]
pub(super) fn paired<V: Lane, const Q: usize>(
    h: &Matrix<V, Q, Q>,
    f: &Matrix<V, Q, Q>,
    (a, b): (usize, usize),
    (c, d): (usize, usize),
) -> V {
    match (a == b, c == d) {
        (true, true) => h[a][c] * f[a][c],
        (true, false) => h[a][c] * f[a][d] + h[a][d] * f[a][c],
        (false, true) => h[b][c] * f[a][c] + h[a][c] * f[b][c],
        (false, false) => {
            (h[b][c] * f[a][d] + h[b][d] * f[a][c]) + (h[a][c] * f[b][d] + h[a][d] * f[b][c])
        }
    }
}

/// Weight of the k-th entry of a lower triangle, row by row: a half on the diagonal.
#[inline(always)]
fn weight(k: usize) -> f64 {
    if matches!(k, 0 | 2 | 5) { 0.5 } else { 1.0 }
}
