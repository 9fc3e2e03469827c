//! The rows of each cell replaced by few weighted rows with the same sums.
//!
//! Rows that share their unit of every grouping factor enter a likelihood with independent residuals
//! through their weighted sums of squares and products alone. Let W be the weight of a cell's rows,
//! m their weighted means, R the triangular factor of their weighted deviations from m, and H a
//! matrix of k rows with orthonormal columns orthogonal to 1. The k rows 1 m' + sqrt(k / W) H R, of
//! weight W / k each, have the same sums, and a column that is constant in the cell, an intercept
//! among them, stays the same constant. No cross-product is formed, so no digits are squared away.

use std::ops::Range;

use super::columns::Column;
use super::nesting::{chunks, rows_by_unit};
use crate::linalg::dense::axpy;
use crate::linalg::triangle::Triangle;
use crate::running::memory::{append, grow, lengthen};
use crate::running::stop::check;
use crate::running::threads;

/// Rows per task.
const CHUNK_ROWS: usize = 8192;
/// Rows of a cell that are held at once.
const BLOCK: usize = 512;
/// Below this many numbers a thread pool costs more than it saves.
const PARALLEL_SIZE: usize = 400_000;

/// Rows that stand for others with the same sums, cell after cell.
#[derive(Debug, Default)]
pub struct Compressed {
    /// Rows of each cell.
    pub sizes: Vec<usize>,
    /// Row after row, a value a column, less its center and scaled.
    pub values: Vec<f64>,
    /// Weight of each row.
    pub weights: Vec<f64>,
}

/// Compresses the rows of each cell; `codes[row]` is a code in `0..n_cells`.
///
/// A cell of no more rows than would stand for them keeps its own.
#[must_use]
pub fn compress(
    codes: &[i32],
    n_cells: usize,
    columns: &[Column],
    weights: Option<&[f64]>,
) -> Compressed {
    let (first, rows) = rows_by_unit(codes, n_cells, None);
    let tasks = chunks(n_cells, CHUNK_ROWS, |cells| first[cells.end] - first[cells.start]);
    let task = |cells: &Range<usize>| {
        let mut worker = Worker::new(columns, weights);
        for cell in cells.clone() {
            worker.compress(&rows[first[cell]..first[cell + 1]]);
        }
        worker.out
    };
    let parallel = codes.len() * columns.len() > PARALLEL_SIZE;
    let parts: Vec<Compressed> =
        if parallel { threads::map(&tasks, task) } else { tasks.iter().map(task).collect() };
    let mut all = Compressed::default();
    for part in parts {
        append(&mut all.values, &part.values);
        append(&mut all.weights, &part.weights);
        all.sizes.extend(part.sizes);
    }
    all
}

/// Workspace and results of one task.
struct Worker<'a> {
    columns: &'a [Column<'a>],
    weights: Option<&'a [f64]>,
    /// By number of columns, factors that were used before.
    factors: Vec<Option<Triangle>>,
    /// Columns of the rows at hand, one after the other, and the weights of these.
    block: Vec<f64>,
    block_weights: Vec<f64>,
    scratch: Vec<f64>,
    out: Compressed,
}

/// First moments of a cell.
struct Means {
    weight: f64,
    values: Vec<f64>,
    /// Columns that vary in the cell.
    varying: Vec<usize>,
}

