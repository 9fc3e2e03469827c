//! Whole square matrices by panels of columns: Cholesky factor, its inverse, products.
//!
//! Matrices are column-major. A panel is the work of one task, which adds its terms in one order:
//! results have the same bits for any number of threads.

use faer::linalg::cholesky::llt::factor::{
    LltRegularization, cholesky_in_place, cholesky_in_place_scratch,
};
use faer::linalg::matmul::matmul;
use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Accum, MatMut, MatRef, Par};

use super::dense::NotPositiveDefinite;
use crate::running::memory::zeros;
use crate::running::threads;

/// Columns of a panel.
const PANEL: usize = 96;
/// Order of a matrix from which its panels, columns or products are worth threads.
pub const LARGE: usize = 256;

/// Runs a task for each panel of `width` times `rows` numbers.
fn for_each_panel(
    values: &mut [f64],
    size: usize,
    task: impl Fn((usize, &mut [f64])) + Sync + Send,
) {
    if size == 0 {
        return;
    }
    if values.len() > LARGE * LARGE {
        threads::each(values.chunks_mut(size).enumerate(), task);
    } else {
        values.chunks_mut(size).enumerate().for_each(task);
    }
}

/// out <- out + alpha A B in this thread.
pub fn add_product(out: MatMut<'_, f64>, a: MatRef<'_, f64>, b: MatRef<'_, f64>, alpha: f64) {
    matmul(out, Accum::Add, a, b, alpha, Par::Seq);
}

/// A <- L in the lower triangle with A = L L'; log|A|.
///
/// # Errors
/// [`NotPositiveDefinite`] with the first column of the panel that has a pivot which is not positive.
pub fn cholesky(a: &mut [f64], n: usize) -> Result<f64, NotPositiveDefinite> {
    let mut logdet = 0.0;
    for first in (0..n).step_by(PANEL) {
        let width = PANEL.min(n - first);
        let (own, rest) = a[first * n..].split_at_mut(width * n);
        let panel = MatMut::from_column_major_slice_mut(own, n, width);
        let (mut top, below) = panel.subrows_mut(first, n - first).split_at_row_mut(width);
        factor(top.as_mut()).map_err(|()| NotPositiveDefinite { pivot: first })?;
        logdet += (0..width).map(|i| top[(i, i)].ln()).sum::<f64>();
        solve_lower_triangular_in_place(top.as_ref(), below.transpose_mut(), Par::Seq);
        let panel = MatRef::from_column_major_slice(own, n, width);
        let update = |(k, columns): (usize, &mut [f64])| {
            let (from, wide) = (first + width + k * PANEL, columns.len() / n);
            let out = MatMut::from_column_major_slice_mut(columns, n, wide);
            let left = panel.subrows(from, n - from);
            let right = panel.subrows(from, wide).transpose();
            add_product(out.subrows_mut(from, n - from), left, right, -1.0);
        };
        for_each_panel(rest, n * PANEL, update);
    }
    Ok(2.0 * logdet)
}

fn factor(mut a: MatMut<'_, f64>) -> Result<(), ()> {
    use faer::dyn_stack::{MemBuffer, MemStack};
    let n = a.nrows();
    let scratch = cholesky_in_place_scratch::<f64>(n, Par::Seq, faer::Spec::default());
    let done = cholesky_in_place(
        a.as_mut(),
        LltRegularization::default(),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        faer::Spec::default(),
    );
    // A NaN passes for a pivot.
    let is_sound = done.is_ok() && (0..n).all(|i| a[(i, i)].is_finite() && a[(i, i)] > 0.0);
    if is_sound { Ok(()) } else { Err(()) }
}

/// L^-1 B for the lower triangular L and the column-major B of `width` columns.
pub fn solve_lower(l: &[f64], n: usize, b: &mut [f64], width: usize) {
    if n == 0 || width == 0 {
        return;
    }
    let l = MatRef::from_column_major_slice(l, n, n);
    let b = MatMut::from_column_major_slice_mut(b, n, width);
    solve_lower_triangular_in_place(l, b, Par::Seq);
}

