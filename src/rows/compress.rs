//! The rows of each cell replaced by few weighted rows with the same sums.
//!
//! Rows that share their unit of every grouping factor enter a likelihood with independent residuals
//! through their weighted sums of squares and products alone. Let W be the weight of a cell's rows,
//! m their weighted means, R the triangular factor of their weighted deviations from m, and H a
//! matrix of k rows with orthonormal columns orthogonal to 1. The k rows 1 m' + sqrt(k / W) H R, of
//! weight W / k each, have the same sums, and a column that is constant in the cell, an intercept
//! among them, stays the same constant. No cross-product is formed, so no digits are squared away.

use std::ops::Range;

use super::cell_rows::CellRows;
use super::nesting::{chunks, rows_by_unit};
use crate::linalg::dense::{Kernel, axpy, vectorised};
use crate::linalg::triangle::Triangle;
use crate::running::memory::{append, grow, lengthen};
use crate::running::stop::check;
use crate::running::threads::{self, PARALLEL_SIZE};

/// Rows per task.
const CHUNK_ROWS: usize = 8192;
/// Rows of a cell that are looked at before they are copied.
const FEW: usize = 8;
/// Rows of a cell that are held at once.
const BLOCK: usize = 512;
/// Partial sums that are formed side by side.
const LANES: usize = 8;

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
pub fn compress(codes: &[i32], n_cells: usize, rows: &impl CellRows) -> Compressed {
    let (first, order) = rows_by_unit(codes, n_cells, None);
    let tasks = chunks(n_cells, CHUNK_ROWS, |cells| first[cells.end] - first[cells.start]);
    let task = |cells: &Range<usize>| {
        let mut worker = Worker::new(rows);
        for cell in cells.clone() {
            worker.compress(&order[first[cell]..first[cell + 1]]);
        }
        worker.out
    };
    let parallel = codes.len() * rows.n_columns() > PARALLEL_SIZE;
    let parts: Vec<Compressed> =
        if parallel { threads::map(&tasks, task) } else { tasks.iter().map(task).collect() };
    let mut all = Compressed::default();
    grow(&mut all.values, parts.iter().map(|part| part.values.len()).sum());
    grow(&mut all.weights, parts.iter().map(|part| part.weights.len()).sum());
    for part in parts {
        append(&mut all.values, &part.values);
        append(&mut all.weights, &part.weights);
        all.sizes.extend(part.sizes);
    }
    all
}

/// Workspace and results of one task.
struct Worker<'a, R> {
    rows: &'a R,
    /// By number of columns, factors that were used before.
    factors: Vec<Option<Triangle>>,
    /// Columns of the rows at hand, one after the other, and the weights of these.
    block: Vec<f64>,
    block_weights: Vec<f64>,
    scratch: Vec<f64>,
    means: Means,
    out: Compressed,
}

/// First moments of a cell.
#[derive(Default)]
struct Means {
    weight: f64,
    /// Values of the cell's first row, and sums of weighted deviations from them.
    origin: Vec<f64>,
    sums: Vec<f64>,
    values: Vec<f64>,
    varies: Vec<bool>,
    /// Columns that vary in the cell.
    varying: Vec<usize>,
}

/// Sum of the weighted deviations of some values from one, and whether any differs from it.
#[inline(always)]
fn deviations_from(origin: f64, values: &[f64], weights: Option<&[f64]>) -> (f64, bool) {
    let (mut sums, mut differ) = ([0.0; LANES], [0_u64; LANES]);
    let whole = values.len() / LANES * LANES;
    // Loops, and not iterators: what is not inlined here is not vectorised.
    let (chunks, rest) = (values[..whole].chunks_exact(LANES), &values[whole..]);
    match weights {
        None => {
            for chunk in chunks {
                for lane in 0..LANES {
                    let deviation = chunk[lane] - origin;
                    differ[lane] |= u64::from(deviation != 0.0);
                    sums[lane] += deviation;
                }
            }
        }
        Some(weights) => {
            for (chunk, weights) in chunks.zip(weights.chunks_exact(LANES)) {
                for lane in 0..LANES {
                    let deviation = chunk[lane] - origin;
                    differ[lane] |= u64::from(deviation != 0.0);
                    sums[lane] += weights[lane] * deviation;
                }
            }
        }
    }
    for (lane, &value) in rest.iter().enumerate() {
        let deviation = value - origin;
        differ[lane] |= u64::from(deviation != 0.0);
        sums[lane] += weights.map_or(1.0, |own| own[whole + lane]) * deviation;
    }
    let [a, b, c, d, e, f, g, h] = sums;
    (((a + e) + (b + f)) + ((c + g) + (d + h)), differ.iter().any(|&own| own != 0))
}

