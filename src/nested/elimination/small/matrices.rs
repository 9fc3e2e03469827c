//! A unit's small matrices.

use crate::linalg::dense::NotPositiveDefinite;
use crate::linalg::lanes::Lane;

/// A K-by-M matrix.
pub(super) type Matrix<V, const K: usize, const M: usize> = [[V; M]; K];

/// Rows [T A] of a unit.
pub(super) struct Rows<V, const Q: usize, const W: usize> {
    pub(super) t: Matrix<V, Q, Q>,
    pub(super) a: Matrix<V, Q, W>,
}

/// A square matrix from its numbers in each lane.
#[inline(always)]
pub(super) fn square<V: Lane, const K: usize>(by_lane: &[&[f64]]) -> Matrix<V, K, K> {
    let mut out = [[V::splat(0.0); K]; K];
    for (lane, values) in by_lane.iter().enumerate() {
        for (row, from) in out.iter_mut().zip(values.chunks_exact(K)) {
            row.iter_mut().zip(from).for_each(|(to, &from)| to.set(lane, from));
        }
    }
    out
}

/// L, D and D^-1 with I + T G T' = L D L', L of unit diagonal.
pub(super) struct Factor<V, const Q: usize> {
    pub(super) l: Matrix<V, Q, Q>,
    pub(super) pivots: [V; Q],
    pub(super) inverse: [V; Q],
}

impl<V: Lane, const Q: usize> Factor<V, Q> {
    #[inline(always)]
    pub(super) fn none() -> Self {
        let zero = V::splat(0.0);
        Self { l: [[zero; Q]; Q], pivots: [zero; Q], inverse: [zero; Q] }
    }

    /// The smallest of `other`, the pivots and their inverses: it is not positive where the unit's
    /// matrix is not positive definite, or too large. What is NaN spreads into all sums.
    #[inline(always)]
    pub(super) fn least(&self, other: V) -> V {
        // Adapters of iterators are not always inlined, and lanes then go through memory.
        let mut out = other;
        for i in 0..Q {
            out = out.least(self.pivots[i]).least(self.inverse[i]);
        }
        out
    }
}

/// That of a unit: without roots, each of which would have to wait for the one before it.
#[inline(always)]
pub(super) fn factor<V: Lane, const Q: usize>(
    t: &Matrix<V, Q, Q>,
    g: &Matrix<V, Q, Q>,
) -> Factor<V, Q> {
    let zero = V::splat(0.0);
    let mut out = Factor::none();
    let mut tg = [[zero; Q]; Q];
    for i in 0..Q {
        for b in 0..Q {
            // T is upper triangular.
            let mut sum = t[i][i] * g[i][b];
            for a in 0..Q {
                if a > i {
                    sum += t[i][a] * g[a][b];
                }
            }
            tg[i][b] = sum;
        }
    }
    for i in 0..Q {
        // L D below the diagonal, as long as it is not known what it is divided by.
        let mut scaled = [zero; Q];
        for j in 0..Q {
            if j <= i {
                let mut sum = V::splat(if i == j { 1.0 } else { 0.0 });
                for b in 0..Q {
                    if b >= j {
                        sum += tg[i][b] * t[j][b];
                    }
                }
                // On the diagonal the row of L is complete.
                for k in 0..Q {
                    if k < j {
                        sum -= scaled[k] * out.l[j][k];
                    }
                }
                scaled[j] = sum;
                if j < i {
                    out.l[i][j] = sum * out.inverse[j];
                }
            }
        }
        out.pivots[i] = scaled[i];
        out.inverse[i] = V::splat(1.0) / out.pivots[i];
    }
    out
}

