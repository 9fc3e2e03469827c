//! First differentials by the entries of a large matrix, several units at a time.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::state::Elimination;
use crate::linalg::dense::{axpy, block};
use crate::rows::MANY_ROWS;
use crate::running::memory;

/// Numbers in the differentials of all entries from which products over several units cost less than
/// a visit to them all for each.
const LARGE: usize = 1 << 11;
/// The same of few rows.
const HUGE: usize = 1 << 18;
/// Units that wait for one another.
const BATCH: usize = 64;

/// Units whose first differentials wait to be added.
///
/// Each would go through the differentials of all entries once; together they go through them one
/// entry at a time.
#[derive(Default)]
pub(crate) struct Tangents {
    level: usize,
    /// By row of U, and in it by unit: the `w` numbers of the row.
    rows: Vec<f64>,
    n_units: usize,
}

impl Elimination<'_> {
    /// Do the units of a level wait for one another?
    pub(crate) fn waits(&self, level: usize) -> bool {
        let n = self.first_entry[level + 1] - self.first_entry[level];
        let size = n * self.width[level].pow(2);
        let many = self.reduction.n_rows >= MANY_ROWS;
        !self.has_directions(level) && size >= if many { LARGE } else { HUGE }
    }

    /// tr(H E) for the entries of a unit's own level.
    pub(crate) fn own_traces(&self, level: usize, h: &[f64], count: f64, logdet_by: &mut [f64]) {
        let (q, first) = (self.reduction.levels[level].q, self.first_entry[level]);
        for (k, entry) in self.entries[first..self.first_entry[level + 1]].iter().enumerate() {
            logdet_by[first + k] += count * 2.0 * entry.weight() * h[entry.a * q + entry.b];
        }
    }

    /// -U'E U of a unit, at the latest when the `tangents` are flushed.
    pub(crate) fn push_tangents(
        &self,
        level: usize,
        u: &[f64],
        tangents: &mut Tangents,
        by: &mut [f64],
    ) {
        let (q, w) = (self.reduction.levels[level].q, self.width[level]);
        if tangents.n_units == BATCH || tangents.level != level {
            self.flush_tangents(tangents, by);
        }
        tangents.level = level;
        memory::lengthen(&mut tangents.rows, q * BATCH * w);
        for (i, row) in u[..q * w].chunks_exact(w).enumerate() {
            tangents.rows[block(i * BATCH + tangents.n_units, w)].copy_from_slice(row);
        }
        tangents.n_units += 1;
    }

    /// Adds what waits.
    pub(crate) fn flush_tangents(&self, tangents: &mut Tangents, by: &mut [f64]) {
        let (level, n) = (tangents.level, std::mem::take(&mut tangents.n_units));
        if n == 0 {
            return;
        }
        let w = self.width[level];
        let rows = |a: usize| {
            let own = &tangents.rows[a * BATCH * w..(a * BATCH + n) * w];
            MatRef::from_row_major_slice(own, n, w)
        };
        let mut product = memory::zeros(w * w);
        let range = self.first_entry[level]..self.first_entry[level + 1];
        for (k, entry) in self.entries[range].iter().enumerate() {
            let into = &mut by[block(k, w * w)];
            let out = MatMut::from_row_major_slice_mut(&mut product, w, w);
            let (a, b) = (rows(entry.a), rows(entry.b));
            matmul(out, Accum::Replace, a.transpose(), b, 1.0, Par::Seq);
            for i in 0..w {
                axpy(-1.0, &product[i * w..=i * w + i], &mut into[i * w..=i * w + i]);
                if entry.a != entry.b {
                    for j in 0..=i {
                        into[i * w + j] -= product[j * w + i];
                    }
                }
            }
        }
    }
}
