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

/// L with I + T G T' = L L'.
#[inline(always)]
pub(super) fn factor<V: Lane, const Q: usize>(
    t: &Matrix<V, Q, Q>,
    g: &Matrix<V, Q, Q>,
) -> Result<Matrix<V, Q, Q>, NotPositiveDefinite> {
    let zero = V::splat(0.0);
    let mut l = [[zero; Q]; Q];
    for i in 0..Q {
        for j in 0..=i {
            let mut s = V::splat(if i == j { 1.0 } else { 0.0 });
            // T is upper triangular.
            for a in i..Q {
                for b in j..Q {
                    s += t[i][a] * g[a][b] * t[j][b];
                }
            }
            l[i][j] = s;
        }
    }
    lower_factor::<V, Q>(&mut l, Q)?;
    Ok(l)
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
    l: &Matrix<V, Q, Q>,
    rows: &mut Rows<V, Q, W>,
) {
    for i in 0..Q {
        for j in 0..i {
            let by = -l[i][j];
            for c in 0..Q {
                let above = rows.t[j][c];
                rows.t[i][c] += by * above;
            }
            for c in 0..W {
                let above = rows.a[j][c];
                rows.a[i][c] += by * above;
            }
        }
        let inverse = V::splat(1.0) / l[i][i];
        rows.t[i].iter_mut().for_each(|value| *value *= inverse);
        rows.a[i].iter_mut().for_each(|value| *value *= inverse);
    }
}

/// H = T'W^-1 T and U = T'W^-1 A from the whitened rows.
#[inline(always)]
pub(super) fn information<V: Lane, const Q: usize, const W: usize>(
    rows: &Rows<V, Q, W>,
) -> (Matrix<V, Q, Q>, Matrix<V, Q, W>) {
    let zero = V::splat(0.0);
    let (mut h, mut u) = ([[zero; Q]; Q], [[zero; W]; Q]);
    for i in 0..Q {
        for a in 0..Q {
            let by = rows.t[i][a];
            for c in 0..Q {
                h[a][c] += by * rows.t[i][c];
            }
            for c in 0..W {
                u[a][c] += by * rows.a[i][c];
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
        for b in 0..=a {
            f[a][b] += (0..W - 1).fold(zero, |s, i| s + u_psi[i] * u[b][i]);
            f_rss[a][b] += u_e[a] * u_e[b];
        }
    }
}
