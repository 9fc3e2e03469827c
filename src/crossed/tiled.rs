//! Symmetric matrices in square tiles: Cholesky factor, inverse and products on many threads.
//!
//! Every tile is computed by one task that adds its terms in one order, so results have the same
//! bits for any number of threads.

use faer::linalg::matmul::matmul;
use faer::linalg::triangular_inverse::invert_lower_triangular;
use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use crate::dense::NotPositiveDefinite;

/// Rows of a tile; large enough for products near the machine's peak, small enough to share out.
const TILE_ROWS: usize = 160;

/// Lower triangle of a symmetric (or lower triangular) matrix, in tiles.
#[derive(Clone, Debug)]
pub struct Tiled {
    /// First row of each block of rows, and the order of the matrix.
    pub bounds: Vec<usize>,
    /// Block columns; in block column j the tiles (j, j), (j + 1, j), ..., each column-major.
    pub columns: Vec<Vec<Vec<f64>>>,
}

/// Boundaries of blocks of about [`TILE_ROWS`] rows that never cut one of the groups of `sizes`.
#[must_use]
pub fn tile_bounds(sizes: impl Iterator<Item = usize>) -> Vec<usize> {
    let (mut bounds, mut end) = (vec![0], 0);
    for size in sizes {
        let first = bounds[bounds.len() - 1];
        if end > first && end + size - first > TILE_ROWS {
            bounds.push(end);
        }
        end += size;
    }
    bounds.push(end);
    bounds.dedup();
    bounds
}

impl Tiled {
    /// The zero matrix with blocks of rows between `bounds`.
    #[must_use]
    pub fn zero(bounds: &[usize]) -> Self {
        let n_blocks = bounds.len() - 1;
        let rows = |i: usize| bounds[i + 1] - bounds[i];
        let columns = (0..n_blocks)
            .map(|j| (j..n_blocks).map(|i| vec![0.0; rows(i) * rows(j)]).collect())
            .collect();
        Self { bounds: bounds.to_vec(), columns }
    }

    /// Order of the matrix.
    #[must_use]
    pub fn order(&self) -> usize {
        self.bounds[self.n_blocks()]
    }

    /// Blocks of rows.
    #[must_use]
    pub fn n_blocks(&self) -> usize {
        self.bounds.len() - 1
    }

    /// Rows of block i.
    #[must_use]
    pub fn rows(&self, i: usize) -> usize {
        self.bounds[i + 1] - self.bounds[i]
    }

    /// Block that holds a row.
    #[must_use]
    pub fn block_of(&self, row: usize) -> usize {
        self.bounds.partition_point(|&b| b <= row) - 1
    }

