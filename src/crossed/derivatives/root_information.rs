//! Sums over units of the diagonal blocks of H from the inverse root of a dense A = L L'.
//!
//! With R = L^-1, A^-1 = R'R: of the rest, sums of squares of R's columns; of the leading factor,
//!
//! ```text
//! sum B V B' = sum Y'Y,  Y = R Lambda'B'
//! ```
//!
//! B is as sparse as the data, so that R costs half of what A^-1 does and Y little.

use crate::crossed::evaluation::Factorisation;
use crate::crossed::factor::panels::Panels;
use crate::linalg::dense::{Kernel, axpy, block, vectorised};
use crate::linalg::many::fill;
use crate::running::memory::{filled, zeros};
use crate::running::threads;

/// Rows of R that are worked on at once.
const ROWS: usize = 16;
/// Order of A below which either takes no time.
const SMALLEST: f64 = 300.0;
/// Multiplications in B's pattern cost about this many of a dense product.
const SPARSE_COST: f64 = 1.5;

impl Factorisation<'_> {
    /// Do the sums cost less from R than from A^-1? Beside a level of fixed effects, which may span
    /// random ones, they come from A^-1, whose entries have the factor's own zeros.
    pub(crate) fn takes_root(&self) -> bool {
        let reduction = self.reduction;
        let rest = &reduction.rest;
        let is_whole = reduction.structure.is_dense && self.factor.is_some();
        if !is_whole || reduction.prior.is_some() || rest.fixed.is_some() {
            return false;
        }
        let n = rest.order() as f64;
        if n < SMALLEST {
            return false;
        }
        let places = reduction.incidence.columns.len() as f64 * rest.leading_q as f64;
        SPARSE_COST * places < n * n / 3.0
    }

    /// By block, the diagonal blocks of A^-1, one after the other.
    pub(crate) fn own_blocks(&self, root: &Panels) -> Vec<Vec<f64>> {
        let structure = &*self.reduction.structure;
        let of_panel = |s: usize| -> Vec<Vec<f64>> {
            let (width, panel) = (structure.width(s), root.panel(s));
            let mut out: Vec<Vec<f64>> = structure
                .blocks(s)
                .map(|b| vec![0.0; structure.size(b) * structure.size(b)])
                .collect();
            for row in panel.chunks_exact(width) {
                let mut own = row;
                for sum in &mut out {
                    if let [sum] = &mut sum[..] {
                        *sum += own[0] * own[0];
                        own = &own[1..];
                        continue;
                    }
                    let q = sum.len().isqrt();
                    let (part, rest) = own.split_at(q);
                    part.iter().zip(sum.chunks_exact_mut(q)).for_each(|(a, to)| axpy(*a, part, to));
                    own = rest;
                }
            }
            out
        };
        threads::map(0..structure.n_supernodes(), of_panel).into_iter().flatten().collect()
    }

    /// The sum of B V B' over leading units.
    pub(crate) fn leading_from_root(&self, root: &Panels) -> Vec<f64> {
        let reduction = self.reduction;
        let q = reduction.rest.leading_q;
        let b = self.scaled_cross();
        let order = reduction.structure.order();
        let starts: Vec<usize> = (0..order).step_by(ROWS).collect();
        let parts = threads::map(starts, |first| {
            let rows = gathered(root, first, (first + ROWS).min(order));
            let mut sum = zeros(q * q);
            vectorised(AddSquares { of: self, b: &b, rows: &rows, sum: &mut sum });
            sum
        });
        let mut out = zeros(q * q);
        parts.iter().for_each(|part| axpy(1.0, part, &mut out));
        out
    }

    /// Adds Y'Y of some rows of R.
    #[inline(always)]
    fn add_squares(&self, b: &[f64], rows: &[[f64; ROWS]], sum: &mut [f64]) {
        let incidence = &self.reduction.incidence;
        let q = self.reduction.rest.leading_q;
        let mut y = vec![[0.0; ROWS]; q];
        for unit in 0..incidence.n_units() {
            let (first, last) = (incidence.first[unit], incidence.first[unit + 1]);
            // Columns ascend, and R is zero above its diagonal.
            let met =
                incidence.columns[first..last].partition_point(|c| (*c as usize) < rows.len());
            let columns = &incidence.columns[first..first + met];
            for (a, y) in y.iter_mut().enumerate() {
                let mut own = [0.0; ROWS];
                for k in 0..columns.len() {
                    let (weight, row) = (b[(first + k) * q + a], &rows[columns[k] as usize]);
                    for i in 0..ROWS {
                        own[i] += weight * row[i];
                    }
                }
                *y = own;
            }
            for a in 0..q {
                for c in 0..q {
                    let mut total = 0.0;
                    for i in 0..ROWS {
                        total += y[a][i] * y[c][i];
                    }
                    sum[a * q + c] += total;
                }
            }
        }
    }

    /// B Lambda in the pattern of N.
    fn scaled_cross(&self) -> Vec<f64> {
        let (reduction, b) = (self.reduction, self.cross_information());
        let (incidence, rest) = (&reduction.incidence, &reduction.rest);
        let (q, lambdas) = (rest.leading_q, self.lambdas());
        let one = |place: usize, out: &mut [f64]| {
            let column = incidence.columns[place] as usize;
            let level = rest.level_of(rest.unit_of(column));
            let (n, lambda) = (rest.levels[level].q, &lambdas[level]);
            // The unit's columns stand side by side; this is its i-th.
            let i = (column - rest.levels[level].first_column) % n;
            for k in 0..n {
                axpy(lambda[k * n + i], &b[block(place - i + k, q)], out);
            }
        };
        fill(incidence.columns.len(), q, b.len(), one)
    }
}

/// The rows `first..end` of R as `ROWS` numbers for each column up to the last of them.
fn gathered(root: &Panels, first: usize, end: usize) -> Vec<[f64; ROWS]> {
    let structure = &*root.structure;
    let mut out = filled([0.0; ROWS], end);
    for s in 0..structure.n_supernodes() {
        let columns = structure.columns(s);
        if columns.start >= end {
            break;
        }
        let (width, panel) = (columns.len(), root.panel(s));
        for row in first.max(columns.start)..end {
            let values = &panel[block(row - columns.start, width)];
            for (column, value) in columns.clone().zip(values).take_while(|(c, _)| *c < end) {
                out[column][row - first] = *value;
            }
        }
    }
    out
}

/// `add_squares`: a closure as large would not be compiled for wide vectors.
struct AddSquares<'a> {
    of: &'a Factorisation<'a>,
    b: &'a [f64],
    rows: &'a [[f64; ROWS]],
    sum: &'a mut [f64],
}

impl Kernel for AddSquares<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.of.add_squares(self.b, self.rows, self.sum);
    }
}
