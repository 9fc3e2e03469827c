//! What the pass over the rows leaves of them.

use super::nesting::Nesting;
use super::series_columns::Shares;
use crate::linalg::triangle::Triangle;
use crate::running::memory::{append, zeros};

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
    /// Do rows stand at their visits, where T selects those seen?
    pub is_placed: bool,
}

/// Units one after the other that saw the same visits, of which each may stand for several.
#[derive(Clone, Copy, Debug)]
pub struct Alike {
    /// Units with columns of X; those after them have only responses.
    pub n_full: usize,
    /// All of them.
    pub n_units: usize,
    /// Subjects that they stand for.
    pub count: usize,
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
    /// Observations that the rows stand for.
    pub n_obs: usize,
    /// Units that each innermost unit stands for, in the order of units; empty for one each.
    pub counts: Vec<usize>,
    /// All units of the only level by their visits, where those alike were replaced by few.
    pub alike: Vec<Alike>,
}

impl RotatedRows {
    /// The factor of all rows, of those that the blocks hold.
    pub(super) fn total_from_blocks(&mut self, p: usize, n_fits: usize) {
        self.remainder.factor();
        self.total = self.remainder.clone();
        let mut row = zeros(p + n_fits);
        for level in &self.levels {
            let responses = level.response.chunks_exact(n_fits.max(1));
            let designs = level.design.chunks_exact(level.n_columns.max(1)).zip(responses);
            for (i, (design, response)) in designs.enumerate() {
                if level.is_placed && design[i % level.q] == 0.0 {
                    continue; // a visit that was not seen
                }
                row[..p].copy_from_slice(&design[level.n_columns - p..]);
                row[p..].copy_from_slice(response);
                if let Some(shares) = &level.shares {
                    let share = shares.of(level.classes[i]).sqrt();
                    row.iter_mut().for_each(|value| *value *= share);
                }
                self.total.push_row(&row);
            }
        }
        self.total.factor();
    }

    /// The factor of all rows that no random effect reaches, and how many rows are not among these.
    ///
    /// They are the remainder, and rows of the outermost units whose own columns depend linearly.
    #[must_use]
    pub fn unreached(&self, nesting: &Nesting) -> (Triangle, usize) {
        let orders: Vec<usize> = self.levels.iter().map(|level| level.q).collect();
        let kept = nesting.n_kept(&orders);
        let (mut rows, n_kept) = (self.remainder.clone(), kept.iter().sum());
        let Some(outer) =
            self.levels.first().filter(|l| l.q > 0 && l.shares.is_none() && !l.is_placed)
        else {
            return (rows, n_kept);
        };
        let q = outer.q;
        let (mut n_reached, mut row) = (0, Vec::new());
        let responses = outer.response.chunks_exact(rows.residual_squares.len().max(1));
        let designs = outer.design.chunks_exact(outer.n_columns).zip(responses);
        for (r, (design, response)) in designs.enumerate() {
            if design[r % q..q].iter().any(|t| *t != 0.0) {
                n_reached += 1;
            } else {
                row.clear();
                row.extend(design[q..].iter().chain(response));
                rows.push_row(&row);
            }
        }
        (rows, n_kept - kept[0] + n_reached)
    }

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