    fn tile(&self, i: usize, j: usize) -> MatRef<'_, f64> {
        let tile = &self.columns[j][i - j];
        MatRef::from_column_major_slice(tile, self.rows(i), self.rows(j))
    }

    /// Entry of the lower triangle (row >= column) for reading or changing.
    pub fn entry(&mut self, row: usize, column: usize) -> &mut f64 {
        let (i, j) = (self.block_of(row), self.block_of(column));
        let n_rows = self.rows(i);
        let at = (column - self.bounds[j]) * n_rows + row - self.bounds[i];
        &mut self.columns[j][i - j][at]
    }

    /// Entry of the symmetric matrix.
    #[must_use]
    pub fn at(&self, row: usize, column: usize) -> f64 {
        let (row, column) = (row.max(column), row.min(column));
        let (i, j) = (self.block_of(row), self.block_of(column));
        self.columns[j][i - j][(column - self.bounds[j]) * self.rows(i) + row - self.bounds[i]]
    }

    /// Copies lower to upper triangles of the diagonal tiles.
    pub fn fill_diagonal_tiles(&mut self) {
        for j in 0..self.n_blocks() {
            let n = self.rows(j);
            // Column-major lower is row-major upper: mirror the other way round.
            let tile = &mut self.columns[j][0];
            for column in 0..n {
                for row in column + 1..n {
                    tile[row * n + column] = tile[column * n + row];
                }
            }
        }
    }

    /// A <- L with A = L L'.
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] at the first pivot that is not positive.
    pub fn cholesky(&mut self) -> Result<(), NotPositiveDefinite> {
        for j in 0..self.n_blocks() {
            let bounds = self.bounds.clone();
            let rows = |i: usize| bounds[i + 1] - bounds[i];
            let n = rows(j);
            let (done, current) = self.columns.split_at_mut(j);
            let update = |(at, tile): (usize, &mut Vec<f64>)| {
                let i = j + at;
                for (k, column) in done.iter().enumerate() {
                    multiply_add(
                        MatMut::from_column_major_slice_mut(tile, rows(i), n),
                        MatRef::from_column_major_slice(&column[i - k], rows(i), rows(k)),
                        MatRef::from_column_major_slice(&column[j - k], n, rows(k)).transpose(),
                        -1.0,
                    );
                }
            };
            for_each_tile(&mut current[0], update);
            let (diagonal, below) = current[0].split_at_mut(1);
            let diagonal = &mut diagonal[0];
            factor_tile(diagonal, n)
                .map_err(|e| NotPositiveDefinite { pivot: bounds[j] + e.pivot })?;
            let root = MatRef::from_column_major_slice(diagonal, n, n);
            let solve = |(at, tile): (usize, &mut Vec<f64>)| {
                let right = MatMut::from_column_major_slice_mut(tile, rows(j + 1 + at), n);
                solve_lower_triangular_in_place(root, right.transpose_mut(), Par::Seq);
            };
            for_each_tile(below, solve);
        }
        Ok(())
    }

    /// log|L L'| of a Cholesky factor.
    #[must_use]
    pub fn logdet(&self) -> f64 {
        let mut sum = 0.0;
        for (j, column) in self.columns.iter().enumerate() {
            let n = self.rows(j);
            sum += (0..n).map(|i| column[0][i * n + i].ln()).sum::<f64>();
        }
        2.0 * sum
    }

    /// x <- L^-1 x for the row-major x of `width` columns.
    pub fn solve_lower(&self, x: &mut [f64], width: usize) {
        for j in 0..self.n_blocks() {
            let (head, tail) = x.split_at_mut(self.bounds[j + 1] * width);
            let own = &mut head[self.bounds[j] * width..];
            let own = MatMut::from_row_major_slice_mut(own, self.rows(j), width);
            let mut own = own;
            solve_lower_triangular_in_place(self.tile(j, j), own.as_mut(), Par::Seq);
            let mut rest = tail;
            for i in j + 1..self.n_blocks() {
                let (block, after) = rest.split_at_mut(self.rows(i) * width);
                let out = MatMut::from_row_major_slice_mut(block, self.rows(i), width);
                multiply_add(out, self.tile(i, j), own.as_ref(), -1.0);
                rest = after;
            }
        }
    }

    /// x <- L'^-1 x for the row-major x of `width` columns.
    pub fn solve_upper(&self, x: &mut [f64], width: usize) {
        for j in (0..self.n_blocks()).rev() {
            let (head, tail) = x.split_at_mut(self.bounds[j + 1] * width);
            let own = &mut head[self.bounds[j] * width..];
            let mut own = MatMut::from_row_major_slice_mut(own, self.rows(j), width);
            let mut rest: &[f64] = tail;
            for i in j + 1..self.n_blocks() {
                let (block, after) = rest.split_at(self.rows(i) * width);
                let block = MatRef::from_row_major_slice(block, self.rows(i), width);
                multiply_add(own.as_mut(), self.tile(i, j).transpose(), block, -1.0);
                rest = after;
            }
            faer::linalg::triangular_solve::solve_upper_triangular_in_place(
                self.tile(j, j).transpose(),
                own,
                Par::Seq,
            );
        }
    }

    /// (L L')^-1 from L; diagonal tiles are filled on both sides.
    #[must_use]
    pub fn inverse_from_factor(&self) -> Self {
        let inverse = self.inverse_factor();
        let n_blocks = self.n_blocks();
        let mut out = Self::zero(&self.bounds);
        let column = |(j, tiles): (usize, &mut Vec<Vec<f64>>)| {
            for (at, tile) in tiles.iter_mut().enumerate() {
                let i = j + at;
                for k in i..n_blocks {
                    multiply_add(
                        MatMut::from_column_major_slice_mut(tile, self.rows(i), self.rows(j)),
                        inverse.tile(k, i).transpose(),
                        inverse.tile(k, j),
                        1.0,
                    );
                }
            }
        };
        for_each_tile(&mut out.columns, column);
        out.fill_diagonal_tiles();
        out
    }

    fn inverse_factor(&self) -> Self {
        let mut out = Self::zero(&self.bounds);
        let n_blocks = self.n_blocks();
        let column = |(j, tiles): (usize, &mut Vec<Vec<f64>>)| {
            let n = self.rows(j);
            let first = MatMut::from_column_major_slice_mut(&mut tiles[0], n, n);
            invert_lower_triangular(first, self.tile(j, j), Par::Seq);
            for i in j + 1..n_blocks {
                let (known, rest) = tiles.split_at_mut(i - j);
                let mut tile = MatMut::from_column_major_slice_mut(&mut rest[0], self.rows(i), n);
                for (at, above) in known.iter().enumerate() {
                    let k = j + at;
                    let above = MatRef::from_column_major_slice(above, self.rows(k), n);
                    multiply_add(tile.as_mut(), self.tile(i, k), above, -1.0);
                }
                solve_lower_triangular_in_place(self.tile(i, i), tile, Par::Seq);
            }
        };
        for_each_tile(&mut out.columns, column);
        out
    }

    /// A x for the symmetric A (diagonal tiles filled) and the row-major x of `width` columns.
    #[must_use]
    pub fn multiply(&self, x: &[f64], width: usize) -> Vec<f64> {
        let n_blocks = self.n_blocks();
        let part = |k: usize| {
            let rows = &x[self.bounds[k] * width..self.bounds[k + 1] * width];
            MatRef::from_row_major_slice(rows, self.rows(k), width)
        };
        let block = |i: usize| -> Vec<f64> {
            let mut out = vec![0.0; self.rows(i) * width];
            for k in 0..n_blocks {
                let tile = if k <= i { self.tile(i, k) } else { self.tile(k, i).transpose() };
                let own = MatMut::from_row_major_slice_mut(&mut out, self.rows(i), width);
                multiply_add(own, tile, part(k), 1.0);
            }
            out
        };
        if width == 0 {
            return Vec::new();
        }
        let blocks: Vec<Vec<f64>> = if n_blocks > 2 {
            (0..n_blocks).into_par_iter().map(block).collect()
        } else {
            (0..n_blocks).map(block).collect()
        };
        blocks.concat()
    }
}

