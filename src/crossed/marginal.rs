//! `Z_2`'`Z_2`, and K from it.

use super::factor::panels::Panels;
use super::reduction::Reduction;
use super::root::Root;
use crate::linalg::dense::{axpy, block, cholesky, dot, multiply, solve_lower, vectorised};
use crate::linalg::small::{transpose, transposed_times};
use crate::running::memory::zeros;
use crate::running::threads;

/// Tasks that a pass over all columns is cut into.
const TASKS: usize = 64;

/// The columns of K = `Z_2`'`Z_2` - sum of N'(I - W^-1)N.
pub struct Marginal<'a> {
    reduction: &'a Reduction,
    /// Per leading unit I - W^-1 = T Lambda (I + Lambda'T'T Lambda)^-1 Lambda'T'.
    removed: Vec<f64>,
}

impl<'a> Marginal<'a> {
    /// K at the leading factor's G.
    #[must_use]
    pub fn new(reduction: &'a Reduction, g: &[f64]) -> Self {
        if reduction.rest.leads_fixed() {
            return Self { reduction, removed: vec![1.0; reduction.t.len()] };
        }
        let q = reduction.rest.leading_q;
        let lambda = Root::new(g, q).lambda();
        let mut removed = Vec::with_capacity(reduction.t.len());
        for t in reduction.t.chunks_exact(q * q) {
            if q == 1 {
                let square = (t[0] * lambda[0]).powi(2);
                removed.push(square / (1.0 + square));
                continue;
            }
            let root = multiply(t, &lambda, q);
            let mut half = transpose(&root, q, q);
            let mut inner = multiply(&half, &root, q);
            (0..q).for_each(|i| inner[i * q + i] += 1.0);
            if cholesky(&mut inner, q).is_err() {
                removed.resize(removed.len() + q * q, f64::NAN);
                continue;
            }
            solve_lower(&inner, q, &mut half, q);
            removed.extend(multiply(&transpose(&half, q, q), &half, q));
        }
        Self { reduction, removed }
    }

    /// Adds the columns of K that belong to a block, row-major over the columns of `Z_2`: all
    /// rows, or those of its own block and later ones.
    pub fn add_columns(&self, block: usize, whole: bool, out: &mut [f64]) {
        let reduction = self.reduction;
        let structure = &reduction.structure;
        let first = structure.natural[block] as usize;
        let q_b = structure.size(block);
        for (other, values) in reduction.gram.of(structure.unit_of[block] as usize) {
            if !whole && (structure.block_of[other] as usize) < block {
                continue;
            }
            let columns = reduction.rest.columns_of(other);
            let n = columns.len();
            for i in 0..q_b {
                for (j, c) in columns.clone().enumerate() {
                    out[c * q_b + i] += values[i * n + j];
                }
            }
        }
        for j in 0..q_b {
            vectorised(|| self.subtract_inside(first + j, j, q_b, whole, out));
        }
    }

    /// The diagonal block of K of a unit.
    #[must_use]
    pub fn diagonal(&self, unit: usize) -> Vec<f64> {
        let reduction = self.reduction;
        let (incidence, q) = (&reduction.incidence, reduction.rest.leading_q);
        let columns = reduction.rest.columns_of(unit);
        let n = columns.len();
        let mut out = zeros(n * n);
        for (_, values) in reduction.gram.of(unit).filter(|(other, _)| *other == unit) {
            axpy(1.0, values, &mut out);
        }
        for (u, place) in incidence.meets(columns.start) {
            let own = &incidence.values[place * q..(place + n) * q];
            let removed = &self.removed[block(u, q * q)];
            for (i, v) in own.chunks_exact(q).enumerate() {
                let image = transposed_times(removed, q, v, 1);
                for (j, other) in own.chunks_exact(q).enumerate() {
                    out[i * n + j] -= dot(&image, other);
                }
            }
        }
        out
    }

    /// Blocks in which a block's columns of K may have nonzeros, itself among them.
    #[must_use]
    pub fn blocks_met(&self, block: usize) -> Vec<usize> {
        let reduction = self.reduction;
        let (structure, incidence) = (&reduction.structure, &reduction.incidence);
        let mut out = vec![block];
        out.extend(
            reduction
                .gram
                .of(structure.unit_of[block] as usize)
                .map(|(other, _)| structure.block_of[other] as usize),
        );
        for (u, _) in incidence.meets(structure.natural[block] as usize) {
            let mut at = incidence.first[u];
            while at < incidence.first[u + 1] {
                let unit = reduction.rest.unit_of(incidence.columns[at] as usize);
                let other = structure.block_of[unit] as usize;
                out.push(other);
                at += structure.size(other);
            }
        }
        out.sort_unstable();
        out.dedup();
        out
    }

