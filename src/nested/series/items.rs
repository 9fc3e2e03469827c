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

use std::ops::Range;

use super::chain::ChainParameters;
use crate::linalg::dense::{add_outer, axpy};
use crate::running::memory::append;

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
        axpy(*value, &rows[i * n_columns..(i + 1) * n_columns], &mut out);
        out[n_columns] += value * value;
    }
    out
}