fn for_each_tile<T: Send>(tiles: &mut [T], task: impl Fn((usize, &mut T)) + Sync + Send) {
    if tiles.len() > 1 {
        tiles.par_iter_mut().enumerate().with_max_len(1).for_each(task);
    } else {
        tiles.iter_mut().enumerate().for_each(task);
    }
}

/// out <- out + alpha A B in this thread.
pub fn multiply_add(out: MatMut<'_, f64>, a: MatRef<'_, f64>, b: MatRef<'_, f64>, alpha: f64) {
    matmul(out, Accum::Add, a, b, alpha, Par::Seq);
}

/// Cholesky of a column-major tile; its upper triangle becomes zero.
fn factor_tile(tile: &mut [f64], n: usize) -> Result<(), NotPositiveDefinite> {
    use faer::dyn_stack::{MemBuffer, MemStack};
    use faer::linalg::cholesky::llt::factor::{cholesky_in_place, cholesky_in_place_scratch};
    let mut memory =
        MemBuffer::new(cholesky_in_place_scratch::<f64>(n, Par::Seq, faer::Spec::default()));
    let done = cholesky_in_place(
        MatMut::from_column_major_slice_mut(tile, n, n),
        faer::linalg::cholesky::llt::factor::LltRegularization::default(),
        Par::Seq,
        MemStack::new(&mut memory),
        faer::Spec::default(),
    );
    if done.is_err() || (0..n).any(|i| !tile[i * n + i].is_finite()) {
        return Err(NotPositiveDefinite { pivot: 0 });
    }
    for column in 0..n {
        tile[column * n..column * n + column].fill(0.0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factor_inverse_and_products_agree() {
        let n = 403;
        let bounds = tile_bounds((0..n).map(|_| 1));
        assert!(bounds.len() > 3);
        let mut a = Tiled::zero(&bounds);
        for i in 0..n {
            for j in 0..=i {
                let distance = (i - j) as f64;
                *a.entry(i, j) = (-0.1 * distance).exp() + if i == j { 1.0 } else { 0.0 };
            }
        }
        a.fill_diagonal_tiles();
        let mut l = a.clone();
        l.cholesky().expect("positive definite");
        let inverse = l.inverse_from_factor();
        let x: Vec<f64> = (0..2 * n).map(|i| (i as f64 * 0.7).sin()).collect();
        let back = inverse.multiply(&a.multiply(&x, 2), 2);
        let mut solved = a.multiply(&x, 2);
        l.solve_lower(&mut solved, 2);
        l.solve_upper(&mut solved, 2);
        for i in 0..2 * n {
            assert!((back[i] - x[i]).abs() < 1e-11);
            assert!((solved[i] - x[i]).abs() < 1e-11);
        }
    }

    #[test]
    fn bounds_never_cut_a_group() {
        let bounds = tile_bounds([100, 100, 300, 3, 3].into_iter());
        assert_eq!(bounds, vec![0, 100, 200, 500, 506]);
    }
}
