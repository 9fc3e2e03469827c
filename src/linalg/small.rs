//! Small matrices, row-major, and rows that they are applied to.

use super::dense::{axpy, block};
use crate::running::memory::zeros;

/// The identity of order `q`, row-major.
#[must_use]
pub fn identity(q: usize) -> Vec<f64> {
    let mut out = zeros(q * q);
    out.iter_mut().step_by(q + 1).for_each(|v| *v = 1.0);
    out
}

/// out <- out + sign B A B' for `B` of `m` x `n`, A symmetric of order n.
pub fn sandwich(b: &[f64], a: &[f64], m: usize, n: usize, out: &mut [f64], sign: f64) {
    for i in 0..m {
        for j in 0..m {
            let mut s = 0.0;
            for k in 0..n {
                for l in 0..n {
                    s += b[i * n + k] * a[k * n + l] * b[j * n + l];
                }
            }
            out[i * m + j] += sign * s;
        }
    }
}

/// A B for matrices of `m` x `n` and `n` x `k`.
#[must_use]
pub fn product(a: &[f64], b: &[f64], m: usize, n: usize, k: usize) -> Vec<f64> {
    let mut out = vec![0.0; m * k];
    add_product(a, b, (m, n, k), &mut out);
    out
}

/// out <- out + A B for matrices of `m` x `n` and `n` x `k`.
pub fn add_product(a: &[f64], b: &[f64], (m, n, k): (usize, usize, usize), out: &mut [f64]) {
    for i in 0..m {
        for l in 0..n {
            axpy(a[i * n + l], &b[block(l, k)], &mut out[block(i, k)]);
        }
    }
}

/// The transpose of an `m` x `n` matrix.
#[must_use]
pub fn transpose(a: &[f64], m: usize, n: usize) -> Vec<f64> {
    (0..m * n).map(|at| a[(at % m) * n + at / m]).collect()
}

/// out = A B for matrices of `m` x `n` and `n` x `k`.
#[inline(always)]
pub fn multiply_into(a: &[f64], b: &[f64], m: usize, n: usize, k: usize, out: &mut [f64]) {
    for i in 0..m {
        for j in 0..k {
            out[i * k + j] = (0..n).map(|l| a[i * n + l] * b[l * k + j]).sum();
        }
    }
}

/// y <- y + x.
pub fn add_to(x: &[f64], y: &mut [f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
}

/// v <- L v for the lower triangular L of order q and K columns.
#[inline(always)]
pub fn multiply_lower<const K: usize>(l: &[f64], q: usize, v: &mut [f64]) {
    for i in (0..q).rev() {
        let (above, row) = v.split_at_mut(i * K);
        row[..K].iter_mut().for_each(|value| *value *= l[i * q + i]);
        for j in 0..i {
            add::<K>(l[i * q + j], &above[j * K..(j + 1) * K], row);
        }
    }
}

/// v <- L^-1 v.
#[inline(always)]
pub fn divide_lower<const K: usize>(l: &[f64], q: usize, v: &mut [f64]) {
    for i in 0..q {
        let (above, row) = v.split_at_mut(i * K);
        for j in 0..i {
            add::<K>(-l[i * q + j], &above[j * K..(j + 1) * K], row);
        }
        let inverse = 1.0 / l[i * q + i];
        row[..K].iter_mut().for_each(|value| *value *= inverse);
    }
}

/// v <- L'^-1 v.
#[inline(always)]
pub fn divide_upper<const K: usize>(l: &[f64], q: usize, v: &mut [f64]) {
    for i in (0..q).rev() {
        let (row, below) = v.split_at_mut((i + 1) * K);
        let row = &mut row[i * K..];
        for j in i + 1..q {
            add::<K>(-l[j * q + i], &below[(j - i - 1) * K..(j - i) * K], row);
        }
        let inverse = 1.0 / l[i * q + i];
        row.iter_mut().for_each(|value| *value *= inverse);
    }
}

/// y += a x for K columns.
#[inline(always)]
pub fn add<const K: usize>(a: f64, x: &[f64], y: &mut [f64]) {
    let (x, y) = (&x[..K], &mut y[..K]);
    for c in 0..K {
        y[c] += a * x[c];
    }
}

/// x <- L'^-1 x for the lower triangular `q` x `q` L and the row-major x of `width` columns.
pub fn solve_upper(l: &[f64], q: usize, x: &mut [f64], width: usize) {
    for i in (0..q).rev() {
        let (head, tail) = x.split_at_mut((i + 1) * width);
        let row = &mut head[i * width..];
        for j in i + 1..q {
            axpy(-l[j * q + i], &tail[(j - i - 1) * width..(j - i) * width], row);
        }
        let inverse = 1.0 / l[i * q + i];
        row.iter_mut().for_each(|v| *v *= inverse);
    }
}

/// A'x for the row-major `q` x `q` A and the row-major x of `width` columns.
#[must_use]
pub fn transposed_times(a: &[f64], q: usize, x: &[f64], width: usize) -> Vec<f64> {
    let mut out = vec![0.0; q * width];
    for i in 0..q {
        for k in 0..q {
            axpy(a[i * q + k], &x[block(i, width)], &mut out[block(k, width)]);
        }
    }
    out
}