/// Cholesky factor of the leading part of order `order`, from and into the lower triangle.
#[inline(always)]
pub(super) fn lower_factor<V: Lane, const K: usize>(
    l: &mut Matrix<V, K, K>,
    order: usize,
) -> Result<(), NotPositiveDefinite> {
    let zero = V::splat(0.0);
    for i in 0..order {
        for j in 0..i {
            let s = (0..j).fold(zero, |s, k| s + l[i][k] * l[j][k]);
            l[i][j] = (l[i][j] - s) / l[j][j];
        }
        let pivot = l[i][i] - (0..i).fold(zero, |s, k| s + l[i][k] * l[i][k]);
        if !pivot.is_positive() {
            return Err(NotPositiveDefinite { pivot: i });
        }
        l[i][i] = pivot.root();
    }
    Ok(())
}

/// L^-1 [T A].
#[inline(always)]
pub(super) fn whiten<V: Lane, const Q: usize, const W: usize>(
    by: &Factor<V, Q>,
    rows: &mut Rows<V, Q, W>,
) {
    for i in 0..Q {
        for j in 0..Q {
            if j < i {
                let by = -by.l[i][j];
                for c in 0..Q {
                    let above = rows.t[j][c];
                    rows.t[i][c] += by * above;
                }
                for c in 0..W {
                    let above = rows.a[j][c];
                    rows.a[i][c] += by * above;
                }
            }
        }
    }
}

/// H = T'W^-1 T, U = T'W^-1 A and the lower triangle of A'W^-1 A, which is added to `gram`, from the
/// whitened rows.
#[inline(always)]
pub(super) fn information<V: Lane, const Q: usize, const W: usize>(
    by: &Factor<V, Q>,
    rows: &Rows<V, Q, W>,
    gram: Option<&mut Matrix<V, W, W>>,
) -> (Matrix<V, Q, Q>, Matrix<V, Q, W>) {
    let zero = V::splat(0.0);
    let (mut h, mut u, mut sum) = ([[zero; Q]; Q], [[zero; W]; Q], [[zero; W]; W]);
    for i in 0..Q {
        // Adding to zero is no step that the compiler may leave out.
        let add = |to: &mut V, value: V| *to = if i == 0 { value } else { *to + value };
        for a in 0..Q {
            let by = rows.t[i][a] * by.inverse[i];
            for c in 0..Q {
                if c <= a {
                    add(&mut h[a][c], by * rows.t[i][c]);
                }
            }
            for c in 0..W {
                add(&mut u[a][c], by * rows.a[i][c]);
            }
        }
        for a in 0..W {
            let by = rows.a[i][a] * by.inverse[i];
            for c in 0..W {
                if c <= a {
                    add(&mut sum[a][c], by * rows.a[i][c]);
                }
            }
        }
    }
    for a in 0..Q {
        for c in 0..Q {
            if c < a {
                h[c][a] = h[a][c];
            }
        }
    }
    if let Some(gram) = gram {
        for a in 0..W {
            for c in 0..W {
                if c <= a {
                    gram[a][c] += sum[a][c];
                }
            }
        }
    }
    (h, u)
}

/// Adds U Psi U' to `f` and U e e'U' to `f_rss` (lower triangles); Psi weighs columns of X alone.
#[inline(always)]
pub(super) fn weigh<V: Lane, const Q: usize, const W: usize>(
    u: &Matrix<V, Q, W>,
    psi: &Matrix<V, W, W>,
    e: &[V; W],
    f: &mut Matrix<V, Q, Q>,
    f_rss: &mut Matrix<V, Q, Q>,
) {
    let zero = V::splat(0.0);
    let mut u_e = [zero; Q];
    for a in 0..Q {
        let mut u_psi = [zero; W];
        for i in 0..W - 1 {
            for c in 0..W - 1 {
                u_psi[c] += u[a][i] * psi[i][c];
            }
        }
        u_e[a] = (0..W).fold(zero, |s, i| s + u[a][i] * e[i]);
        for b in 0..Q {
            if b <= a {
                f[a][b] += (0..W - 1).fold(zero, |s, i| s + u_psi[i] * u[b][i]);
                f_rss[a][b] += u_e[a] * u_e[b];
            }
        }
    }
}
