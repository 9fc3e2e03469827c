//! Small square matrices, row-major, and rows that they are applied to.

use super::dense::{axpy, block};

/// The identity of order `q`, row-major.
#[must_use]
pub fn identity(q: usize) -> Vec<f64> {
    (0..q * q).map(|i| f64::from(u8::from(i % (q + 1) == 0))).collect()
}

/// The transpose of a square row-major matrix.
#[must_use]
pub fn transpose(a: &[f64], q: usize) -> Vec<f64> {
    (0..q * q).map(|i| a[(i % q) * q + i / q]).collect()
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
