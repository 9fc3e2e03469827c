//! Units of a level with the slots of their covariances.
use super::template::Template;
use crate::linalg::blocked::{self, LARGE};
use crate::linalg::dense::{axpy, dot};
use crate::running::memory::{copied, zeros};
use crate::running::threads;

/// Units of a level with the slots of their covariances: `q` a unit for random effects, its rows for
/// the residual.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    /// Code of each unit met in the component, ascending.
    pub units: Vec<u32>,
    /// First slot of each unit, and the number of slots.
    pub first: Vec<usize>,
    /// Row of a unit's template that each slot belongs to.
    pub place: Vec<u32>,
    /// Unit of each row of the component.
    pub unit_of_row: Vec<u32>,
    /// By unit, where its rows begin in `rows`.
    pub row_first: Vec<usize>,
    /// Rows of the component by unit, ascending within each.
    pub rows: Vec<u32>,
    /// Columns of Z, row-major; empty for the residual, whose slots are the rows.
    pub z: Vec<f64>,
    /// Relationships A of the units, row-major; empty for unrelated ones.
    pub relationship: Vec<f64>,
}

impl Slots {
    /// Number of slots.
    #[must_use]
    pub fn len(&self) -> usize {
        self.place.len()
    }

    /// Has the level no slots here?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.place.is_empty()
    }

    /// Is this the residual's level?
    #[must_use]
    pub fn is_residual(&self) -> bool {
        self.z.is_empty()
    }

    /// Rows of a unit.
    #[must_use]
    pub fn rows_of(&self, unit: usize) -> &[u32] {
        &self.rows[self.row_first[unit]..self.row_first[unit + 1]]
    }
}

impl Slots {
    /// Adds column s of Z (A x G) Z' (of R), from row s on.
    pub(super) fn add_column(&self, template: &Template, s: usize, out: &mut [f64]) {
        let unit = self.unit_of_row[s] as usize;
        let g = template.matrix(0, self.units[unit] as usize);
        let q = template.q;
        if self.is_residual() {
            let column = self.place[s] as usize;
            for row in s..self.first[unit + 1] {
                out[row] += g[self.place[row] as usize * q + column];
            }
            return;
        }
        let z = |row: usize| &self.z[row * q..(row + 1) * q];
        let gz: Vec<f64> = (0..q).map(|a| dot(&g[a * q..(a + 1) * q], z(s))).collect();
        if self.relationship.is_empty() {
            for &row in self.rows_of(unit).iter().filter(|&&row| row as usize >= s) {
                out[row as usize] += dot(z(row as usize), &gz);
            }
            return;
        }
        let m = self.units.len();
        for row in s..out.len() {
            let related = self.relationship[self.unit_of_row[row] as usize * m + unit];
            if related != 0.0 {
                out[row] += related * dot(z(row), &gz);
            }
        }
    }

    /// L^-1 Z, column-major, one column a slot; for the residual L^-1 itself.
    #[must_use]
    pub fn whitened(&self, inverse: &[f64], n: usize) -> Vec<f64> {
        if self.is_residual() {
            return copied(inverse);
        }
        let q = self.z.len() / n.max(1);
        let mut out = zeros(n * self.len());
        let unit = |(u, columns): (usize, &mut [f64])| {
            for &row in self.rows_of(u) {
                let row = row as usize;
                // L^-1 is zero above its diagonal.
                let from = &inverse[row * n + row..(row + 1) * n];
                for (a, column) in columns.chunks_exact_mut(n).enumerate() {
                    axpy(self.z[row * q + a], from, &mut column[row..]);
                }
            }
        };
        if n > LARGE {
            threads::each(out.chunks_mut(n * q).enumerate(), unit);
        } else {
            out.chunks_mut((n * q).max(1)).enumerate().for_each(unit);
        }
        out
    }

    /// (A x I) x of the row-major x over the slots, `width` columns.
    #[must_use]
    pub fn related(&self, x: &[f64], width: usize) -> Option<Vec<f64>> {
        if self.relationship.is_empty() {
            return None;
        }
        let m = self.units.len();
        Some(blocked::row_product(&self.relationship, x, m, self.len() / m * width))
    }

    /// x (A x I) of the row-major x, one column a slot.
    #[must_use]
    pub fn related_columns(&self, x: &[f64]) -> Option<Vec<f64>> {
        if self.relationship.is_empty() {
            return None;
        }
        let (m, size) = (self.units.len(), self.len());
        let q = size / m;
        let mut out = zeros(x.len());
        for a in 0..q {
            let part: Vec<f64> = x.iter().skip(a).step_by(q).copied().collect();
            let product = blocked::row_product(&part, &self.relationship, m, m);
            for (to, value) in out.iter_mut().skip(a).step_by(q).zip(product) {
                *to = value;
            }
        }
        Some(out)
    }
}
