//! Derivatives of the covariance of a level by its parameters, as sparse matrices over its slots.

use super::slots::Slots;
use super::template::Template;
use crate::linalg::dense::{axpy, dot};
use crate::running::memory::zeros;

/// A symmetric matrix over the slots of a level that joins slots of one unit only.
#[derive(Clone, Debug, Default)]
pub struct Direction {
    /// Slots with entries, ascending.
    pub slots: Vec<u32>,
    /// Where the entries of each such slot begin.
    first: Vec<usize>,
    from: Vec<u32>,
    weight: Vec<f64>,
    /// By unit, its first place among `slots`.
    unit_first: Vec<usize>,
}

impl Direction {
    /// Along the entry (a, b) and its mirror image.
    #[must_use]
    pub fn of_entry(slots: &Slots, a: usize, b: usize) -> Self {
        Self::build(slots, |_, row, column| {
            f64::from(u8::from((row == a && column == b) || (row == b && column == a)))
        })
    }

    /// Along one kind of matrices of a template.
    #[must_use]
    pub fn of_kind(slots: &Slots, template: &Template, kind: usize) -> Self {
        Self::build(slots, |unit, row, column| {
            template.matrix(kind, unit)[row * template.q + column]
        })
    }

    fn build(slots: &Slots, value: impl Fn(usize, usize, usize) -> f64) -> Self {
        let mut out = Self { first: vec![0], unit_first: vec![0], ..Self::default() };
        for (u, &unit) in slots.units.iter().enumerate() {
            let own = slots.first[u]..slots.first[u + 1];
            for slot in own.clone() {
                for other in own.clone() {
                    let (row, column) = (slots.place[slot] as usize, slots.place[other] as usize);
                    let weight = value(unit as usize, row, column);
                    if weight != 0.0 {
                        out.from.push(other as u32);
                        out.weight.push(weight);
                    }
                }
                if out.from.len() > out.first[out.slots.len()] {
                    out.slots.push(slot as u32);
                    out.first.push(out.from.len());
                }
            }
            out.unit_first.push(out.slots.len());
        }
        out
    }

    /// (slot, other slot, value) of the entries within a unit.
    pub fn entries_of(&self, unit: usize) -> impl Iterator<Item = (usize, usize, f64)> + '_ {
        (self.unit_first[unit]..self.unit_first[unit + 1]).flat_map(move |k| {
            (self.first[k]..self.first[k + 1])
                .map(move |e| (self.slots[k] as usize, self.from[e] as usize, self.weight[e]))
        })
    }

    /// D x at the slots that have entries.
    #[inline(always)]
    pub fn apply(&self, x: &[f64], out: &mut Vec<f64>) {
        out.clear();
        out.extend((0..self.slots.len()).map(|k| {
            let own = self.first[k]..self.first[k + 1];
            let (from, weight) = (&self.from[own.clone()], &self.weight[own]);
            let (first, last) = (from[0] as usize, from[from.len() - 1] as usize);
            if last - first + 1 == from.len() {
                // A unit whose rows all move: its slots stand side by side.
                return dot(weight, &x[first..=last]);
            }
            from.iter().zip(weight).map(|(&at, w)| w * x[at as usize]).sum::<f64>()
        }));
    }

    /// D X of the row-major X, `width` columns, at the slots that have entries.
    #[must_use]
    pub fn times(&self, x: &[f64], width: usize) -> Vec<f64> {
        let mut out = zeros(self.slots.len() * width);
        for (k, row) in out.chunks_exact_mut(width).enumerate() {
            for e in self.first[k]..self.first[k + 1] {
                let from = self.from[e] as usize;
                axpy(self.weight[e], &x[from * width..(from + 1) * width], row);
            }
        }
        out
    }

    /// Sum over entries of D times those of a row-major matrix over the slots.
    #[must_use]
    pub fn inner(&self, matrix: &[f64], n_slots: usize) -> f64 {
        let mut sum = 0.0;
        for (k, &slot) in self.slots.iter().enumerate() {
            for e in self.first[k]..self.first[k + 1] {
                sum += self.weight[e] * matrix[slot as usize * n_slots + self.from[e] as usize];
            }
        }
        sum
    }
}
