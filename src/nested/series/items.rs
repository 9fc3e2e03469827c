//! Residuals that follow a Markov chain along each series: fixed cross-products, moving weights.
//!
//! Let u and v be two neighbours of a series, f their correlation and s, d their sum and
//! difference. With one variance, the inverse correlation matrix of a whole series is the sum
//!
//! ```text
//! y'C^-1 y = (y_1^2 + y_n^2) / 2 + sum of (s^2 (1 - f) / (1 + f) + d^2 (1 + f) / (1 - f)) / 4
//! log|C|   = sum of log(1 - f^2)
//! ```
//!
//! (write (v - f u)^2 / (1 - f^2) in s and d; the mixed products telescope). No term is negative,
//! so nothing cancels however near f is to -1 or 1. The parameters move the weights only: steps of
//! equal length share a cross-product, formed once, and an evaluation no longer sees their rows.

use crate::running::memory::{append, grow, lengthen};
use std::ops::Range;

use crate::linalg::dense::add_outer;
use crate::linalg::triangle::Triangle;
use crate::nested::series::chain::ChainParameters;
use crate::rows::rotate::LevelRows;

/// `row` times a row plus `previous` times the row before it.
#[derive(Clone, Copy, Debug)]
pub struct Combination {
    /// Weight of the row.
    pub row: f64,
    /// Weight of the row before it in the series.
    pub previous: f64,
    /// Weight of the combination's square in the sum of squares of all rows.
    pub share: f64,
}

/// How the rows of each series, in time order, enter the inverse of their covariance.
///
/// Classes of cross-products: first those of the ends, then for each class of steps one for each
/// combination.
pub struct SeriesColumns<'a> {
    /// By row, class of the step from the row before it; -1 - e where a series of end class e
    /// begins.
    pub step: &'a [i32],
    /// Classes of ends.
    pub n_ends: usize,
    /// Classes of steps.
    pub n_steps: usize,
    /// What a step contributes.
    pub combinations: Vec<Combination>,
    /// Does the last row of a series count as an end too?
    pub closes: bool,
    /// Weight of an end's square in the sum of squares of all rows.
    pub end_share: f64,
    /// Do the iterations walk along the rows? Items are then the rows themselves, in order, of the
    /// class of their step; there are two classes a step, for two functions of it.
    pub recursive: bool,
}

impl SeriesColumns<'_> {
    /// Number of classes.
    #[must_use]
    pub fn n_classes(&self) -> usize {
        self.n_ends + self.n_steps * self.combinations.len()
    }

    /// Weight of a class in the sum of squares of all rows, by class modulo combinations.
    #[must_use]
    pub fn shares(&self) -> Shares {
        Shares {
            n_ends: self.n_ends,
            end: self.end_share,
            combinations: self.combinations.iter().map(|c| c.share).collect(),
        }
    }

    fn first_class(&self, code: i32) -> usize {
        if code < 0 {
            (-1 - code) as usize
        } else {
            self.n_ends + code as usize * self.combinations.len()
        }
    }
}

/// Weights of classes in the sum of squares of all rows.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    n_ends: usize,
    end: f64,
    combinations: Vec<f64>,
}

impl Shares {
    /// Weight of one class.
    #[must_use]
    pub fn of(&self, class: u32) -> f64 {
        let class = class as usize;
        if class < self.n_ends {
            self.end
        } else {
            self.combinations[(class - self.n_ends) % self.combinations.len()]
        }
    }
}

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

/// Items of all bundles in the coordinates of the iterations.
///
/// Classes with several items in a bundle are kept as one cross-product.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Number of classes.
    pub n_classes: usize,
    /// Weights of every class from which those of N and of its derivatives are mixed.
    pub n_basis: usize,
    /// Classes of ends; 0 unless the iterations walk along the rows.
    pub n_ends: usize,
    /// Where parameters belong to visits: those of each class. Ends are then starts.
    pub chain: Option<ChainParameters>,
    /// Columns of [outer Z | X].
    pub n_columns: usize,
    /// Items of bundle b: `row_offsets[b]..row_offsets[b + 1]`.
    pub row_offsets: Vec<usize>,
    /// Class of each item.
    pub row_classes: Vec<u32>,
    /// Rows of the items, `n_columns` each.
    pub rows: Vec<f64>,
    /// Per fit, response of each item.
    pub row_responses: Vec<f64>,
    /// Cross-products of bundle b: `gram_offsets[b]..gram_offsets[b + 1]`.
    pub gram_offsets: Vec<usize>,
    /// Class of each cross-product.
    pub gram_classes: Vec<u32>,
    /// Lower triangles by rows.
    pub grams: Vec<f64>,
    /// Per fit and cross-product, products of the response with the columns and with itself.
    pub gram_responses: Vec<f64>,
    /// Per fit, sum of squares of the response by class, and items by class.
    pub response_squares: Vec<f64>,
}