impl Means {
    /// Adds the moments of `n` rows, column after column.
    #[inline(always)]
    fn add(&mut self, block: &[f64], n: usize, weights: Option<&[f64]>) {
        for (j, values) in block.chunks_exact(n).enumerate() {
            let (sum, differs) = deviations_from(self.origin[j], values, weights);
            self.sums[j] += sum;
            self.varies[j] |= differs;
        }
    }
}

struct Add<'a> {
    means: &'a mut Means,
    block: &'a [f64],
    n: usize,
    weights: Option<&'a [f64]>,
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.means.add(self.block, self.n, self.weights);
    }
}

impl<'a, R: CellRows> Worker<'a, R> {
    fn new(rows: &'a R) -> Self {
        let factors = (0..=rows.n_columns()).map(|_| None).collect();
        let (block, block_weights, scratch) = (Vec::new(), Vec::new(), Vec::new());
        let (means, out) = (Means::default(), Compressed::default());
        Self { rows, factors, block, block_weights, scratch, means, out }
    }

    fn compress(&mut self, rows: &[u32]) {
        check();
        if rows.len() <= FEW && self.stand_for_themselves(rows) {
            self.keep(rows);
            return;
        }
        // One block stays at hand from here on: rows lie anywhere in memory.
        let is_one = rows.len() <= BLOCK;
        self.find_means(rows);
        let width = self.means.varying.len();
        if rows.len() <= width + 1 {
            self.keep(rows);
            return;
        }
        let mut factor = self.factors[width].take().unwrap_or_else(|| Triangle::new(width, 0));
        factor.clear();
        for block in rows.chunks(BLOCK) {
            if !is_one {
                self.bring(block);
            }
            self.deviations(block.len());
            factor.push_columns(&self.scratch, block.len(), 0, block.len());
        }
        self.stand_for(factor.factor());
        self.factors[width] = Some(factor);
    }

    /// Whether as many columns vary as a few rows need to be no more than would stand for them.
    fn stand_for_themselves(&self, rows: &[u32]) -> bool {
        let Some((&first, others)) = rows.split_first() else { return true };
        let varies = |j: usize| {
            let value = self.rows.value(first, j);
            others.iter().any(|&row| self.rows.value(row, j) - value != 0.0)
        };
        let varying = (0..self.rows.n_columns()).filter(|&j| varies(j));
        varying.take(others.len()).count() == others.len()
    }

    /// Rows as they are.
    fn keep(&mut self, rows: &[u32]) {
        grow(&mut self.out.values, rows.len() * self.rows.n_columns());
        for &row in rows {
            self.rows.push(row, &mut self.out.values);
            self.out.weights.push(self.rows.weight(row));
        }
        self.out.sizes.push(rows.len());
    }

    /// Reads rows, in ascending order, into `block`.
    fn bring(&mut self, rows: &[u32]) {
        check();
        lengthen(&mut self.block, rows.len() * self.rows.n_columns());
        self.rows.read(rows, &mut self.block);
        if self.rows.is_weighted() {
            self.block_weights.clear();
            self.block_weights.extend(rows.iter().map(|&row| self.rows.weight(row)));
        }
    }