    #[inline(always)]
    fn subtract_inside(&self, c: usize, j: usize, q_b: usize, whole: bool, out: &mut [f64]) {
        let incidence = &self.reduction.incidence;
        let q = self.reduction.rest.leading_q;
        let mut own = vec![0.0; q];
        for (u, place) in incidence.meets(c) {
            let start = if whole { incidence.first[u] } else { place - j };
            let places = start..incidence.first[u + 1];
            let rows = incidence.columns[places.clone()].iter();
            let values = &incidence.values[places.start * q..places.end * q];
            if q == 1 {
                let weight = self.removed[u] * incidence.values[place];
                for (row, value) in rows.zip(values) {
                    out[*row as usize * q_b + j] -= weight * value;
                }
                continue;
            }
            let removed = &self.removed[block(u, q * q)];
            let v = &incidence.values[block(place, q)];
            for (a, o) in own.iter_mut().enumerate() {
                *o = dot(&removed[block(a, q)], v);
            }
            for (row, value) in rows.zip(values.chunks_exact(q)) {
                out[*row as usize * q_b + j] -= dot(&own, value);
            }
        }
    }

    /// P'K P + `diagonal` I for the matrix P that holds `p[k]` for each unit of the k-th rest level;
    /// nothing is added where units are related.
    #[must_use]
    pub fn panels(&self, p: &[Vec<f64>], diagonal: f64) -> Panels {
        let structure = &self.reduction.structure;
        let mut out = Panels::zero(structure);
        let mut tasks = Vec::new();
        let (mut rest, mut first) = (&mut out.values[..], 0);
        let target = structure.offset[structure.n_supernodes()].div_ceil(TASKS);
        for s in 0..structure.n_supernodes() {
            if structure.offset[s + 1] - structure.offset[first] >= target
                || s + 1 == structure.n_supernodes()
            {
                let size = structure.offset[s + 1] - structure.offset[first];
                let (own, after) = rest.split_at_mut(size);
                tasks.push((first..s + 1, own));
                (rest, first) = (after, s + 1);
            }
        }
        let task = |(range, values): (std::ops::Range<usize>, &mut [f64])| {
            let mut columns = zeros(structure.order() * self.reduction.rest.largest_q());
            let base = structure.offset[range.start];
            for s in range {
                let own = &mut values[structure.offset[s] - base..structure.offset[s + 1] - base];
                self.fill_panel(s, p, diagonal, &mut columns, own);
            }
        };
        threads::each(tasks, task);
        out
    }

    /// `columns` is zero before and after.
    fn fill_panel(
        &self,
        s: usize,
        p: &[Vec<f64>],
        diagonal: f64,
        columns: &mut [f64],
        panel: &mut [f64],
    ) {
        let structure = &self.reduction.structure;
        let width = structure.width(s);
        let start = structure.columns(s).start;
        let mut half = vec![0.0; self.reduction.rest.largest_q()];
        for b in structure.blocks(s) {
            self.add_columns(b, false, columns);
            let q_b = structure.size(b);
            let at_b = structure.first_column[b] as usize - start;
            let p_b = &p[structure.level_of[b] as usize];
            for (row, at) in structure.panel_rows(s).filter(|(row, _)| *row >= b) {
                let (q_r, first) = (structure.size(row), structure.natural[row] as usize);
                let p_r = &p[structure.level_of[row] as usize];
                let values = &mut columns[first * q_b..(first + q_r) * q_b];
                if q_r == 1 && q_b == 1 {
                    panel[at * width + at_b] = p_r[0] * values[0] * p_b[0];
                } else {
                    for i in 0..q_r {
                        half.fill(0.0);
                        for (r, row) in values.chunks_exact(q_b).enumerate() {
                            axpy(p_r[r * q_r + i], row, &mut half[..q_b]);
                        }
                        let target = &mut panel[(at + i) * width + at_b..][..q_b];
                        target.fill(0.0);
                        for (h, row) in half.iter().zip(p_b.chunks_exact(q_b)) {
                            axpy(*h, row, target);
                        }
                    }
                }
                values.fill(0.0);
            }
            let level = structure.level_of[b] as usize;
            if !self.reduction.is_related(level) && !self.reduction.rest.is_fixed(level) {
                for i in 0..q_b {
                    panel[(at_b + i) * width + at_b + i] += diagonal;
                }
            }
        }
    }
}
