//! Residuals given the random effects of one grouping factor, from the rows of a small design.

use crate::linalg::dense::cholesky;
use crate::rows::columns::Column;
use crate::running::memory::{buffer, filled};

/// Share of a unit's random effects in the variance of its rows, over that of the residual, up to which
/// normal equations keep the digits that a table of residuals shows.
const LARGEST: f64 = 1e5;

/// The rows of a design with one grouping factor.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// Unit of each row, below `n_units`.
    pub codes: &'a [i32],
    /// Number of units.
    pub n_units: usize,
    /// Columns of X that are kept.
    pub x: &'a [Column<'a>],
    /// Columns of Z, `q` of them.
    pub z: &'a [Column<'a>],
    /// The response.
    pub y: Column<'a>,
}

impl Rows<'_> {
    /// Number of rows of the smallest unit, of the largest, and their median.
    #[must_use]
    pub fn sizes(&self) -> [f64; 3] {
        let mut counts = filled(0u32, self.n_units);
        for &code in self.codes {
            counts[code as usize] += 1;
        }
        counts.sort_unstable();
        let n = counts.len();
        let middle = f64::from(counts[(n - 1) / 2]) + f64::from(counts[n / 2]);
        [f64::from(counts[0]), f64::from(counts[n - 1]), 0.5 * middle]
    }

    /// y - X beta - Z g, g the conditional means of the random effects: those of `g` = L u in the
    /// coordinates of the core, L L' = G over `sigma^2`, z = (transformed z) B.
    ///
    /// `None` where the random effects are so large that digits would be lost.
    #[must_use]
    pub fn residuals(&self, beta: &[f64], root: &[f64], basis: &[f64]) -> Option<Vec<f64>> {
        match self.z.len() {
            1 => self.residuals_of::<1>(beta, root, basis),
            2 => self.residuals_of::<2>(beta, root, basis),
            _ => None,
        }
    }

    fn residuals_of<const Q: usize>(
        &self,
        beta: &[f64],
        root: &[f64],
        basis: &[f64],
    ) -> Option<Vec<f64>> {
        let whitened = whitened::<Q>(root, basis);
        let mut sums = filled(([[0.0; Q]; Q], [0.0; Q]), self.n_units);
        let (mut out, mut columns) = (buffer(self.codes.len()), buffer(self.codes.len()));
        for (row, &code) in self.codes.iter().enumerate() {
            let (a, left) = (self.effects(&whitened, row), self.left(beta, row));
            let (square, along) = &mut sums[code as usize];
            for i in 0..Q {
                along[i] += a[i] * left;
                for j in 0..=i {
                    square[i][j] += a[i] * a[j];
                }
            }
            out.push(left);
            columns.push(a);
        }
        for (square, along) in &mut sums {
            solve(square, along)?;
        }
        for ((a, &code), left) in columns.iter().zip(self.codes).zip(&mut out) {
            let u = &sums[code as usize].1;
            *left -= (0..Q).fold(0.0, |sum, i| sum + a[i] * u[i]);
        }
        Some(out)
    }

    /// y - X beta of a row.
    #[inline(always)]
    fn left(&self, beta: &[f64], row: usize) -> f64 {
        let raw = |column: &Column| column.values.map_or(1.0, |values| values.row(row));
        let fixed = self.x.iter().zip(beta).fold(0.0, |sum, (x, b)| sum + b * raw(x));
        raw(&self.y) - fixed
    }

    /// z'B^-1 L of a row.
    #[inline(always)]
    fn effects<const Q: usize>(&self, whitened: &[[f64; Q]; Q], row: usize) -> [f64; Q] {
        let mut out = [0.0; Q];
        for (z, own) in self.z.iter().zip(whitened) {
            let value = z.at(row);
            for j in 0..Q {
                out[j] += value * own[j];
            }
        }
        out
    }
}

/// B^-1 L for an upper triangular B and a lower triangular L by rows.
fn whitened<const Q: usize>(root: &[f64], basis: &[f64]) -> [[f64; Q]; Q] {
    let mut out = [[0.0; Q]; Q];
    for i in (0..Q).rev() {
        for j in 0..Q {
            let own = if j <= i { root[i * (i + 1) / 2 + j] } else { 0.0 };
            let later = (i + 1..Q).fold(own, |sum, k| sum - basis[i * Q + k] * out[k][j]);
            out[i][j] = later / basis[i * Q + i];
        }
    }
    out
}

