//! What the pass over the rows leaves of them.

use super::series_columns::Shares;
use crate::linalg::triangle::Triangle;
use crate::running::memory::append;

/// Rotated rows of the units of one level.
#[derive(Clone, Debug, Default)]
pub struct LevelRows {
    /// Random-effect columns of this level.
    pub q: usize,
    /// Columns [`Z_l` `Z_(l-1)` ... `Z_0` X].
    pub n_columns: usize,
    /// Per unit, `q` rows of `n_columns`: [T A], T upper triangular.
    pub design: Vec<f64>,
    /// Per unit, `q` rows of one value per response.
    pub response: Vec<f64>,
    /// Class of each row, where they are items of series.
    pub classes: Vec<u32>,
    /// Where the items of each bundle of series end.
    pub bundles: Vec<usize>,
    /// Weights of the classes in sums of squares.
    pub shares: Option<Shares>,
}

impl LevelRows {
    /// Rows with a nonzero T: those that the random effects of this level reach first.
    #[must_use]
    pub fn n_informative(&self) -> usize {
        n_informative(&self.design, self.n_columns, self.q)
    }
}

/// Rows with a nonzero T among blocks of `q` rows [T ...] of `n_columns`.
#[must_use]
pub fn n_informative(design: &[f64], n_columns: usize, q: usize) -> usize {
    if q == 0 {
        return 0;
    }
    let rows = design.chunks_exact(n_columns).enumerate();
    rows.filter(|(r, row)| row[r % q..q].iter().any(|t| *t != 0.0)).count()
}

/// The rotated rows: for each unit [T A] of as many rows as it has random effects, and the rest.
///
/// A unit's own columns `Z_u` = Q T are rotated so that only `q` rows carry them; the rows that Q does
/// not span go up to the enclosing unit, and at last to `remainder`. The rotation is orthogonal, so
/// V = I + sum of Z G Z' keeps its determinant and all quadratic forms (Wolfinger, Tobias and Sall
/// 1994 reach the same sums by sweeping cross-products; rotations lose no digits).
pub struct RotatedRows {
    /// By level, outermost first.
    pub levels: Vec<LevelRows>,
    /// Factor of the rows that no random effect reaches.
    pub remainder: Triangle,
    /// Factor of all rows of [X Y]: ordinary least squares.
    pub total: Triangle,
}

impl RotatedRows {
    pub(super) fn append(&mut self, mut other: Self) {
        for (mine, its) in self.levels.iter_mut().zip(other.levels) {
            append(&mut mine.design, &its.design);
            append(&mut mine.response, &its.response);
            let before = mine.classes.len();
            append(&mut mine.classes, &its.classes);
            mine.bundles.extend(its.bundles.iter().map(|end| before + end));
        }
        self.remainder.merge(&mut other.remainder);
        self.total.merge(&mut other.total);
    }
}
