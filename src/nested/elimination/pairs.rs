//! Second differentials by pairs of entries, a row of entries of a large matrix at a time.

use super::state::{Elimination, Run};
use crate::criterion::sums::{Entry, Sums};
use crate::linalg::dense::{block, vectorised};

/// Units whose second differentials wait to be added.
///
/// Each would go through all of the Hessian once; together they go through it row by row.
#[derive(Default)]
pub(crate) struct Pending {
    level: usize,
    /// Of each unit: H, then F and the F of y'Py, all `q` squared.
    matrices: Vec<f64>,
    /// Units that share the H.
    counts: Vec<f64>,
}

/// Units that wait for one another.
const BATCH: usize = 12;

impl Elimination<'_> {
    /// `own_second` by rows of entries, at the latest when the `pending` are flushed.
    pub(crate) fn own_second_by_runs(
        &self,
        level: usize,
        parts: [&[f64]; 3],
        count: f64,
        pending: &mut Pending,
        sums: &mut Sums,
    ) {
        let q = self.reduction.levels[level].q;
        if pending.counts.len() == BATCH || pending.level != level {
            self.flush(pending, sums);
        }
        pending.level = level;
        pending.counts.push(count);
        for part in parts {
            pending.matrices.extend_from_slice(&part[..q * q]);
        }
    }

    /// Adds what waits.
    pub(crate) fn flush(&self, pending: &mut Pending, sums: &mut Sums) {
        let level = pending.level;
        if pending.counts.is_empty() {
            return;
        }
        let (q, n) = (self.reduction.levels[level].q, self.entries.len());
        let units: Vec<Unit> = (pending.matrices.chunks_exact(3 * q * q))
            .zip(&pending.counts)
            .map(|(matrices, &count)| Unit { q, matrices, count })
            .collect();
        let range = self.first_entry[level]..self.first_entry[level + 1];
        let (mut row, mut row_rss) = (vec![0.0; range.len()], vec![0.0; range.len()]);
        vectorised(|| {
            for k in range.clone() {
                let own = k - range.start;
                let (row, row_rss) = (&mut row[..=own], &mut row_rss[..=own]);
                row.fill(0.0);
                row_rss.fill(0.0);
                self.fill_row(level, k, &units, row, row_rss);
                let scale = 2.0 * self.entries[k].weight();
                for (i, (x, x_rss)) in row.iter().zip(&*row_rss).enumerate() {
                    let l = range.start + i;
                    let weight = scale * self.entries[l].weight();
                    sums.hessian[k * n + l] += weight * x;
                    sums.hessian_rss[k * n + l] += weight * x_rss;
                }
            }
        });
        pending.matrices.clear();
        pending.counts.clear();
    }

    /// Second differentials of the units by entry `k` and those before it, unweighted.
    #[inline(always)]
    fn fill_row(
        &self,
        level: usize,
        k: usize,
        units: &[Unit],
        row: &mut [f64],
        row_rss: &mut [f64],
    ) {
        let Entry { a, b, .. } = self.entries[k];
        let start = self.first_entry[level];
        // A visit that a unit did not see has zeros for its row of H and F.
        for unit in units.iter().filter(|u| u.sees(a) && u.sees(b)) {
            for run in self.runs[level].iter().take_while(|run| run.at <= k) {
                if unit.sees(run.row) {
                    let own = run.at - start..(run.at + run.len - start).min(row.len());
                    add_run(*unit, (a, b), *run, &mut row[own.clone()], &mut row_rss[own]);
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Unit<'a> {
    q: usize,
    matrices: &'a [f64],
    count: f64,
}

impl<'a> Unit<'a> {
    #[inline(always)]
    fn sees(&self, i: usize) -> bool {
        self.matrices[i * self.q + i] != 0.0
    }

    /// Row `i` of H (0), F (1) or the F of y'Py (2).
    #[inline(always)]
    fn row(&self, which: usize, i: usize) -> &'a [f64] {
        &self.matrices[block(which * self.q + i, self.q)]
    }
}

/// Adds the second differential by (a, b) and each entry of a run.
#[inline(always)]
fn add_run(unit: Unit, (a, b): (usize, usize), run: Run, into: &mut [f64], into_rss: &mut [f64]) {
    let n = into.len();
    let part = |which: usize, i: usize| &unit.row(which, i)[run.first..][..n];
    let at = |which: usize, i: usize| unit.row(which, i)[run.row];
    let ((h_a, h_b), (f_a, f_b)) = ((part(0, a), part(0, b)), (part(1, a), part(1, b)));
    let (r_a, r_b) = (part(2, a), part(2, b));
    let (ac, bc) = (at(0, a), at(0, b));
    let (by_a, by_b) = (at(1, b) - unit.count * bc, at(1, a) - unit.count * ac);
    let (rss_a, rss_b) = (at(2, b), at(2, a));
    let into_rss = &mut into_rss[..n];
    for i in 0..n {
        into[i] += (bc * f_a[i] + by_b * h_b[i]) + (ac * f_b[i] + by_a * h_a[i]);
        into_rss[i] += (bc * r_a[i] + rss_b * h_b[i]) + (ac * r_b[i] + rss_a * h_a[i]);
    }
}
