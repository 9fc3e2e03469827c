//! Sparse lower triangles S by rows: solving by S and S', and (S'S)^-1 over some rows.

use super::dense::axpy;
use super::many::gather;
use crate::running::memory::zeros;

/// Columns that are solved for together.
const TOGETHER: usize = 32;

/// A nonsingular lower triangle in compressed rows, the diagonal last in each.
pub struct SparseTriangle<'a> {
    /// Where the entries of each row begin, and their number.
    pub first: &'a [i64],
    /// Column of each entry, ascending within a row.
    pub columns: &'a [i32],
    /// Its value.
    pub values: &'a [f64],
}

impl SparseTriangle<'_> {
    /// Order of the matrix.
    #[must_use]
    pub fn order(&self) -> usize {
        self.first.len() - 1
    }

    /// Entries of a row left of the diagonal, and the diagonal.
    fn row(&self, i: usize) -> (&[i32], &[f64], f64) {
        let (start, last) = (self.first[i] as usize, self.first[i + 1] as usize - 1);
        (&self.columns[start..last], &self.values[start..last], self.values[last])
    }

    /// x <- S^-1 x, row-major of `width` columns.
    pub fn solve(&self, x: &mut [f64], width: usize) {
        for i in 0..self.order() {
            let (before, own) = x.split_at_mut(i * width);
            let own = &mut own[..width];
            let (columns, values, diagonal) = self.row(i);
            for (&j, &value) in columns.iter().zip(values) {
                axpy(-value, &before[j as usize * width..][..width], own);
            }
            own.iter_mut().for_each(|v| *v /= diagonal);
        }
    }

    /// x <- S^-T x, of an x that is zero beyond the first `rows` rows.
    pub fn solve_transposed(&self, x: &mut [f64], width: usize, rows: usize) {
        for i in (0..rows).rev() {
            let (before, own) = x.split_at_mut(i * width);
            let own = &mut own[..width];
            let (columns, values, diagonal) = self.row(i);
            own.iter_mut().for_each(|v| *v /= diagonal);
            for (&j, &value) in columns.iter().zip(values) {
                axpy(-value, own, &mut before[j as usize * width..][..width]);
            }
        }
    }

    /// (S'S)^-1 over some rows, row-major; exactly symmetric.
    #[must_use]
    pub fn covariances(&self, rows: &[i32]) -> Vec<f64> {
        let (n, k) = (self.order(), rows.len());
        let block = |part: usize| {
            let own = &rows[part * TOGETHER..((part + 1) * TOGETHER).min(k)];
            let (width, last) = (own.len(), own.iter().max().map_or(0, |&r| r as usize + 1));
            let mut x = zeros(n * width);
            own.iter().enumerate().for_each(|(c, &r)| x[r as usize * width + c] = 1.0);
            self.solve_transposed(&mut x, width, last);
            self.solve(&mut x, width);
            rows.iter().flat_map(|&r| x[r as usize * width..][..width].to_vec()).collect()
        };
        let n_parts = k.div_ceil(TOGETHER);
        let parts = gather(n_parts, self.values.len() * k, block);
        let mut out = zeros(k * k);
        for part in 0..n_parts {
            let (at, width) = (part * TOGETHER, TOGETHER.min(k - part * TOGETHER));
            for i in 0..k {
                let from = at * k + i * width;
                out[i * k + at..i * k + at + width].copy_from_slice(&parts[from..from + width]);
            }
        }
        // An entry and its mirror image were added up in different orders.
        for i in 0..k {
            for j in 0..i {
                let mean = 0.5 * (out[i * k + j] + out[j * k + i]);
                (out[i * k + j], out[j * k + i]) = (mean, mean);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::SparseTriangle;

    /// [[2, 0, 0], [1, 1, 0], [0, 3, 4]].
    const FIRST: [i64; 4] = [0, 1, 3, 5];
    const COLUMNS: [i32; 5] = [0, 0, 1, 1, 2];
    const VALUES: [f64; 5] = [2.0, 1.0, 1.0, 3.0, 4.0];

    fn triangle() -> SparseTriangle<'static> {
        SparseTriangle { first: &FIRST, columns: &COLUMNS, values: &VALUES }
    }

    #[test]
    fn solves_undo_products() {
        // S (1, 2, 3)' = (2, 3, 18)', S'(1, 2, 3)' = (4, 11, 12)'.
        let mut x = [2.0, 3.0, 18.0];
        triangle().solve(&mut x, 1);
        assert_eq!(x.map(f64::to_bits), [1.0, 2.0, 3.0].map(f64::to_bits));
        let mut x = [4.0, 11.0, 12.0];
        triangle().solve_transposed(&mut x, 1, 3);
        assert_eq!(x.map(f64::to_bits), [1.0, 2.0, 3.0].map(f64::to_bits));
    }

    #[test]
    fn covariances_are_the_inverse_of_the_product() {
        // S'S = [[5, 1, 0], [1, 10, 12], [0, 12, 16]], of determinant (2 * 1 * 4)^2.
        let found = triangle().covariances(&[2, 0]);
        let expected = [49.0 / 64.0, 12.0 / 64.0, 12.0 / 64.0, 16.0 / 64.0];
        found.iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() < 1e-15));
    }
}
