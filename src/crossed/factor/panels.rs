//! Symmetric matrices in panels.

use std::sync::Arc;

use super::structure::Structure;
use crate::linalg::many::pairwise;
use crate::running::memory::{copied, zeros};

/// The lower triangle of a symmetric (or lower triangular) matrix.
#[derive(Debug)]
pub struct Panels {
    /// Where its values stand.
    pub structure: Arc<Structure>,
    /// Panel after panel, each row-major.
    pub values: Vec<f64>,
}

impl Panels {
    /// The zero matrix.
    #[must_use]
    pub fn zero(structure: &Arc<Structure>) -> Self {
        let n = structure.offset[structure.n_supernodes()];
        Self { structure: Arc::clone(structure), values: zeros(n) }
    }

    /// The same matrix once more.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { structure: Arc::clone(&self.structure), values: copied(&self.values) }
    }

    /// Values of a panel.
    #[must_use]
    pub fn panel(&self, s: usize) -> &[f64] {
        &self.values[self.structure.values(s)]
    }

    /// log|L L'| of a Cholesky factor.
    #[must_use]
    pub fn logdet(&self) -> f64 {
        let add = |s: usize, sum: &mut [f64]| {
            let (n, panel) = (self.structure.width(s), self.panel(s));
            sum[0] += (0..n).map(|i| panel[i * n + i].ln()).sum::<f64>();
        };
        2.0 * pairwise(self.structure.n_supernodes(), 1, &add)[0]
    }

    /// The rows of x, one a column of `Z_2`, in order of elimination.
    #[must_use]
    pub fn to_elimination(&self, x: &[f64], width: usize) -> Vec<f64> {
        let structure = &*self.structure;
        if structure.is_dense {
            return x.to_vec();
        }
        let mut out = Vec::with_capacity(x.len());
        for (b, first) in structure.natural.iter().enumerate() {
            let first = *first as usize;
            out.extend_from_slice(&x[first * width..(first + structure.size(b)) * width]);
        }
        out
    }

    /// The inverse of [`Self::to_elimination`].
    #[must_use]
    pub fn to_natural(&self, x: Vec<f64>, width: usize) -> Vec<f64> {
        let structure = &*self.structure;
        if structure.is_dense {
            return x;
        }
        let mut out = zeros(x.len());
        for (b, first) in structure.natural.iter().enumerate() {
            let (first, from) = (*first as usize, structure.first_column[b] as usize);
            let n = structure.size(b) * width;
            out[first * width..first * width + n].copy_from_slice(&x[from * width..][..n]);
        }
        out
    }

    /// Place of an entry of the lower triangle by blocks in order of elimination, the first entry of
    /// the block pair, and the width of its panel; `None` where the factor has none.
    #[must_use]
    pub fn find(&self, row: usize, column: usize) -> Option<(usize, usize)> {
        let structure = &*self.structure;
        let s = structure.supernode_of[column] as usize;
        let columns = structure.columns(s);
        let at = structure.first_column[column] as usize - columns.start;
        let place = if row < structure.first_block[s + 1] {
            structure.first_column[row] as usize - columns.start
        } else {
            let rows = structure.rows(s);
            let k = if structure.is_dense {
                row - structure.first_block[s + 1]
            } else {
                rows.binary_search(&(row as u32)).ok()?
            };
            structure.row_start(s, k)
        };
        Some((structure.offset[s] + place * columns.len() + at, columns.len()))
    }

    /// The symmetric matrix over the columns of `Z_2`, row-major; zero outside the panels.
    #[must_use]
    pub fn to_dense(&self) -> Vec<f64> {
        let structure = &*self.structure;
        let n = structure.order();
        let mut out = zeros(n * n);
        for s in 0..structure.n_supernodes() {
            let (width, panel) = (structure.width(s), self.panel(s));
            for (row, at) in structure.panel_rows(s) {
                for column in structure.blocks(s).filter(|c| *c <= row) {
                    let first = (structure.first_column[column]
                        - structure.first_column[structure.first_block[s]])
                        as usize;
                    let (r, c) =
                        (structure.natural[row] as usize, structure.natural[column] as usize);
                    for i in 0..structure.size(row) {
                        for j in 0..structure.size(column) {
                            if row == column && j > i {
                                continue;
                            }
                            let value = panel[(at + i) * width + first + j];
                            out[(r + i) * n + c + j] = value;
                            out[(c + j) * n + r + i] = value;
                        }
                    }
                }
            }
        }
        out
    }
}

/// Blocks below the diagonal of a panel with their first rows in it.
pub fn below_rows(structure: &Structure, s: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
    let own = structure.first_row[s]..structure.first_row[s + 1];
    let rows = structure.rows[own.clone()].iter().zip(&structure.row_offset[own]);
    rows.map(|(b, at)| (*b as usize, *at as usize))
}
