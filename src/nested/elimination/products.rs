//! Products of a unit's small matrices.

use super::workspace::NodeLayout;
use crate::linalg::dense::{axpy, block, cholesky, dot, solve_lower};
use crate::linalg::small::product;

/// I - H G.
pub(crate) fn i_minus_hg(q: usize, h: &[f64], g: &[f64]) -> Vec<f64> {
    let mut out = product(h, g, q, q, q);
    for (i, value) in out.iter_mut().enumerate() {
        *value = f64::from(u8::from(i % (q + 1) == 0)) - *value;
    }
    out
}

/// A M A' for square A and M.
pub(crate) fn sandwich(a: &[f64], m: &[f64], q: usize) -> Vec<f64> {
    let am = product(a, m, q, q, q);
    let mut out = vec![0.0; q * q];
    for i in 0..q {
        for j in 0..q {
            out[i * q + j] = dot(&am[block(i, q)], &a[block(j, q)]);
        }
    }
    out
}

/// S = R'(I + R T'T R')^-1 R for G = R'R.
pub(crate) fn conditional_covariance(root: &[f64], t: &[f64], q: usize, s: &mut [f64]) {
    s.fill(0.0);
    if q == 1 {
        let scaled = root[0] * t[0];
        s[0] = root[0] * root[0] / (1.0 + scaled * scaled);
        return;
    }
    // Rows of R T'; their products are those of R T'T R'.
    let mut rows = vec![0.0; q * q];
    let mut k = vec![0.0; q * q];
    for i in 0..q {
        for j in 0..q {
            rows[i * q + j] = dot(&root[block(i, q)], &t[block(j, q)]);
        }
        for j in 0..=i {
            let one = f64::from(u8::from(i == j));
            k[i * q + j] = one + dot(&rows[block(i, q)], &rows[block(j, q)]);
        }
    }
    if cholesky(&mut k, q).is_err() {
        // Only where T has overflowed.
        s.fill(f64::NAN);
        return;
    }
    let mut half = root.to_vec();
    solve_lower(&k, q, &mut half, q);
    for row in half.chunks_exact(q) {
        for a in 0..q {
            axpy(row[a], row, &mut s[block(a, q)]);
        }
    }
}

/// H = T'W^-1 T and U = T'W^-1 A from the whitened rows [T A].
#[inline(always)]
pub(crate) fn information(rows: &[f64], q: usize, w: usize, h: &mut [f64], u: &mut [f64]) {
    h.fill(0.0);
    u.fill(0.0);
    for row in rows.chunks_exact(q + w).take(q) {
        for a in 0..q {
            axpy(row[a], &row[..q], &mut h[block(a, q)]);
            axpy(row[a], &row[q..], &mut u[block(a, w)]);
        }
    }
}

/// U = T'W^-1 A from the whitened rows [T A].
#[inline(always)]
pub(crate) fn half_information(rows: &[f64], q: usize, w: usize, u: &mut [f64]) {
    u.fill(0.0);
    for row in rows.chunks_exact(q + w).take(q) {
        for a in 0..q {
            axpy(row[a], &row[q..], &mut u[block(a, w)]);
        }
    }
}

/// Adds U Psi U' to `f` and U e e'U' to `f_rss` (lower triangles).
#[inline(always)]
#[allow(clippy::too_many_arguments)] // two products of the same matrices in one visit
pub(crate) fn weigh(
    u: &[f64],
    q: usize,
    w: usize,
    psi: &[f64],
    e: &[f64],
    row: &mut [f64],
    f: &mut [f64],
    f_rss: &mut [f64],
) {
    let row = &mut row[..w + q];
    for a in 0..q {
        let (u_psi, u_e) = row.split_at_mut(w);
        u_psi.fill(0.0);
        for (i, &value) in u[block(a, w)].iter().enumerate() {
            axpy(value, &psi[block(i, w)], u_psi);
        }
        u_e[a] = dot(&u[block(a, w)], e);
        for b in 0..=a {
            f[a * q + b] += dot(u_psi, &u[block(b, w)]);
            f_rss[a * q + b] += u_e[a] * u_e[b];
        }
    }
}

/// y <- y + alpha x for two disjoint stretches of one slice, x before y.
pub(crate) fn axpy_within(data: &mut [f64], alpha: f64, x: usize, y: usize, n: usize) {
    let (head, tail) = data.split_at_mut(y);
    axpy(alpha, &head[x..x + n], &mut tail[..n]);
}

/// Adds J'`M_k` J to `into` (lower triangle), keeps what `descend` needs; returns tr(S `M_k,ZZ`).
pub(crate) fn pull_back(
    layout: NodeLayout,
    k: usize,
    m_k: &[f64],
    node: &mut [f64],
    into: &mut [f64],
) -> f64 {
    let NodeLayout { q, w, .. } = layout;
    let size = q + w;
    let j = node[layout.j()].to_vec();
    let mut p = vec![0.0; q * w];
    for a in 0..q {
        let p_a = &mut p[block(a, w)];
        p_a.copy_from_slice(&m_k[a * size + q..(a + 1) * size]);
        for b in 0..q {
            axpy(m_k[a * size + b], &j[block(b, w)], p_a);
        }
    }
    for i in 0..w {
        let row = &mut into[i * w..i * w + i + 1];
        axpy(1.0, &m_k[(q + i) * size + q..][..=i], row);
        for a in 0..q {
            axpy(j[a * w + i], &p[a * w..a * w + i + 1], row);
            axpy(m_k[(q + i) * size + a], &j[a * w..a * w + i + 1], row);
        }
    }
    node[layout.p(k)].copy_from_slice(&p);
    let mut trace = 0.0;
    for a in 0..q {
        let m_zz = &m_k[a * size..a * size + q];
        trace += dot(&node[layout.s()][block(a, q)], m_zz);
        node[layout.m_zz(k)][block(a, q)].copy_from_slice(m_zz);
    }
    trace
}

/// Adds the lower triangle of U'M U for a symmetric M.
pub(crate) fn add_quadratic(u: &[f64], m: &[f64], q: usize, w: usize, into: &mut [f64]) {
    let mu = product(m, &u[..q * w], q, q, w);
    add_product(u, &mu, 1.0, q, w, into);
}

/// Adds the lower triangle of `scale A'B` (symmetric) for q x w matrices.
pub(crate) fn add_product(a: &[f64], b: &[f64], scale: f64, q: usize, w: usize, into: &mut [f64]) {
    for r in 0..q {
        for i in 0..w {
            axpy(scale * a[r * w + i], &b[r * w..=r * w + i], &mut into[i * w..=i * w + i]);
        }
    }
}

/// Adds the lower triangle of `scale (A'B + B'A)`.
pub(crate) fn add_product_both(
    a: &[f64],
    b: &[f64],
    scale: f64,
    q: usize,
    w: usize,
    into: &mut [f64],
) {
    add_product(a, b, scale, q, w, into);
    add_product(b, a, scale, q, w, into);
}

/// Adds the lower triangle of J'M J, J = [-G U; I].
pub(crate) fn add_sandwich(layout: NodeLayout, node: &[f64], m: &[f64], into: &mut [f64]) {
    let NodeLayout { q, w, .. } = layout;
    let size = q + w;
    let mut j = node[layout.j()].to_vec();
    for i in 0..w {
        j.extend((0..w).map(|c| f64::from(u8::from(c == i))));
    }
    let mj = product(m, &j, size, size, w);
    add_product(&j, &mj, 1.0, size, w, into);
}
