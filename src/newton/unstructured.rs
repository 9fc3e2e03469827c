//! Unstructured covariances G = L L', theta = L by rows: steps in the eigenvectors of G.
//!
//! G = Q (D + C)(D + C)'Q' with C lower triangular and D descending, as the structure `us` says.

use super::{by_fit, with_order};
use crate::linalg::eigen::{Square, left_singular, lower_of, symmetric};
use crate::linalg::lanes::Lane;

/// Largest order of G.
pub const MOST: usize = 3;

/// Derivatives of the entries of G by C, and second derivatives of their sum with weights.
#[must_use]
pub fn chart(order: usize, n: usize, theta: &[f64], weight: &[f64]) -> [Vec<f64>; 2] {
    with_order!(order, chart_of(n, theta, weight); 1, 2, 3)
}

fn chart_of<const K: usize>(n: usize, theta: &[f64], weight: &[f64]) -> [Vec<f64>; 2] {
    let t = K * (K + 1) / 2;
    by_fit(n, [t * t, t * t], |k, [jacobian, curvature]| {
        let own = k * t..(k + 1) * t;
        let write = |at: &mut [f64], row: usize, column: usize, value| at[row * t + column] = value;
        chart_one::<K>(
            &theta[own.clone()],
            &weight[own],
            |row, column, value| write(jacobian, row, column, value),
            |row, column, value| write(curvature, row, column, value),
        );
    })
}

/// See [`chart`]: that of one fit, whose numbers other than 0 are handed over with their places.
#[inline(always)]
pub fn chart_one<const K: usize>(
    theta: &[f64],
    weight: &[f64],
    jacobian: impl FnMut(usize, usize, f64),
    curvature: impl FnMut(usize, usize, f64),
) {
    chart_at(&axes_one::<f64, K>(theta), weight, jacobian, curvature);
}

/// Q and D of theta.
pub type Axes<const K: usize, V = f64> = (Square<K, V>, [V; K]);

/// Those of one fit, or of one in each lane.
#[inline(always)]
#[must_use]
pub fn axes_one<V: Lane, const K: usize>(theta: &[V]) -> Axes<K, V> {
    left_singular(&lower(theta))
}

/// See [`chart_one`].
#[inline(always)]
pub fn chart_at<V: Lane, const K: usize>(
    (u, d): &Axes<K, V>,
    weight: &[V],
    mut jacobian: impl FnMut(usize, usize, V),
    mut curvature: impl FnMut(usize, usize, V),
) {
    let s = lower::<V, K>(weight);
    let mut both = [[V::splat(0.0); K]; K];
    for i in 0..K {
        for j in 0..K {
            both[i][j] = s[i][j] + s[j][i];
        }
    }
    let rotated = rotated(u, &both);
    for (column, (i, j)) in places::<K>().enumerate() {
        // dG / dC_ij = d_j (q_i q_j' + q_j q_i')
        for (row, (a, b)) in places::<K>().enumerate() {
            let (left, right) = (u[a][i] * (u[b][j] * d[j]), u[a][j] * d[j] * u[b][i]);
            jacobian(row, column, left + right);
        }
        // d2 tr(S G) / dC_ij dC_kl = 2 (Q'S Q)_ik where j = l
        for (other, (m, l)) in places::<K>().enumerate() {
            if j == l {
                curvature(column, other, rotated[i][m]);
            }
        }
    }
}

/// theta of G at local coordinates `step` around theta.
#[must_use]
pub fn moved(order: usize, n: usize, theta: &[f64], step: &[f64]) -> Vec<f64> {
    let [out] = with_order!(order, moved_of(n, theta, step); 1, 2, 3);
    out
}

fn moved_of<const K: usize>(n: usize, theta: &[f64], step: &[f64]) -> [Vec<f64>; 1] {
    let t = K * (K + 1) / 2;
    by_fit(n, [t], |k, [out]| {
        let own = k * t..(k + 1) * t;
        moved_one::<K>(&theta[own.clone()], &step[own], out);
    })
}

/// See [`moved`]: that of one fit.
#[inline(always)]
pub fn moved_one<const K: usize>(theta: &[f64], step: &[f64], out: &mut [f64]) {
    moved_at(&axes_one::<f64, K>(theta), step, out);
}

/// See [`moved_one`].
#[inline(always)]
pub fn moved_at<V: Lane, const K: usize>((u, d): &Axes<K, V>, step: &[V], out: &mut [V]) {
    let mut inner = lower::<V, K>(step);
    for i in 0..K {
        inner[i][i] += d[i];
    }
    write(&lower_of(&product(u, &inner)), out);
}

/// L L', row by row.
#[inline(always)]
pub fn matrix_one<const K: usize>(theta: &[f64], mut put: impl FnMut(usize, usize, f64)) {
    let l = lower::<f64, K>(theta);
    for i in 0..K {
        for j in 0..K {
            put(i, j, (0..K).fold(0.0, |s, k| s + l[i][k] * l[j][k]));
        }
    }
}

