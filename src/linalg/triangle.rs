//! A triangular factor that rows are added to: the QR update of one level's columns.

use std::ops::Range;

use super::dense::{axpy, dot, householder, vectorised};
use crate::running::memory::zeros;

/// Rows waiting to be rotated in; a block this tall stays in the first-level cache.
const BLOCK_ROWS: usize = 64;

/// The triangular factor R of all rows pushed so far, with Q'Y beside it.
///
/// For rows [D Y], D of `n_columns` and Y of `n_responses` columns, R'R = D'D and
/// R'(Q'Y) = D'Y, and `residual_squares[f]` is what of response f lies outside the span of D.
/// Householder reflections only: no cross-product is ever formed, so no digits are squared away.
#[derive(Clone, Debug)]
pub struct Triangle {
    n_columns: usize,
    n_responses: usize,
    /// Row-major `n_columns` x (`n_columns` + `n_responses`).
    factor: Vec<f64>,
    /// Sum of squares of each response outside the span of the columns.
    pub residual_squares: Vec<f64>,
    /// Column-major buffer of at most `BLOCK_ROWS` rows.
    buffer: Vec<f64>,
    n_buffered: usize,
}

impl Triangle {
    /// The factor of no rows.
    #[must_use]
    pub fn new(n_columns: usize, n_responses: usize) -> Self {
        let width = n_columns + n_responses;
        Self {
            n_columns,
            n_responses,
            factor: zeros(n_columns * width),
            residual_squares: zeros(n_responses),
            buffer: zeros(BLOCK_ROWS * width),
            n_buffered: 0,
        }
    }

    /// Columns of [D Y].
    #[must_use]
    pub fn width(&self) -> usize {
        self.n_columns + self.n_responses
    }

    /// Back to the factor of no rows; `residual_squares` too.
    pub fn clear(&mut self) {
        self.factor.fill(0.0);
        self.residual_squares.fill(0.0);
        self.n_buffered = 0;
    }

    /// Adds rows `first..last` of a column-major matrix with `stride` rows.
    pub fn push_columns(&mut self, columns: &[f64], stride: usize, first: usize, last: usize) {
        let mut row = first;
        while row < last {
            let take = (BLOCK_ROWS - self.n_buffered).min(last - row);
            let at = self.n_buffered;
            for c in 0..self.width() {
                self.buffer[c * BLOCK_ROWS + at..c * BLOCK_ROWS + at + take]
                    .copy_from_slice(&columns[c * stride + row..c * stride + row + take]);
            }
            self.n_buffered += take;
            row += take;
            if self.n_buffered == BLOCK_ROWS {
                self.rotate_in();
            }
        }
    }

    /// Adds some rows, the value of column c in row i from `value(c, i)`.
    pub fn push_each(&mut self, rows: Range<usize>, value: impl Fn(usize, usize) -> f64) {
        let mut row = rows.start;
        while row < rows.end {
            let take = (BLOCK_ROWS - self.n_buffered).min(rows.end - row);
            let at = self.n_buffered;
            for (c, column) in self.buffer.chunks_exact_mut(BLOCK_ROWS).enumerate() {
                for (i, out) in column[at..at + take].iter_mut().enumerate() {
                    *out = value(c, row + i);
                }
            }
            self.n_buffered += take;
            row += take;
            if self.n_buffered == BLOCK_ROWS {
                self.rotate_in();
            }
        }
    }

    /// Adds one row [d y].
    pub fn push_row(&mut self, row: &[f64]) {
        for (c, &value) in row.iter().enumerate() {
            self.buffer[c * BLOCK_ROWS + self.n_buffered] = value;
        }
        self.n_buffered += 1;
        if self.n_buffered == BLOCK_ROWS {
            self.rotate_in();
        }
    }

    /// Adds all rows that another factor holds: the factor of the union of both sets of rows.
    pub fn merge(&mut self, other: &mut Self) {
        other.rotate_in();
        let width = self.width();
        for row in other.factor.chunks_exact(width.max(1)).take(self.n_columns) {
            self.push_row(row);
        }
        self.rotate_in();
        for (sum, value) in self.residual_squares.iter_mut().zip(&other.residual_squares) {
            *sum += value;
        }
    }

    /// The factor, row-major, with every pushed row rotated in.
    pub fn factor(&mut self) -> &[f64] {
        self.rotate_in();
        &self.factor
    }

    fn rotate_in(&mut self) {
        if self.n_buffered > 0 {
            vectorised(|| self.reflect_buffer());
        }
    }

    #[inline(always)]
    fn reflect_buffer(&mut self) {
        let n = self.n_buffered;
        let width = self.width();
        for j in 0..self.n_columns {
            let (head, tail) = self.buffer.split_at_mut((j + 1) * BLOCK_ROWS);
            let v = &mut head[j * BLOCK_ROWS..j * BLOCK_ROWS + n];
            let row = &mut self.factor[j * width..(j + 1) * width];
            let (beta, tau) = householder(row[j], v);
            if tau == 0.0 {
                continue;
            }
            row[j] = beta;
            for (entry, column) in row[j + 1..].iter_mut().zip(tail.chunks_exact_mut(BLOCK_ROWS)) {
                let column = &mut column[..n];
                let s = tau * (*entry + dot(v, column));
                *entry -= s;
                axpy(-s, v, column);
            }
        }
        for f in 0..self.n_responses {
            let start = (self.n_columns + f) * BLOCK_ROWS;
            let y = &self.buffer[start..start + n];
            self.residual_squares[f] += dot(y, y);
        }
        self.n_buffered = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(n: usize) -> Vec<[f64; 3]> {
        (0..n)
            .map(|i| {
                let t = i as f64;
                [1.0, (0.7 * t).sin(), (1.3 * t).cos() + 0.1 * t]
            })
            .collect()
    }

    fn gram(t: &mut Triangle) -> (Vec<f64>, f64) {
        let r = t.factor().to_vec();
        let mut g = vec![0.0; 9];
        for i in 0..3 {
            for j in 0..3 {
                g[i * 3 + j] = (0..2).map(|k| r[k * 3 + i] * r[k * 3 + j]).sum();
            }
        }
        (g, t.residual_squares[0])
    }

    #[test]
    fn factor_keeps_cross_products_for_any_block_boundary() {
        for n in [1, 2, 63, 64, 65, 200] {
            let mut t = Triangle::new(2, 1);
            let data = rows(n);
            data.iter().for_each(|r| t.push_row(r));
            let (g, rem) = gram(&mut t);
            for i in 0..3 {
                for j in 0..3 {
                    let direct: f64 = data.iter().map(|r| r[i] * r[j]).sum();
                    let ours = g[i * 3 + j] + if i == 2 && j == 2 { rem } else { 0.0 };
                    assert!((direct - ours).abs() < 1e-11 * (1.0 + direct.abs()));
                }
            }
        }
    }

    #[test]
    fn merge_is_the_factor_of_the_union() {
        let data = rows(150);
        let mut whole = Triangle::new(2, 1);
        data.iter().for_each(|r| whole.push_row(r));
        let (mut a, mut b) = (Triangle::new(2, 1), Triangle::new(2, 1));
        data[..40].iter().for_each(|r| a.push_row(r));
        data[40..].iter().for_each(|r| b.push_row(r));
        a.merge(&mut b);
        let ((g, s), (h, t)) = (gram(&mut whole), gram(&mut a));
        assert!(g.iter().zip(&h).take(8).all(|(x, y)| (x - y).abs() < 1e-10));
        assert!((s - t).abs() < 1e-10);
    }
}
