//! One level of few random effects and few columns, with sizes known to the compiler.
//!
//! The steps, and the order of every sum, are those of the general pass, so the bits are too; loops
//! of known length cost a fifth.

use std::ops::Range;

use super::state::Elimination;
use crate::criterion::sums::{Entry, Sums};
use crate::linalg::dense::NotPositiveDefinite;
use crate::nested::patterns::Pattern;

/// Most random effects, and columns of [X y], with code of their own.
const MOST_EFFECTS: usize = 3;
const MOST_COLUMNS: usize = 6;

/// Rows [T A] of a unit.
struct Rows<const Q: usize, const W: usize> {
    t: [[f64; Q]; Q],
    a: [[f64; W]; Q],
}

/// Calls a method with the sizes as constants; the caller has looked that they are small.
macro_rules! with_sizes {
    ($self:ident, $method:ident, $($argument:expr),*) => {
        match $self.reduction.levels[0].q {
            1 => with_sizes!(@ $self, $method, ($($argument),*), 1, 1),
            2 => with_sizes!(@ $self, $method, ($($argument),*), 2, 3),
            3 => with_sizes!(@ $self, $method, ($($argument),*), 3, 6),
            _ => unreachable!("the order of G was looked at"),
        }
    };
    (@ $self:ident, $method:ident, $arguments:tt, $q:literal, $n:literal) => {
        with_sizes!(# $self, $method, $arguments, $q, $n; 1, 2, 3, 4, 5, 6)
    };
    (# $self:ident, $method:ident, $arguments:tt, $q:literal, $n:literal; $($w:literal),*) => {
        match $self.width[0] {
            $($w => with_sizes!(! $self, $method, $arguments, $q, $w, $n),)*
            _ => unreachable!("the number of columns was looked at"),
        }
    };
    (! $self:ident, $method:ident, ($($argument:expr),*), $q:literal, $w:literal, $n:literal) => {
        $self.$method::<$q, $w, $n>($($argument),*)
    };
}

impl Elimination<'_> {
    /// Is there one level of random effects whose sizes have code of their own?
    pub(crate) fn is_small(&self) -> bool {
        let [level] = &self.reduction.levels[..] else { return false };
        let plain = !level.is_residual && level.series.is_none();
        plain
            && (1..=MOST_EFFECTS).contains(&level.q)
            && (1..=MOST_COLUMNS).contains(&self.width[0])
    }

    /// The same, where all entries of G are free.
    pub(crate) fn is_small_and_free(&self) -> bool {
        self.is_small() && is_lower(self.entries, self.reduction.levels[0].q)
    }

    /// `values` of some patterns.
    pub(crate) fn small_values(
        &self,
        items: Range<usize>,
        sums: &mut Sums,
    ) -> Result<(), NotPositiveDefinite> {
        with_sizes!(self, values_of, items, sums)
    }

    /// `derivatives` of some patterns.
    pub(crate) fn small_derivatives(
        &self,
        items: Range<usize>,
        psi: &[f64],
        e: &[f64],
        sums: &mut Sums,
    ) -> Result<(), NotPositiveDefinite> {
        with_sizes!(self, derivatives_of, items, psi, e, sums)
    }

    #[inline(always)]
    fn rows<const Q: usize, const W: usize>(&self, b: usize) -> Rows<Q, W> {
        let blocks = &self.reduction.levels[0];
        let columns = Q + W - 1;
        let n_blocks = blocks.design.len() / (Q * columns);
        let design = &blocks.design[b * Q * columns..(b + 1) * Q * columns];
        let response = &blocks.response[(self.fit * n_blocks + b) * Q..][..Q];
        let mut rows = Rows { t: [[0.0; Q]; Q], a: [[0.0; W]; Q] };
        for i in 0..Q {
            let row = &design[i * columns..(i + 1) * columns];
            rows.t[i].copy_from_slice(&row[..Q]);
            rows.a[i][..W - 1].copy_from_slice(&row[Q..]);
            rows.a[i][W - 1] = response[i];
        }
        rows
    }

    #[inline(always)]
    fn values_of<const Q: usize, const W: usize, const N: usize>(
        &self,
        items: Range<usize>,
        sums: &mut Sums,
    ) -> Result<(), NotPositiveDefinite> {
        let g = square::<Q>(&self.g[0]);
        let mut gram = [[0.0; W]; W];
        for item in items {
            let Pattern { first, n_blocks, count, .. } = self.reduction.patterns[item];
            let (mut l, mut logdet) = ([[0.0; Q]; Q], 0.0);
            for b in first..first + n_blocks {
                let mut rows = self.rows::<Q, W>(b);
                if b == first {
                    (l, logdet) = factor(&rows.t, &g)?;
                }
                whiten(&l, &mut rows);
                for row in &rows.a {
                    for i in 0..W {
                        for j in 0..=i {
                            gram[i][j] += row[i] * row[j];
                        }
                    }
                }
            }
            sums.logdet += count as f64 * logdet;
        }
        for i in 0..W {
            for j in 0..=i {
                sums.gram[i * W + j] += gram[i][j];
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn derivatives_of<const Q: usize, const W: usize, const N: usize>(
        &self,
        items: Range<usize>,
        psi: &[f64],
        e: &[f64],
        sums: &mut Sums,
    ) -> Result<(), NotPositiveDefinite> {
        let g = square::<Q>(&self.g[0]);
        let psi = square::<W>(psi);
        let Ok(e) = <[f64; W]>::try_from(e) else { unreachable!("e has a number a column") };
        let mut own = Accumulated::<Q, W, N>::new();
        for item in items {
            let Pattern { first, n_blocks, count, .. } = self.reduction.patterns[item];
            let (mut l, mut logdet) = ([[0.0; Q]; Q], 0.0);
            let (mut h, mut f, mut f_rss) = ([[0.0; Q]; Q], [[0.0; Q]; Q], [[0.0; Q]; Q]);
            for b in first..first + n_blocks {
                let mut rows = self.rows::<Q, W>(b);
                if b == first {
                    (l, logdet) = factor(&rows.t, &g)?;
                }
                whiten(&l, &mut rows);
                let u;
                (h, u) = information(&rows);
                own.add_tangents(&u, &h, if b == first { count as f64 } else { 0.0 });
                weigh(&u, &psi, &e, &mut f, &mut f_rss);
            }
            for i in 0..Q {
                for j in 0..i {
                    f[j][i] = f[i][j];
                    f_rss[j][i] = f_rss[i][j];
                }
            }
            own.add_second(&h, &f, &f_rss, count as f64);
            sums.logdet += count as f64 * logdet;
        }
        own.add_to(sums);
        Ok(())
    }
}

/// Derivatives by the lower triangle of G, N = Q (Q + 1) / 2 of them, without the weights of the
/// entries: these are powers of two, so sums have the same bits with them and without.
struct Accumulated<const Q: usize, const W: usize, const N: usize> {
    gram: [[[f64; W]; W]; N],
    traces: [f64; N],
    hessian: [[f64; N]; N],
    hessian_rss: [[f64; N]; N],
}

impl<const Q: usize, const W: usize, const N: usize> Accumulated<Q, W, N> {
    fn new() -> Self {
        Self {
            gram: [[[0.0; W]; W]; N],
            traces: [0.0; N],
            hessian: [[0.0; N]; N],
            hessian_rss: [[0.0; N]; N],
        }
    }

    #[inline(always)]
    fn add_tangents(&mut self, u: &[[f64; W]; Q], h: &[[f64; Q]; Q], count: f64) {
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
        h: &[[f64; Q]; Q],
        f: &[[f64; Q]; Q],
        f_rss: &[[f64; Q]; Q],
        count: f64,
    ) {
        let mut k = 0;
        for a in 0..Q {
            for b in 0..=a {
                let mut l = 0;
                for c in 0..=a {
                    for d in 0..=c {
                        if l <= k {
                            let (ac, ad, bc, bd) = (h[a][c], h[a][d], h[b][c], h[b][d]);
                            let cross = |f: &[[f64; Q]; Q]| {
                                bc * f[a][d] + bd * f[a][c] + ac * f[b][d] + ad * f[b][c]
                            };
                            self.hessian[k][l] += cross(f) - count * (ac * bd + ad * bc);
                            self.hessian_rss[k][l] += cross(f_rss);
                            l += 1;
                        }
                    }
                }
                k += 1;
            }
        }
    }

    fn add_to(&self, sums: &mut Sums) {
        let weight = |k: usize| if is_diagonal(k) { 0.5 } else { 1.0 };
        for k in 0..N {
            for i in 0..W {
                for j in 0..=i {
                    sums.gram_by[(k * W + i) * W + j] += self.gram[k][i][j];
                }
            }
            sums.logdet_by[k] += 2.0 * weight(k) * self.traces[k];
            for l in 0..=k {
                let twice = 2.0 * (weight(k) * weight(l));
                sums.hessian[k * N + l] += twice * self.hessian[k][l];
                sums.hessian_rss[k * N + l] += twice * self.hessian_rss[k][l];
            }
        }
    }
}

/// Whether the k-th entry of a lower triangle, row by row, stands on the diagonal.
fn is_diagonal(k: usize) -> bool {
    matches!(k, 0 | 2 | 5)
}

/// Are the entries the lower triangle of one G of order `q`, row by row?
fn is_lower(entries: &[Entry], q: usize) -> bool {
    let all = (0..q).flat_map(|a| (0..=a).map(move |b| (a, b)));
    entries.len() == q * (q + 1) / 2
        && all.zip(entries).all(|((a, b), entry)| (entry.level, entry.a, entry.b) == (0, a, b))
}

#[inline(always)]
fn square<const N: usize>(values: &[f64]) -> [[f64; N]; N] {
    let mut out = [[0.0; N]; N];
    for (row, from) in out.iter_mut().zip(values.chunks_exact(N)) {
        row.copy_from_slice(from);
    }
    out
}

/// L with I + T G T' = L L', and log|L L'|.
#[inline(always)]
fn factor<const Q: usize>(
    t: &[[f64; Q]; Q],
    g: &[[f64; Q]; Q],
) -> Result<([[f64; Q]; Q], f64), NotPositiveDefinite> {
    let mut l = [[0.0; Q]; Q];
    for i in 0..Q {
        for j in 0..=i {
            let mut s = if i == j { 1.0 } else { 0.0 };
            // T is upper triangular.
            for a in i..Q {
                for b in j..Q {
                    s += t[i][a] * g[a][b] * t[j][b];
                }
            }
            l[i][j] = s;
        }
    }
    for i in 0..Q {
        for j in 0..i {
            let s: f64 = (0..j).fold(0.0, |s, k| s + l[i][k] * l[j][k]);
            l[i][j] = (l[i][j] - s) / l[j][j];
        }
        let pivot = l[i][i] - (0..i).fold(0.0, |s, k| s + l[i][k] * l[i][k]);
        // Written so that NaN fails too.
        if pivot > 0.0 && pivot.is_finite() {
            l[i][i] = pivot.sqrt();
        } else {
            return Err(NotPositiveDefinite { pivot: i });
        }
    }
    let logs = (0..Q).map(|i| l[i][i].ln()).sum::<f64>();
    Ok((l, 2.0 * logs))
}

/// L^-1 [T A].
#[inline(always)]
fn whiten<const Q: usize, const W: usize>(l: &[[f64; Q]; Q], rows: &mut Rows<Q, W>) {
    for i in 0..Q {
        for j in 0..i {
            let by = -l[i][j];
            for c in 0..Q {
                rows.t[i][c] += by * rows.t[j][c];
            }
            for c in 0..W {
                rows.a[i][c] += by * rows.a[j][c];
            }
        }
        let inverse = 1.0 / l[i][i];
        rows.t[i].iter_mut().for_each(|value| *value *= inverse);
        rows.a[i].iter_mut().for_each(|value| *value *= inverse);
    }
}

/// H = T'W^-1 T and U = T'W^-1 A from the whitened rows.
#[inline(always)]
fn information<const Q: usize, const W: usize>(
    rows: &Rows<Q, W>,
) -> ([[f64; Q]; Q], [[f64; W]; Q]) {
    let (mut h, mut u) = ([[0.0; Q]; Q], [[0.0; W]; Q]);
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

/// Adds U Psi U' to `f` and U e e'U' to `f_rss` (lower triangles).
#[inline(always)]
fn weigh<const Q: usize, const W: usize>(
    u: &[[f64; W]; Q],
    psi: &[[f64; W]; W],
    e: &[f64; W],
    f: &mut [[f64; Q]; Q],
    f_rss: &mut [[f64; Q]; Q],
) {
    let mut u_e = [0.0; Q];
    for a in 0..Q {
        let mut u_psi = [0.0; W];
        for i in 0..W {
            for c in 0..W {
                u_psi[c] += u[a][i] * psi[i][c];
            }
        }
        u_e[a] = (0..W).fold(0.0, |s, i| s + u[a][i] * e[i]);
        for b in 0..=a {
            f[a][b] += (0..W).fold(0.0, |s, i| s + u_psi[i] * u[b][i]);
            f_rss[a][b] += u_e[a] * u_e[b];
        }
    }
}
