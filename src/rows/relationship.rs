//! Known relationships between the units of a grouping factor.

use std::ops::Range;

use crate::running::memory::zeros;

/// A symmetric matrix in compressed rows: units with records first, then those without.
#[derive(Clone, Debug)]
pub struct Relationship {
    /// Where the entries of each row begin, and their number.
    pub first: Vec<usize>,
    /// Column of each entry, ascending within a row.
    pub columns: Vec<u32>,
    /// Its value.
    pub values: Vec<f64>,
}

impl Relationship {
    /// Number of units.
    #[must_use]
    pub fn len(&self) -> usize {
        self.first.len() - 1
    }

    /// Are there no units?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries of one row.
    pub fn row(&self, unit: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let own = self.first[unit]..self.first[unit + 1];
        self.columns[own.clone()].iter().map(|&c| c as usize).zip(self.values[own].iter().copied())
    }

    /// One entry.
    #[must_use]
    pub fn at(&self, row: usize, column: usize) -> f64 {
        let own = self.first[row]..self.first[row + 1];
        let found = self.columns[own.clone()].binary_search(&(column as u32));
        found.map_or(0.0, |k| self.values[own.start + k])
    }

    /// Rows `rows` over the columns `columns` (ascending), row-major.
    #[must_use]
    pub fn rows_over(&self, rows: Range<usize>, columns: &[u32]) -> Vec<f64> {
        let mut out = zeros(rows.len() * columns.len());
        for (unit, row) in rows.zip(out.chunks_exact_mut(columns.len().max(1))) {
            for (column, value) in self.row(unit) {
                if let Ok(k) = columns.binary_search(&(column as u32)) {
                    row[k] = value;
                }
            }
        }
        out
    }

    /// The matrix over some units (ascending), row-major.
    #[must_use]
    pub fn over(&self, units: &[u32]) -> Vec<f64> {
        units.iter().flat_map(|&u| self.rows_over(u as usize..u as usize + 1, units)).collect()
    }
}