impl Series {
    /// Sorts items (`responses` per fit) into cross-products and single rows.
    #[must_use]
    pub fn new(
        (n_classes, n_basis, n_ends): (usize, usize, usize),
        n_columns: usize,
        bundles: &[usize],
        classes: &[u32],
        design: &[f64],
        responses: &[f64],
    ) -> Self {
        let n_items = classes.len();
        let n_fits = responses.len().checked_div(n_items).unwrap_or(0);
        let mut out = Self {
            n_classes,
            n_basis,
            n_ends,
            n_columns,
            row_offsets: vec![0],
            gram_offsets: vec![0],
            response_squares: vec![0.0; n_fits * n_classes],
            ..Self::default()
        };
        let mut row_responses = vec![Vec::new(); n_fits];
        let mut gram_responses = vec![Vec::new(); n_fits];
        // Rows in a cross-product lose their order.
        let joins = |run: &[u32]| n_ends == 0 && run.len() * 2 > n_columns;
        let mut first = 0;
        for &end in bundles {
            for run in classes[first..end].chunk_by(|a, b| a == b) {
                let items = first..first + run.len();
                first = items.end;
                let rows = &design[items.start * n_columns..items.end * n_columns];
                for f in 0..n_fits {
                    let y = &responses[f * n_items..][items.clone()];
                    out.response_squares[f * n_classes + run[0] as usize] +=
                        y.iter().map(|v| v * v).sum::<f64>();
                    if joins(run) {
                        gram_responses[f].extend(response_products(rows, y, n_columns));
                    } else {
                        append(&mut row_responses[f], y);
                    }
                }
                if joins(run) {
                    out.gram_classes.push(run[0]);
                    out.grams.extend(packed_gram(rows, n_columns));
                } else {
                    append(&mut out.row_classes, run);
                    append(&mut out.rows, rows);
                }
            }
            out.row_offsets.push(out.row_classes.len());
            out.gram_offsets.push(out.gram_classes.len());
        }
        out.row_responses = row_responses.concat();
        out.gram_responses = gram_responses.concat();
        out
    }

    /// By class of step: sum of products of neighbours' responses, their number, and the same for
    /// rows two steps of that class apart.
    #[must_use]
    pub fn lag_products(&self, fit: usize) -> Vec<f64> {
        let n_steps = (self.n_classes - self.n_ends) / 2;
        let mut out = vec![0.0; 4 * n_steps];
        let y = &self.row_responses[fit * self.row_classes.len()..][..self.row_classes.len()];
        let step =
            |i: usize| (self.row_classes[i] as usize).checked_sub(self.n_ends).map(|c| c / 2);
        for i in 1..y.len() {
            let Some(code) = step(i) else { continue };
            out[4 * code] += y[i] * y[i - 1];
            out[4 * code + 1] += 1.0;
            if step(i - 1) == Some(code) {
                out[4 * code + 2] += y[i] * y[i - 2];
                out[4 * code + 3] += 1.0;
            }
        }
        out
    }

    /// Number of bundles.
    #[must_use]
    pub fn n_bundles(&self) -> usize {
        self.row_offsets.len() - 1
    }

    /// Rows and cross-products of some bundles.
    #[must_use]
    pub fn n_items(&self, bundles: Range<usize>) -> usize {
        self.row_offsets[bundles.end] - self.row_offsets[bundles.start]
            + self.gram_offsets[bundles.end]
            - self.gram_offsets[bundles.start]
    }
}

fn packed_gram(rows: &[f64], n_columns: usize) -> Vec<f64> {
    let mut full = vec![0.0; n_columns * n_columns];
    if n_columns > 0 {
        rows.chunks_exact(n_columns).for_each(|row| add_outer(row, &mut full));
    }
    (0..n_columns).flat_map(|i| full[i * n_columns..=i * n_columns + i].to_vec()).collect()
}

fn response_products(rows: &[f64], y: &[f64], n_columns: usize) -> Vec<f64> {
    let mut out = vec![0.0; n_columns + 1];
    for (i, value) in y.iter().enumerate() {
        crate::linalg::dense::axpy(*value, &rows[i * n_columns..(i + 1) * n_columns], &mut out);
        out[n_columns] += value * value;
    }
    out
}