impl<'a> Worker<'a> {
    fn new(columns: &'a [Column<'a>], weights: Option<&'a [f64]>) -> Self {
        let factors = (0..=columns.len()).map(|_| None).collect();
        let (block, block_weights, scratch) = (Vec::new(), Vec::new(), Vec::new());
        let out = Compressed::default();
        Self { columns, weights, factors, block, block_weights, scratch, out }
    }

    fn compress(&mut self, rows: &[u32]) {
        check();
        // One block stays at hand from here on: rows lie anywhere in memory.
        let means = self.means(rows);
        let is_one = rows.len() <= BLOCK;
        let n_rows = means.varying.len() + 1;
        if rows.len() <= n_rows {
            for block in rows.chunks(BLOCK) {
                self.bring(block, is_one);
                self.keep(block.len());
            }
            self.out.sizes.push(rows.len());
            return;
        }
        let width = means.varying.len();
        let mut factor = self.factors[width].take().unwrap_or_else(|| Triangle::new(width, 0));
        factor.clear();
        for block in rows.chunks(BLOCK) {
            self.bring(block, is_one);
            self.deviations(block.len(), &means);
            factor.push_columns(&self.scratch, block.len(), 0, block.len());
        }
        self.stand_for(&means, factor.factor());
        self.factors[width] = Some(factor);
    }

    /// Reads rows into `block`, unless they are there.
    fn bring(&mut self, rows: &[u32], is_there: bool) {
        if is_there {
            return;
        }
        check();
        let n = rows.len();
        lengthen(&mut self.block, n * self.columns.len());
        for (column, out) in self.columns.iter().zip(self.block.chunks_exact_mut(n)) {
            for (o, &row) in out.iter_mut().zip(rows) {
                *o = column.at(row as usize);
            }
        }
        self.block_weights.clear();
        self.block_weights
            .extend(rows.iter().map(|&row| self.weights.map_or(1.0, |w| w[row as usize])));
    }

    /// Weighted means, summed as deviations from the first row: exact where a column is constant.
    fn means(&mut self, rows: &[u32]) -> Means {
        let m = self.columns.len();
        let (mut weight, mut origin, mut sums) = (0.0, vec![0.0; m], vec![0.0; m]);
        let mut varies = vec![false; m];
        for (b, rows) in rows.chunks(BLOCK).enumerate() {
            self.bring(rows, false);
            weight += self.block_weights.iter().sum::<f64>();
            for (j, values) in self.block.chunks_exact(rows.len()).enumerate() {
                if b == 0 {
                    origin[j] = values[0];
                }
                for (value, weight) in values.iter().zip(&self.block_weights) {
                    let deviation = value - origin[j];
                    varies[j] |= deviation != 0.0;
                    sums[j] += weight * deviation;
                }
            }
        }
        let varying = (0..m).filter(|&j| varies[j]).collect();
        let mean =
            |(origin, sum): (&f64, &f64)| if *sum == 0.0 { *origin } else { origin + sum / weight };
        Means { weight, values: origin.iter().zip(&sums).map(mean).collect(), varying }
    }

    /// The rows at hand as they are.
    fn keep(&mut self, n: usize) {
        grow(&mut self.out.values, self.block.len());
        for row in 0..n {
            self.out.values.extend(self.block.chunks_exact(n).map(|values| values[row]));
        }
        append(&mut self.out.weights, &self.block_weights);
    }

    /// Weighted deviations of the varying columns from their means, column after column.
    fn deviations(&mut self, n: usize, means: &Means) {
        lengthen(&mut self.scratch, n * means.varying.len());
        for (&j, out) in means.varying.iter().zip(self.scratch.chunks_exact_mut(n)) {
            let mean = means.values[j];
            for (o, value) in out.iter_mut().zip(&self.block[j * n..(j + 1) * n]) {
                *o = value - mean;
            }
            if self.weights.is_some() {
                for (o, weight) in out.iter_mut().zip(&self.block_weights) {
                    *o *= weight.sqrt();
                }
            }
        }
    }

    /// Rows 1 m' + sqrt(k / W) H R, H of Helmert's contrasts.
    fn stand_for(&mut self, means: &Means, factor: &[f64]) {
        let width = means.varying.len();
        let k = width + 1;
        let scale = (k as f64 / means.weight).sqrt();
        let contrast = |l: usize| scale / (((l + 1) * (l + 2)) as f64).sqrt();
        // Of the rows of R from the last on, each times its contrast.
        let mut sum = vec![0.0; width];
        let m = self.columns.len();
        let start = self.out.values.len();
        lengthen(&mut self.out.values, start + k * m);
        for i in (0..k).rev() {
            let row = |l: usize| &factor[l * width..(l + 1) * width];
            if i < width {
                axpy(contrast(i), row(i), &mut sum);
            }
            let out = &mut self.out.values[start + i * m..start + (i + 1) * m];
            out.copy_from_slice(&means.values);
            for (at, &j) in means.varying.iter().enumerate() {
                let own = if i > 0 { i as f64 * contrast(i - 1) * row(i - 1)[at] } else { 0.0 };
                out[j] += sum[at] - own;
            }
        }
        self.out.weights.extend(std::iter::repeat_n(means.weight / k as f64, k));
        self.out.sizes.push(k);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Weighted sums of squares and products of [1 x] over the rows of a cell.
    fn sums(rows: impl Iterator<Item = (f64, Vec<f64>)>, m: usize) -> Vec<f64> {
        let mut out = vec![0.0; (m + 1).pow(2)];
        for (weight, mut row) in rows {
            row.push(1.0);
            for i in 0..=m {
                for j in 0..=m {
                    out[i * (m + 1) + j] += weight * row[i] * row[j];
                }
            }
        }
        out
    }

    #[test]
    fn few_rows_have_the_sums_of_many() {
        let n = 1500;
        let codes: Vec<i32> = (0..n).map(|i| if i < 1100 { 0 } else { 1 + i % 40 }).collect();
        let x: Vec<f64> = (0..n).map(|i| (f64::from(i) * 0.37).sin()).collect();
        let y: Vec<f64> = (0..n).map(|i| (f64::from(i) * 0.11).cos()).collect();
        let of_cell: Vec<f64> = codes.iter().map(|&c| f64::from(c) * 0.1).collect();
        let weights: Vec<f64> = (0..n).map(|i| 0.5 + f64::from(i % 7)).collect();
        let columns = [Some(&x[..]), Some(&of_cell[..]), Some(&y[..])].map(Column::plain);
        for weights in [None, Some(&weights[..])] {
            let found = compress(&codes, 41, &columns, weights);
            assert_eq!(found.sizes.len(), 41);
            let mut first = 0;
            for (cell, &size) in found.sizes.iter().enumerate() {
                assert_eq!(size, 3);
                let own = (first..first + size)
                    .map(|r| (found.weights[r], found.values[r * 3..(r + 1) * 3].to_vec()));
                assert!(
                    own.clone().all(|(_, row)| row[1].to_bits() == (cell as f64 * 0.1).to_bits())
                );
                let all = (0..n as usize)
                    .filter(|&r| codes[r] as usize == cell)
                    .map(|r| (weights.map_or(1.0, |w| w[r]), vec![x[r], of_cell[r], y[r]]));
                for (a, b) in sums(own, 3).iter().zip(sums(all, 3)) {
                    assert!((a - b).abs() < 1e-11 * (1.0 + b.abs()));
                }
                first += size;
            }
        }
    }
}
