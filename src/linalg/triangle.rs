//! A triangular factor that rows are added to: the QR update of one level's columns.

use std::ops::Range;

use super::beside::{Reflection, reflect_into};
use super::dense::{Kernel, dot, householder, reflect_by, vectorised};
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
    /// Column-major buffer of at most `BLOCK_ROWS` rows of D.
    buffer: Vec<f64>,
    /// The same rows of Y, one row after the other.
    responses: Vec<f64>,
    n_buffered: usize,
    /// tau of the reflections of the last block.
    taus: Vec<f64>,
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
            buffer: zeros(BLOCK_ROWS * n_columns),
            responses: zeros(BLOCK_ROWS * n_responses),
            n_buffered: 0,
            taus: Vec::with_capacity(n_columns),
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
        let (p, f) = (self.n_columns, self.n_responses);
        let (design, own) = columns.split_at(p * stride);
        self.push(first..last, design, stride, |rows, out| {
            for (c, column) in own.chunks_exact(stride.max(1)).take(f).enumerate() {
                for (to, &value) in out[c..].iter_mut().step_by(f).zip(&column[rows.clone()]) {
                    *to = value;
                }
            }
        });
    }

    /// Adds rows `first..last` of a column-major D with `stride` rows, and as many rows of Y that
    /// stand one after the other.
    pub fn push_beside(
        &mut self,
        columns: &[f64],
        stride: usize,
        (first, last): (usize, usize),
        responses: &[f64],
    ) {
        let f = self.n_responses;
        self.push(first..last, columns, stride, |rows, out| {
            out.copy_from_slice(&responses[(rows.start - first) * f..(rows.end - first) * f]);
        });
    }

    /// Adds some rows of columns; `put(rows, out)` puts the responses of some of them.
    fn push(
        &mut self,
        rows: Range<usize>,
        columns: &[f64],
        stride: usize,
        put: impl Fn(Range<usize>, &mut [f64]),
    ) {
        let (mut row, f) = (rows.start, self.n_responses);
        while row < rows.end {
            let take = (BLOCK_ROWS - self.n_buffered).min(rows.end - row);
            let at = self.n_buffered;
            for c in 0..self.n_columns {
                self.buffer[c * BLOCK_ROWS + at..c * BLOCK_ROWS + at + take]
                    .copy_from_slice(&columns[c * stride + row..c * stride + row + take]);
            }
            put(row..row + take, &mut self.responses[at * f..(at + take) * f]);
            self.n_buffered += take;
            row += take;
            if self.n_buffered == BLOCK_ROWS {
                self.rotate_in();
            }
        }
    }

    /// Adds some rows, the value of column c in row i from `value(c, i)`.
    pub fn push_each(&mut self, rows: Range<usize>, value: impl Fn(usize, usize) -> f64) {
        let (p, f) = (self.n_columns, self.n_responses);
        for row in rows {
            let at = self.n_buffered;
            for c in 0..p {
                self.buffer[c * BLOCK_ROWS + at] = value(c, row);
            }
            for (c, to) in self.responses[at * f..(at + 1) * f].iter_mut().enumerate() {
                *to = value(p + c, row);
            }
            self.n_buffered += 1;
            if self.n_buffered == BLOCK_ROWS {
                self.rotate_in();
            }
        }
    }

    /// Adds one row [d y].
    pub fn push_row(&mut self, row: &[f64]) {
        let (design, own) = row.split_at(self.n_columns.min(row.len()));
        let at = self.n_buffered;
        for (c, &value) in design.iter().enumerate() {
            self.buffer[c * BLOCK_ROWS + at] = value;
        }
        self.responses[at * self.n_responses..][..own.len()].copy_from_slice(own);
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
        if self.n_buffered == 0 {
            return;
        }
        vectorised(ReflectBuffer(self));
        if self.n_responses > 1 {
            self.reflect_responses();
        }
        self.n_buffered = 0;
    }

    /// Reflects the `n` rows that wait: the columns of D, and the response that stands alone.
    ///
    /// The next column is reflected and becomes a reflector before all others are reflected: its square
    /// root and quotients then have those to run beside. `FULL` columns are long ones.
    #[inline(always)]
    fn reflect_columns<const FULL: bool>(&mut self, n: usize) {
        let (p, width) = (self.n_columns, self.width());
        self.taus.clear();
        if p == 0 {
            self.add_square(n);
            return;
        }
        let mut next = householder::<FULL>(self.factor[0], &mut self.buffer[..n]);
        for j in 0..p {
            let (beta, tau) = next;
            let (head, tail) = self.buffer.split_at_mut((j + 1) * BLOCK_ROWS);
            let v = &head[j * BLOCK_ROWS..][..n];
            let (row, below) = self.factor[j * width..].split_at_mut(width);
            row[j] = beta;
            self.taus.push(tau);
            let (entries, response) = row[j + 1..].split_at_mut(p - j - 1);
            for k in 0..entries.len() {
                let column = &mut tail[k * BLOCK_ROWS..][..n];
                reflect_by::<FULL>(v, tau, &mut entries[k], column);
                if k == 0 {
                    next = householder::<FULL>(below[j + 1], column);
                }
            }
            if let [entry] = response {
                reflect_by::<FULL>(v, tau, entry, &mut self.responses[..n]);
            }
        }
        self.add_square(n);
    }

    /// Adds the square of what is left of the response that stands alone.
    #[inline(always)]
    fn add_square(&mut self, n: usize) {
        if let [sum] = &mut self.residual_squares[..] {
            let y = &self.responses[..n];
            *sum += dot(y, y);
        }
    }

    /// Responses side by side.
    fn reflect_responses(&mut self) {
        let (n, p, width) = (self.n_buffered, self.n_columns, self.width());
        let of = |(j, &tau): (usize, &f64)| Reflection {
            v: &self.buffer[j * BLOCK_ROWS..j * BLOCK_ROWS + n],
            tau,
        };
        let all: Vec<Reflection> = self.taus.iter().enumerate().map(of).collect();
        let first = |j: usize| j * width + p..(j + 1) * width;
        let rows = &mut self.responses[..n * self.n_responses];
        reflect_into(&all, &mut self.factor, first, rows, &mut self.residual_squares);
    }
}

struct ReflectBuffer<'a>(&'a mut Triangle);

impl Kernel for ReflectBuffer<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        // As a constant, the usual number of rows leaves loops without remainders.
        if self.0.n_buffered == BLOCK_ROWS {
            self.0.reflect_columns::<true>(BLOCK_ROWS);
        } else {
            self.0.reflect_columns::<false>(self.0.n_buffered);
        }
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
