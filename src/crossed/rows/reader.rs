//! Rows read in the coordinates of the reduction.

use crate::crossed::rest::Crossing;
use crate::linalg::dense::solve_row_upper;
use crate::rows::basis::FixedBasis;
use crate::rows::columns::{RowColumns, read_row};

/// Rows per task; boundaries depend on the data only.
pub(crate) const CHUNK_ROWS: usize = 8192;

/// Rows read in the coordinates of the reduction.
pub(crate) struct Reader<'a> {
    pub crossing: &'a Crossing<'a>,
    pub columns: &'a RowColumns<'a>,
    pub fixed: &'a FixedBasis,
    /// By level, upper triangular B with z = (transformed z) B.
    pub bases: &'a [Vec<f64>],
}

impl Reader<'_> {
    pub fn z(&self, level: usize, row: usize, out: &mut [f64]) {
        read_row(&self.columns.z[level], row, self.columns.weight(row), out);
        solve_row_upper(&self.bases[level], out.len(), out);
    }
}