/// G of each fit.
#[must_use]
pub fn matrices_of(order: usize, n: usize, theta: &[f64]) -> Vec<f64> {
    let [out] = with_order!(order, matrices_of_theta(n, theta); 1, 2, 3);
    out
}

fn matrices_of_theta<const K: usize>(n: usize, theta: &[f64]) -> [Vec<f64>; 1] {
    let t = K * (K + 1) / 2;
    by_fit(n, [K * K], |k, [out]| {
        matrix_one::<K>(&theta[k * t..(k + 1) * t], |i, j, value| out[i * K + j] = value);
    })
}

/// See [`nearest_one`], of each fit; 1 where an eigenvalue was negative, else 0.
#[must_use]
pub fn nearest(order: usize, n: usize, entries: &[f64], lift: f64) -> [Vec<f64>; 2] {
    with_order!(order, nearest_of(n, entries, lift); 1, 2, 3)
}

fn nearest_of<const K: usize>(n: usize, entries: &[f64], lift: f64) -> [Vec<f64>; 2] {
    let t = K * (K + 1) / 2;
    by_fit(n, [t, 1], |k, [out, outside]| {
        let below = nearest_one::<K>(&entries[k * t..(k + 1) * t], lift, out);
        outside[0] = f64::from(u8::from(below));
    })
}

/// theta of symmetric matrices, negative eigenvalues taken for 0.
#[must_use]
pub fn theta_of(order: usize, n: usize, matrices: &[f64]) -> Vec<f64> {
    let [out] = with_order!(order, theta_of_matrices(n, matrices); 1, 2, 3);
    out
}

fn theta_of_matrices<const K: usize>(n: usize, matrices: &[f64]) -> [Vec<f64>; 1] {
    by_fit(n, [K * (K + 1) / 2], |k, [out]| {
        theta_one(&super::matrix::<K>(matrices, k), out);
    })
}

/// See [`theta_of`]: that of one matrix.
#[inline(always)]
pub fn theta_one<const K: usize>(matrix: &Square<K>, out: &mut [f64]) {
    let (values, mut root) = symmetric(matrix);
    let sizes = values.map(|value| value.max(0.0).sqrt());
    for row in &mut root {
        row.iter_mut().zip(sizes).for_each(|(x, size)| *x *= size);
    }
    write(&lower_of(&root), out);
}

/// theta of the covariance nearest to a lower triangle, eigenvalues lifted to a share of the largest
/// and to a least size; whether one was negative.
#[inline(always)]
pub fn nearest_one<const K: usize>(triangle: &[f64], lift: f64, out: &mut [f64]) -> bool {
    let mut matrix = lower::<f64, K>(triangle);
    for i in 0..K {
        for j in 0..i {
            matrix[j][i] = matrix[i][j];
        }
    }
    let (values, vectors) = symmetric(&matrix);
    let least = (lift * values[K - 1]).max(lift);
    let mut lifted = [[0.0; K]; K];
    for i in 0..K {
        for j in 0..K {
            lifted[i][j] =
                (0..K).fold(0.0, |s, k| s + vectors[i][k] * values[k].max(least) * vectors[j][k]);
        }
    }
    theta_one(&lifted, out);
    values[0] < 0.0
}

/// Rows and columns of a lower triangle.
#[inline(always)]
fn places<const K: usize>() -> impl Iterator<Item = (usize, usize)> {
    (0..K).flat_map(|i| (0..=i).map(move |j| (i, j)))
}

#[inline(always)]
fn lower<V: Lane, const K: usize>(values: &[V]) -> Square<K, V> {
    let mut out = [[V::splat(0.0); K]; K];
    let mut at = 0;
    for i in 0..K {
        for j in 0..=i {
            out[i][j] = values[at];
            at += 1;
        }
    }
    out
}

#[inline(always)]
fn write<V: Lane, const K: usize>(l: &Square<K, V>, out: &mut [V]) {
    let mut at = 0;
    for i in 0..K {
        for j in 0..=i {
            out[at] = l[i][j];
            at += 1;
        }
    }
}

#[inline(always)]
fn product<V: Lane, const K: usize>(a: &Square<K, V>, b: &Square<K, V>) -> Square<K, V> {
    let mut out = [[V::splat(0.0); K]; K];
    for i in 0..K {
        for j in 0..K {
            out[i][j] = (0..K).fold(V::splat(0.0), |s, k| s + a[i][k] * b[k][j]);
        }
    }
    out
}

/// U'A U.
#[inline(always)]
fn rotated<V: Lane, const K: usize>(u: &Square<K, V>, a: &Square<K, V>) -> Square<K, V> {
    let right = product(a, u);
    let mut out = [[V::splat(0.0); K]; K];
    for i in 0..K {
        for j in 0..K {
            out[i][j] = (0..K).fold(V::splat(0.0), |s, k| s + u[k][i] * right[k][j]);
        }
    }
    out
}