/// L^-1, zero above the diagonal.
#[must_use]
pub fn inverse_lower(l: &[f64], n: usize) -> Vec<f64> {
    let mut out = zeros(n * n);
    let whole = MatRef::from_column_major_slice(l, n, n);
    for_each_panel(&mut out, n * PANEL, |(k, columns)| {
        let (first, width) = (k * PANEL, columns.len() / n);
        for c in 0..width {
            columns[c * n + first + c] = 1.0;
        }
        let left = n - first;
        let x = MatMut::from_column_major_slice_mut(columns, n, width).subrows_mut(first, left);
        solve_lower_triangular_in_place(whole.submatrix(first, first, left, left), x, Par::Seq);
    });
    out
}

/// K'K of a lower triangular K, whole.
#[must_use]
pub fn gram_of_lower(k: &[f64], n: usize) -> Vec<f64> {
    let mut out = zeros(n * n);
    let whole = MatRef::from_column_major_slice(k, n, n);
    for_each_panel(&mut out, n * PANEL, |(panel, columns)| {
        let (first, width) = (panel * PANEL, columns.len() / n);
        for row in (first..n).step_by(PANEL) {
            let (tall, left) = (PANEL.min(n - row), n - row);
            let block = MatMut::from_column_major_slice_mut(columns, n, width);
            add_product(
                block.subrows_mut(row, tall),
                whole.submatrix(row, row, left, tall).transpose(),
                whole.submatrix(row, first, left, width),
                1.0,
            );
        }
    });
    for column in 0..n {
        for row in column + 1..n {
            out[row * n + column] = out[column * n + row];
        }
    }
    out
}

/// A'B, row-major, of column-major A and B with `n` rows.
#[must_use]
pub fn transposed_product(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
    if n == 0 || a.is_empty() || b.is_empty() {
        return Vec::new();
    }
    let (rows, columns) = (a.len() / n, b.len() / n);
    let (a, b) = (
        MatRef::from_column_major_slice(a, n, rows),
        MatRef::from_column_major_slice(b, n, columns),
    );
    let mut out = zeros(rows * columns);
    for_each_panel(&mut out, PANEL * columns, |(k, chunk)| {
        let tall = chunk.len() / columns;
        let out = MatMut::from_row_major_slice_mut(chunk, tall, columns);
        add_product(out, a.subcols(k * PANEL, tall).transpose(), b, 1.0);
    });
    out
}

/// A B of row-major A (`inner` columns) and B (`columns` columns), row-major.
#[must_use]
pub fn row_product(a: &[f64], b: &[f64], inner: usize, columns: usize) -> Vec<f64> {
    if inner == 0 || columns == 0 {
        return Vec::new();
    }
    let b = MatRef::from_row_major_slice(b, inner, columns);
    let mut out = zeros(a.len() / inner * columns);
    for_each_panel(&mut out, PANEL * columns, |(k, chunk)| {
        let tall = chunk.len() / columns;
        let rows = &a[k * PANEL * inner..(k * PANEL + tall) * inner];
        let out = MatMut::from_row_major_slice_mut(chunk, tall, columns);
        add_product(out, MatRef::from_row_major_slice(rows, tall, inner), b, 1.0);
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factor_inverse_and_gram_agree() {
        let n = 301;
        let entry = |i: usize, j: usize| (-0.05 * i.abs_diff(j) as f64).exp();
        let mut a: Vec<f64> = (0..n * n)
            .map(|at| entry(at / n, at % n) + if at / n == at % n { 1.0 } else { 0.0 })
            .collect();
        let whole = a.clone();
        let logdet = cholesky(&mut a, n).expect("positive definite");
        let inverse = gram_of_lower(&inverse_lower(&a, n), n);
        let product = transposed_product(&whole, &inverse, n);
        for i in 0..n {
            for j in 0..n {
                let identity = f64::from(u8::from(i == j));
                assert!((product[i * n + j] - identity).abs() < 1e-11);
            }
        }
        let again = row_product(&whole, &inverse, n, n);
        assert!((again[n + 1] - 1.0).abs() < 1e-11 && logdet.is_finite());
    }

    #[test]
    fn an_indefinite_matrix_is_an_outcome() {
        assert!(cholesky(&mut [1.0, 2.0, 2.0, 1.0], 2).is_err());
        assert!(cholesky(&mut [f64::NAN], 1).is_err());
    }
}
