//! Rows of series on their way to items.

use std::ops::Range;

use super::level_rows::LevelRows;
use super::series_columns::{Combination, SeriesColumns};
use crate::linalg::triangle::Triangle;
use crate::running::memory::{append, grow, lengthen};

/// Rows of the series of one outer unit on their way to items [outer Z | X | y] with a class.
///
/// Classes met often go through a triangular factor, so that a long series keeps few items.
pub struct Bundle {
    n_columns: usize,
    n_fits: usize,
    /// Codes of steps and ends met often, sorted, with the first of their factors.
    tall: Vec<(i32, usize)>,
    triangles: Vec<Triangle>,
    rows: Items,
    /// Column-major combinations of a run of rows.
    block: Vec<f64>,
}

#[derive(Default)]
struct Items {
    design: Vec<f64>,
    response: Vec<f64>,
    classes: Vec<u32>,
}

impl Bundle {
    /// A bundle whose rows will have the steps `codes` (in any order).
    #[must_use]
    pub fn new(
        columns: &SeriesColumns,
        mut codes: Vec<i32>,
        n_columns: usize,
        n_fits: usize,
    ) -> Self {
        let many = 2 * (n_columns + 1);
        let mut bundle = Self {
            n_columns,
            n_fits,
            tall: Vec::new(),
            triangles: Vec::new(),
            rows: Items::default(),
            block: Vec::new(),
        };
        if codes.len() > many && !columns.recursive {
            codes.sort_unstable();
            for run in codes.chunk_by(|a, b| a == b) {
                let ends = if columns.closes { 2 } else { 1 };
                if run.len() * (if run[0] < 0 { ends } else { 1 }) > many {
                    bundle.tall.push((run[0], bundle.triangles.len()));
                    let n = if run[0] < 0 { 1 } else { columns.combinations.len() };
                    bundle.triangles.extend((0..n).map(|_| Triangle::new(n_columns, n_fits)));
                }
            }
        }
        bundle
    }

    /// Adds rows `fresh` of a column-major matrix of `n` rows that belong to one series.
    ///
    /// `codes` are the steps of all `n` rows; row `fresh.start - 1` is the one before the first,
    /// unless that begins the series. `last` tells that the series ends here, with end class of
    /// code `end`.
    pub fn add(
        &mut self,
        columns: &SeriesColumns,
        scratch: &[f64],
        codes: &[i32],
        fresh: Range<usize>,
        last: Option<i32>,
    ) {
        let n = codes.len();
        let mut first = fresh.start;
        for run in codes[fresh.clone()].chunk_by(|a, b| a == b) {
            let rows = first..first + run.len();
            first += run.len();
            if run[0] < 0 || columns.recursive {
                let only_row = Combination { row: 1.0, previous: 0.0, share: 0.0 };
                self.combine(columns, scratch, n, rows, run[0], &[only_row]);
            } else {
                self.combine(columns, scratch, n, rows, run[0], &columns.combinations);
            }
        }
        if let Some(end) = last.filter(|_| columns.closes) {
            let only_row = Combination { row: 1.0, previous: 0.0, share: 0.0 };
            self.combine(columns, scratch, n, fresh.end - 1..fresh.end, end, &[only_row]);
        }
    }

    fn combine(
        &mut self,
        columns: &SeriesColumns,
        scratch: &[f64],
        n: usize,
        rows: Range<usize>,
        code: i32,
        combinations: &[Combination],
    ) {
        let tall = self.tall.binary_search_by_key(&code, |t| t.0).ok().map(|at| self.tall[at].1);
        let width = self.n_columns + self.n_fits;
        let count = rows.len();
        for (r, c) in combinations.iter().enumerate() {
            lengthen(&mut self.block, count * width);
            for (column, out) in
                scratch.chunks_exact(n).zip(self.block.chunks_exact_mut(count)).take(width)
            {
                for (o, value) in out.iter_mut().zip(&column[rows.clone()]) {
                    *o = c.row * value;
                }
                if c.previous != 0.0 {
                    let before = &column[rows.start - 1..rows.end - 1];
                    for (o, value) in out.iter_mut().zip(before) {
                        *o += c.previous * value;
                    }
                }
            }
            if let Some(triangle) = tall {
                self.triangles[triangle + r].push_columns(&self.block, count, 0, count);
                continue;
            }
            let class = (columns.first_class(code) + r) as u32;
            for i in 0..count {
                let value = |column: usize| self.block[column * count + i];
                grow(&mut self.rows.design, self.n_columns);
                self.rows.design.extend((0..self.n_columns).map(value));
                grow(&mut self.rows.response, self.n_fits);
                self.rows.response.extend((self.n_columns..width).map(value));
                self.rows.classes.push(class);
            }
        }
    }

    /// Hands the items over, those of a class next to each other.
    pub fn finish(mut self, columns: &SeriesColumns, out: &mut LevelRows) {
        let Items { design, response, classes } = &self.rows;
        let mut order: Vec<usize> = (0..classes.len()).collect();
        if !columns.recursive {
            order.sort_by_key(|&i| classes[i]);
        }
        let (w, f) = (self.n_columns, self.n_fits);
        for i in order {
            append(&mut out.design, &design[i * w..(i + 1) * w]);
            append(&mut out.response, &response[i * f..(i + 1) * f]);
            out.classes.push(classes[i]);
        }
        for &(code, first) in &self.tall {
            let n = if code < 0 { 1 } else { columns.combinations.len() };
            for r in 0..n {
                let class = (columns.first_class(code) + r) as u32;
                let triangle = &mut self.triangles[first + r];
                for row in triangle.factor().chunks_exact(w + f) {
                    append(&mut out.design, &row[..w]);
                    append(&mut out.response, &row[w..]);
                    out.classes.push(class);
                }
                // What of each response lies outside the columns, as a row of its own.
                let longer = out.design.len() + w;
                lengthen(&mut out.design, longer);
                out.response.extend(triangle.residual_squares.iter().map(|s| s.sqrt()));
                out.classes.push(class);
            }
        }
        out.bundles.push(out.classes.len());
    }
}