/// u with (I + A'A) u = A'r in place of A'r.
fn solve<const Q: usize>(square: &[[f64; Q]; Q], along: &mut [f64; Q]) -> Option<()> {
    let share = (0..Q).fold(0.0, |sum, i| sum + square[i][i]);
    if share.is_nan() || share > LARGEST {
        return None;
    }
    let mut l = *square;
    for i in 0..Q {
        l[i][i] += 1.0;
    }
    cholesky(l.as_flattened_mut(), Q).ok()?;
    for i in 0..Q {
        along[i] = (0..i).fold(along[i], |sum, j| sum - l[i][j] * along[j]) / l[i][i];
    }
    for i in (0..Q).rev() {
        along[i] = (i + 1..Q).fold(along[i], |sum, j| sum - l[j][i] * along[j]) / l[i][i];
    }
    Some(())
}

/// Smallest value, quartiles between neighbours, and largest, of at least one value.
#[must_use]
pub fn quartiles(mut values: Vec<f64>) -> [f64; 5] {
    let last = values.len() - 1;
    [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| {
        let at: f64 = share * last as f64;
        let below = at as usize;
        let (_, &mut a, above) = values.select_nth_unstable_by(below, f64::total_cmp);
        let b = above.iter().copied().min_by(f64::total_cmp).unwrap_or(a);
        let part = at - below as f64;
        if part < 0.5 { a + (b - a) * part } else { b - (b - a) * (1.0 - part) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::columns::Values;

    #[test]
    fn residuals_are_those_of_the_normal_equations_of_all_effects() {
        let (x, y) = ([0.0, 1.0, 2.0, 0.0, 1.0], [1.0, 3.0, 2.0, 5.0, 4.0]);
        let column = |values| Column { values: Some(Values::contiguous(values)), ..ones() };
        let z = [ones(), Column { center: 1.0, scale: 2.0, ..column(&x) }];
        let rows = Rows {
            codes: &[0, 0, 0, 1, 1],
            n_units: 2,
            x: &[ones(), column(&x)],
            z: &z,
            y: column(&y),
        };
        // z = (transformed z) B with B = [1 0.5; 0 2], G = L L' with L = [1 0; 0.5 0.25].
        let (root, basis) = ([1.0, 0.5, 0.25], [1.0, 0.5, 0.0, 2.0]);
        let found = rows.residuals(&[1.0, 0.5], &root, &basis).unwrap();
        for unit in [0..3, 3..5] {
            // e = (I + Z G Z')^-1 (y - X beta) of the unit, so (I + Z G Z') e is the right side.
            let transformed = |row: usize| [1.0, ((x[row] - 1.0) * 2.0 - 0.5) / 2.0];
            for row in unit.clone() {
                let own = transformed(row);
                let sum: f64 = unit
                    .clone()
                    .map(|other| {
                        let theirs = transformed(other);
                        let g = [[1.0, 0.5], [0.5, 0.3125]];
                        let through = |i: usize| g[i][0] * theirs[0] + g[i][1] * theirs[1];
                        found[other] * (own[0] * through(0) + own[1] * through(1))
                    })
                    .sum();
                let left = y[row] - 1.0 - 0.5 * x[row];
                assert!((found[row] + sum - left).abs() < 1e-13, "{row}");
            }
        }
        close(&rows.sizes(), &[2.0, 3.0, 2.5]);
        assert!(rows.residuals(&[1.0, 0.5], &[1e3, 0.5, 0.25], &basis).is_none());
    }

    #[test]
    fn quartiles_lie_between_neighbours() {
        close(&quartiles(vec![5.0, 1.0, 2.0, 4.0]), &[1.0, 1.75, 3.0, 4.25, 5.0]);
    }

    fn close(found: &[f64], expected: &[f64]) {
        let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-15;
        assert!(found.len() == expected.len() && found.iter().zip(expected).all(near), "{found:?}");
    }

    fn ones() -> Column<'static> {
        Column { values: None, center: 0.0, scale: 1.0 }
    }
}