    /// Weighted means, summed as deviations from the first row: exact where a column is constant.
    fn find_means(&mut self, rows: &[u32]) {
        let m = self.rows.n_columns();
        let mut means = std::mem::take(&mut self.means);
        means.weight = 0.0;
        for moments in [&mut means.origin, &mut means.sums, &mut means.values] {
            moments.clear();
            moments.resize(m, 0.0);
        }
        means.varies.clear();
        means.varies.resize(m, false);
        for (b, rows) in rows.chunks(BLOCK).enumerate() {
            self.bring(rows);
            let n = rows.len();
            if b == 0 {
                let firsts = self.block.iter().step_by(n);
                means.origin.iter_mut().zip(firsts).for_each(|(origin, value)| *origin = *value);
            }
            let weights = self.rows.is_weighted().then_some(&self.block_weights[..]);
            means.weight += weights.map_or(n as f64, |own| own.iter().sum());
            vectorised(Add { means: &mut means, block: &self.block, n, weights });
        }
        means.varying.clear();
        means.varying.extend((0..m).filter(|&j| means.varies[j]));
        for (j, mean) in means.values.iter_mut().enumerate() {
            let (origin, sum) = (means.origin[j], means.sums[j]);
            *mean = if sum == 0.0 { origin } else { origin + sum / means.weight };
        }
        self.means = means;
    }

    /// Weighted deviations of the varying columns from their means, column after column.
    fn deviations(&mut self, n: usize) {
        let means = &self.means;
        lengthen(&mut self.scratch, n * means.varying.len());
        for (&j, out) in means.varying.iter().zip(self.scratch.chunks_exact_mut(n)) {
            let mean = means.values[j];
            for (o, value) in out.iter_mut().zip(&self.block[j * n..(j + 1) * n]) {
                *o = value - mean;
            }
            if self.rows.is_weighted() {
                for (o, weight) in out.iter_mut().zip(&self.block_weights) {
                    *o *= weight.sqrt();
                }
            }
        }
    }

    /// Rows 1 m' + sqrt(k / W) H R, H of Helmert's contrasts.
    fn stand_for(&mut self, factor: &[f64]) {
        let means = &self.means;
        let width = means.varying.len();
        let k = width + 1;
        let scale = (k as f64 / means.weight).sqrt();
        let contrast = |l: usize| scale / (((l + 1) * (l + 2)) as f64).sqrt();
        // Of the rows of R from the last on, each times its contrast.
        let mut sum = vec![0.0; width];
        let m = self.rows.n_columns();
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
    use super::super::cell_rows::{InColumns, InPieces, RowValues};
    use super::super::columns::Column;
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
        let columns = [Some(&x[..]), Some(&of_cell[..]), Some(&y[..])]
            .map(|own| RowValues::Numbers(Column::plain(own)));
        for weights in [None, Some(&weights[..])] {
            let found = compress(&codes, 41, &InColumns { columns: &columns, weights });
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

    /// What stands for rows, in pieces, stands for them once more; few rows stay as they are.
    #[test]
    fn pieces_have_the_sums_of_their_rows() {
        let rows: Vec<f64> = (0..90).map(|i| f64::from(i * i % 23) + 0.25).collect();
        let weights: Vec<f64> = (0..30).map(|i| 1.0 + f64::from(i % 3)).collect();
        let codes: Vec<i32> = (0..30).map(|i| if i % 2 == 0 { 0 } else { 1 + i % 7 }).collect();
        let pieces = vec![(&rows[..24], &weights[..8]), (&rows[24..], &weights[8..])];
        let found = compress(&codes, 8, &InPieces::new(3, pieces));
        let mut first = 0;
        for (cell, &size) in found.sizes.iter().enumerate() {
            let of_cell = |r: &usize| codes[*r] as usize == cell;
            let n = (0..30).filter(of_cell).count();
            assert_eq!(size, n.min(4));
            let own = (first..first + size)
                .map(|r| (found.weights[r], found.values[r * 3..(r + 1) * 3].to_vec()));
            let all =
                (0..30).filter(of_cell).map(|r| (weights[r], rows[r * 3..r * 3 + 3].to_vec()));
            for (a, b) in sums(own, 3).iter().zip(sums(all, 3)) {
                assert!((a - b).abs() < 1e-11 * (1.0 + b.abs()));
            }
            first += size;
        }
    }
}
