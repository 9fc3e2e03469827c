//! The levels of a component at one point, and what each adds to the sums.

use super::component::Factored;
use super::directions::Direction;
use super::slots::Slots;
use super::template::Template;
use crate::criterion::sums::{Entry, RootWeight, Sums};
use crate::linalg::blocked::{self, LARGE};
use crate::linalg::dense::{axpy, block, dot};
use crate::running::memory::zeros;
use crate::running::threads;

/// A level at one point.
pub(super) struct Level<'a> {
    /// Its units.
    pub(super) slots: &'a Slots,
    /// First of its entries among all.
    pub(super) first_entry: usize,
    /// By entry, the derivative of the level's covariance.
    pub(super) directions: Vec<Direction>,
    /// L^-1 Z.
    pub(super) k: Vec<f64>,
    /// Z'V^-1 [X y], row-major over the slots.
    pub(super) p: Vec<f64>,
    /// By entry, L^-1 `V_k` V^-1 [X y], column-major.
    pub(super) y: Vec<Vec<f64>>,
}

/// Second derivatives of V along a pair of entries (positions within their level), if any.
pub(super) type Bend = (usize, usize, Direction);

impl<'a> Level<'a> {
    pub(super) fn new(
        slots: &'a Slots,
        first_entry: usize,
        entries: &[Entry],
        template: &Template,
        factored: &Factored,
        inverse: &[f64],
        width: usize,
    ) -> Self {
        let directions: Vec<Direction> = entries
            .iter()
            .enumerate()
            .map(|(k, entry)| {
                if template.has_derivatives() {
                    Direction::of_kind(slots, template, 1 + k)
                } else {
                    Direction::of_entry(slots, entry.a, entry.b)
                }
            })
            .collect();
        let n = factored.n;
        let k = slots.whitened(inverse, n);
        let p = blocked::transposed_product(&k, &factored.xy, n);
        let related = slots.related(&p, width);
        let moved = |direction: &Direction| -> Vec<f64> {
            let dp = direction.times(related.as_ref().unwrap_or(&p), width);
            let mut y = zeros(n * width);
            for (&slot, row) in direction.slots.iter().zip(dp.chunks_exact(width)) {
                for (value, out) in row.iter().zip(y.chunks_exact_mut(n)) {
                    axpy(*value, &k[block(slot as usize, n)], out);
                }
            }
            y
        };
        let y = if n > LARGE {
            threads::map(&directions, moved)
        } else {
            directions.iter().map(moved).collect()
        };
        Self { slots, first_entry, directions, k, p, y }
    }

    /// First derivatives of the cross-product.
    pub(super) fn add_first(&self, sums: &mut Sums, width: usize) {
        let related = self.slots.related(&self.p, width);
        let left = related.as_ref().unwrap_or(&self.p);
        for (k, direction) in self.directions.iter().enumerate() {
            let out = &mut sums.gram_by[block(self.first_entry + k, width * width)];
            add_quadratic(direction, left, &self.p, width, -1.0, out);
        }
    }

    /// Second derivatives of R that its template holds.
    pub(super) fn bends(&self, template: Option<&Template>) -> Vec<Bend> {
        let t = self.directions.len();
        let Some(template) = template.filter(|t| t.has_derivatives()) else {
            return Vec::new();
        };
        let mut out = Vec::new();
        for k in 0..t {
            for j in 0..=k {
                let kind = 1 + t + k * (k + 1) / 2 + j;
                let direction = Direction::of_kind(self.slots, template, kind);
                if !direction.slots.is_empty() {
                    out.push((k, j, direction));
                }
            }
        }
        out
    }

    pub(super) fn bend_criterion(
        &self,
        bends: &[Bend],
        root: &RootWeight,
        sums: &mut Sums,
        width: usize,
        n: usize,
    ) {
        for (k, j, direction) in bends {
            let mut moved = vec![0.0; width * width];
            add_quadratic(direction, &self.p, &self.p, width, -1.0, &mut moved);
            let at = (self.first_entry + k) * n + self.first_entry + j;
            sums.hessian[at] += weighted_trace(root, &moved, width);
            sums.hessian_rss[at] += quadratic(&moved, &root.e);
        }
    }

    pub(super) fn bend_gram(
        &self,
        bends: &[Bend],
        sets: &[Vec<f64>],
        sums: &mut Sums,
        width: usize,
        n: usize,
    ) {
        for (k, j, direction) in bends {
            let mut moved = vec![0.0; width * width];
            add_quadratic(direction, &self.p, &self.p, width, -1.0, &mut moved);
            let (row, column) = (self.first_entry + k, self.first_entry + j);
            add_to_sets(sets, &mut sums.second, &moved, (row, column), n);
        }
    }
}

/// out <- out + alpha left'D right, row-major.
pub(super) fn add_quadratic(
    direction: &Direction,
    left: &[f64],
    right: &[f64],
    width: usize,
    alpha: f64,
    out: &mut [f64],
) {
    let moved = direction.times(right, width);
    for (&slot, row) in direction.slots.iter().zip(moved.chunks_exact(width)) {
        for (a, value) in left[block(slot as usize, width)].iter().enumerate() {
            axpy(alpha * value, row, &mut out[block(a, width)]);
        }
    }
}

/// `Y_k`'`Y_j`, row-major.
pub(super) fn products(first: &[f64], second: &[f64], width: usize, n: usize) -> Vec<f64> {
    let mut out = vec![0.0; width * width];
    for a in 0..width {
        for b in 0..width {
            out[a * width + b] = dot(&first[block(a, n)], &second[block(b, n)]);
        }
    }
    out
}

/// Adds the second derivative by (k, j) and by (j, k) to each weighted sum.
pub(super) fn add_to_sets(
    sets: &[Vec<f64>],
    sums: &mut [f64],
    matrix: &[f64],
    (k, j): (usize, usize),
    n: usize,
) {
    for (weights, sum) in sets.iter().zip(sums.chunks_exact_mut(matrix.len())) {
        let other = if k == j { 0.0 } else { weights[j * n + k] };
        axpy(weights[k * n + j] + other, matrix, sum);
    }
}

/// tr(C M) over the X block; 0 for ML.
pub(super) fn weighted_trace(root: &RootWeight, matrix: &[f64], width: usize) -> f64 {
    let rank = width - 1;
    root.c.as_ref().map_or(0.0, |c| {
        (0..rank).map(|i| dot(&c[block(i, rank)], &matrix[i * width..i * width + rank])).sum()
    })
}

/// e'M e.
pub(super) fn quadratic(matrix: &[f64], e: &[f64]) -> f64 {
    matrix.chunks_exact(e.len()).zip(e).map(|(row, value)| value * dot(row, e)).sum()
}
