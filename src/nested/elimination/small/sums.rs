//! Sums over units: values, first and second derivatives.

use std::ops::Range;

use super::matrices::{Matrix, factor, information, weigh, whiten};
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
        let mut pivots = Product::<V>::one();
        for item in items {
            let Pattern { first, n_blocks, count, .. } = units.patterns[item];
            let mut l = [[zero; Q]; Q];
            for b in first..first + n_blocks {
                let mut rows = units.rows::<V, Q, W>(b);
                if b == first {
                    l = factor(&rows.t, g)?;
                }
                whiten(&l, &mut rows);
                for row in &rows.a {
                    for i in 0..W {
                        for j in 0..=i {
                            out.gram[i][j] += row[i] * row[j];
                        }
                    }
                }
                if let Some(kept) = &mut kept {
                    kept.push(information(&rows));
                }
            }
            if count == 1 {
                (0..Q).for_each(|i| pivots.times(l[i][i]));
            } else {
                let logs = (0..Q).fold(zero, |sum, i| sum + l[i][i].log());
                out.logdet += V::splat(count as f64) * (V::splat(2.0) * logs);
            }
        }
        out.logdet += V::splat(2.0) * pivots.log();
        Ok(out)
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
        let mut kept = kept.map(<[_]>::iter);
        for item in items {
            let Pattern { first, n_blocks, count, .. } = units.patterns[item];
            let count = V::splat(count as f64);
            let (mut l, mut h) = ([[zero; Q]; Q], [[zero; Q]; Q]);
            let (mut f, mut f_rss) = ([[zero; Q]; Q], [[zero; Q]; Q]);
            for b in first..first + n_blocks {
                let u;
                if let Some(&known) = kept.as_mut().and_then(Iterator::next) {
                    (h, u) = known;
                } else {
                    let mut rows = units.rows::<V, Q, W>(b);
                    if b == first {
                        l = factor(&rows.t, g)?;
                    }
                    whiten(&l, &mut rows);
                    (h, u) = information(&rows);
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
        Ok(out)
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
        let mut out = [[zero; W]; W];
        for item in items {
            let Pattern { first, n_blocks, .. } = units.patterns[item];
            let (mut l, mut middle) = ([[zero; Q]; Q], [[zero; Q]; Q]);
            for b in first..first + n_blocks {
                let mut rows = units.rows::<V, Q, W>(b);
                if b == first {
                    l = factor(&rows.t, g)?;
                }
                whiten(&l, &mut rows);
                let (h, u) = information(&rows);
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
        Ok(out)
    }
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
    traces: [V; N],
    hessian: Matrix<V, N, N>,
    hessian_rss: Matrix<V, N, N>,
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
        let twice = V::splat(2.0 * (weight(k) * weight(l)));
        (twice * self.hessian[k][l], twice * self.hessian_rss[k][l])
    }

    #[inline(always)]
    fn add_tangents(&mut self, u: &Matrix<V, Q, W>, h: &Matrix<V, Q, Q>, count: V) {
        let mut k = 0;
        for a in 0..Q {
            for b in 0..=a {
                for i in 0..W {
                    for j in 0..=i {
                        self.gram[k][i][j] -= if a == b {
                            u[a][i] * u[a][j]
                        } else {
                            u[a][i] * u[b][j] + u[b][i] * u[a][j]
                        };
                    }
                }
                self.traces[k] += count * h[a][b];
                k += 1;
            }
        }
    }

    #[inline(always)]
    fn add_second(
        &mut self,
        h: &Matrix<V, Q, Q>,
        f: &Matrix<V, Q, Q>,
        f_rss: &Matrix<V, Q, Q>,
        count: V,
    ) {
        let mut k = 0;
        for a in 0..Q {
            for b in 0..=a {
                let mut l = 0;
                for c in 0..=a {
                    for d in 0..=c {
                        if l <= k {
                            let (ac, ad, bc, bd) = (h[a][c], h[a][d], h[b][c], h[b][d]);
                            let first = bc * f[a][d] + bd * f[a][c] + ac * f[b][d] + ad * f[b][c];
                            self.hessian[k][l] += first - count * (ac * bd + ad * bc);
                            let f = f_rss;
                            self.hessian_rss[k][l] +=
                                bc * f[a][d] + bd * f[a][c] + ac * f[b][d] + ad * f[b][c];
                            l += 1;
                        }
                    }
                }
                k += 1;
            }
        }
    }
}

/// Weight of the k-th entry of a lower triangle, row by row: a half on the diagonal.
#[inline(always)]
fn weight(k: usize) -> f64 {
    if matches!(k, 0 | 2 | 5) { 0.5 } else { 1.0 }
}
