//! tr(V^-1 `V_k`) and tr(V^-1 `V_k` V^-1 `V_j`), pair of levels by pair of levels.

use super::directions::Direction;
use super::levels::{Bend, Level};
use crate::criterion::sums::Sums;
use crate::linalg::blocked;
use crate::linalg::dense::{axpy, block, dot, vectorised};
use crate::running::memory::zeros;
use crate::running::stop::check;
use crate::running::threads;

/// Units of a level whose traces one task adds up.
const CHUNK_UNITS: usize = 8;

/// tr(V^-1 `V_k`) to `logdet_by`; -tr(V^-1 `V_k` V^-1 `V_j`) + tr(V^-1 `V_kj`) to `hessian`.
pub(super) fn traces(levels: &[Level], sums: &mut Sums, bends: &[Bend]) {
    let n = sums.logdet_by.len();
    for (position, second) in levels.iter().enumerate() {
        for first in &levels[..=position] {
            check();
            let is_same = std::ptr::eq(first, second);
            let n_rows = first.k.len() / first.slots.len().max(1);
            let h = if is_same && first.slots.is_residual() {
                blocked::gram_of_lower(&first.k, n_rows)
            } else {
                blocked::transposed_product(&first.k, &second.k, n_rows)
            };
            let left = first.slots.related(&h, second.slots.len());
            let half = left.as_ref().unwrap_or(&h);
            if is_same {
                for (k, direction) in first.directions.iter().enumerate() {
                    sums.logdet_by[first.first_entry + k] =
                        direction.inner(half, first.slots.len());
                }
                for (k, j, direction) in bends.iter().filter(|_| first.slots.is_residual()) {
                    sums.hessian[(first.first_entry + k) * n + first.first_entry + j] +=
                        direction.inner(half, first.slots.len());
                }
            }
            let whole = second.slots.related_columns(half);
            let pairs = pair_traces(first, second, &h, whole.as_ref().unwrap_or(half));
            for (j, row) in pairs.chunks_exact(first.directions.len()).enumerate() {
                for (k, trace) in row.iter().enumerate() {
                    // Entries of the second level come later: the lower triangle.
                    let (row, column) = (second.first_entry + j, first.first_entry + k);
                    if row >= column {
                        sums.hessian[row * n + column] -= trace;
                    }
                }
            }
        }
    }
}

/// tr(V^-1 `V_k` V^-1 `V_j`), a row for each entry j of the second level.
fn pair_traces(first: &Level, second: &Level, h: &[f64], related: &[f64]) -> Vec<f64> {
    let (n_first, n_second) = (first.directions.len(), second.directions.len());
    let m = first.slots.units.len();
    let chunk = |start: usize| -> Vec<f64> {
        let mut out = zeros(n_second * n_first);
        let mut work = Work::default();
        for unit in start..(start + CHUNK_UNITS).min(m) {
            for (j, row) in out.chunks_exact_mut(n_first).enumerate() {
                let direction = &second.directions[j];
                vectorised(|| work.add_unit(first, direction, unit, (h, related), row));
            }
        }
        out
    };
    let starts: Vec<usize> = (0..m).step_by(CHUNK_UNITS).collect();
    let parts: Vec<Vec<f64>> = if h.len() > 100_000 {
        threads::map(starts, chunk)
    } else {
        starts.into_iter().map(chunk).collect()
    };
    let mut out = zeros(n_second * n_first);
    parts.iter().for_each(|part| axpy(1.0, part, &mut out));
    out
}

#[derive(Default)]
struct Work {
    moved: Vec<f64>,
    picked: Vec<f64>,
    /// ~H D H' of a unit.
    square: Vec<f64>,
}

impl Work {
    /// Adds <`D_k`, ~H D H'> of one unit for all directions k of its level.
    #[inline(always)]
    fn add_unit(
        &mut self,
        level: &Level,
        direction: &Direction,
        unit: usize,
        (h, related): (&[f64], &[f64]),
        out: &mut [f64],
    ) {
        let own = level.slots.first[unit]..level.slots.first[unit + 1];
        let (first, size) = (own.start, own.len());
        let stride = h.len() / level.slots.len();
        let touched = direction.slots.len();
        let all = touched == stride;
        self.picked.clear();
        for slot in own.clone().filter(|_| !all) {
            let row = &h[block(slot, stride)];
            self.picked.extend(direction.slots.iter().map(|&s| row[s as usize]));
        }
        self.square.resize(size * size, 0.0);
        for (a, slot) in own.enumerate() {
            direction.apply(&related[block(slot, stride)], &mut self.moved);
            for b in 0..size {
                let row = if all {
                    &h[block(first + b, stride)]
                } else {
                    &self.picked[block(b, touched)]
                };
                self.square[a * size + b] = dot(&self.moved, row);
            }
        }
        for (sum, other) in out.iter_mut().zip(&level.directions) {
            for (row, column, weight) in other.entries_of(unit) {
                *sum += weight * self.square[(row - first) * size + column - first];
            }
        }
    }
}
