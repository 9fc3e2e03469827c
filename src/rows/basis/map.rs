//! Rows brought into the coordinates of the fixed effects.

use super::fixed::FixedBasis;
use crate::linalg::dense::{Kernel, add_outer, block, dot, solve_row_upper, vectorised};
use crate::linalg::lanes::{Four, LANES, Lane, sum_of};
use crate::linalg::triangle::Triangle;
use crate::rows::columns::{RowColumns, read_row};
use crate::running::memory::zeros;

impl FixedBasis {
    /// x of one row to the orthonormal basis; `out` has `rank` places.
    pub fn map_row(&self, x: &[f64], out: &mut [f64]) {
        for (o, &j) in out.iter_mut().zip(&self.kept) {
            *o = x[j];
        }
        solve_row_upper(&self.factor, self.kept.len(), out);
    }

    /// x of four rows, of the columns kept, to the orthonormal basis: `map_row` in each lane.
    pub fn map_four(&self, x: &mut [Four]) {
        vectorised(SolveFour { r: &self.factor, x });
    }

    /// A response in the coordinates of the iterations, given its row `x` in the orthonormal basis.
    #[must_use]
    pub fn map_response(&self, fit: usize, x: &[f64], y: f64) -> f64 {
        let rank = self.kept.len();
        (y - dot(x, &self.ols[block(fit, rank)])) / self.scale(fit)
    }

    /// What a response is divided by.
    fn scale(&self, fit: usize) -> f64 {
        // A response without residual has no scale; it is refused before any fit.
        if self.y_scale[fit] > 0.0 { self.y_scale[fit] } else { 1.0 }
    }

    /// [`Self::map_response`] of some rows of four responses, or of the last ones: `x` are the rows in
    /// the orthonormal basis, `y(row, fit)` the values and `put(row, fit, value)` takes what comes of
    /// them.
    pub fn map_responses<'x>(
        &self,
        first: usize,
        x: impl Iterator<Item = &'x [f64]>,
        y: impl Fn(usize, usize) -> f64,
        mut put: impl FnMut(usize, usize, f64),
    ) {
        let (rank, n) = (self.rank(), self.y_scale.len());
        if first + 1 == n {
            // Alone, to the same bits.
            x.enumerate().for_each(|(row, x)| {
                put(row, first, self.map_response(first, x, y(row, first)));
            });
            return;
        }
        let of = |lane: usize| (first + lane).min(n - 1);
        let ols = |j: usize| Four::from_lanes(|lane| self.ols[of(lane) * rank + j]);
        let ols: Vec<Four> = (0..rank).map(ols).collect();
        let scale = Four::from_lanes(|lane| self.scale(of(lane)));
        vectorised(|| {
            for (row, x) in x.enumerate() {
                let own = Four::from_lanes(|lane| y(row, of(lane)));
                let fitted = sum_of(rank, |j| Four::splat(x[j]) * ols[j]);
                let value = (own - fitted) / scale;
                for lane in 0..LANES.min(n - first) {
                    put(row, first + lane, value.lane(lane));
                }
            }
        });
    }

    /// [X y] of one row in the coordinates of the iterations, `rank + n_fits` numbers; `x` is scratch
    /// of one number a column of X.
    pub fn read(&self, columns: &RowColumns, row: usize, x: &mut [f64], out: &mut [f64]) {
        let weight = columns.weight(row);
        read_row(&columns.x, row, weight, x);
        let (own, responses) = out.split_at_mut(self.rank());
        self.map_row(x, own);
        for (f, (o, column)) in responses.iter_mut().zip(&columns.y).enumerate() {
            *o = self.map_response(f, own, column.at(row) * weight);
        }
    }

    /// Per fit, the cross-product of [X y] over rows of which the triangular factor is given, lower
    /// triangle.
    #[must_use]
    pub fn grams(&self, remainder: &mut Triangle) -> Vec<f64> {
        let (rank, n_fits) = (self.rank(), remainder.residual_squares.len());
        let p = remainder.width() - n_fits;
        let width = rank + 1;
        // Rows that wait have no part in the sums of squares yet.
        remainder.factor();
        let squares = remainder.residual_squares.clone();
        let mut grams = zeros(n_fits * width * width);
        let mut row = vec![0.0; width];
        for raw in remainder.factor().chunks_exact((p + n_fits).max(1)).take(p) {
            self.map_row(&raw[..p], &mut row[..rank]);
            for (f, gram) in grams.chunks_exact_mut(width * width).enumerate() {
                row[rank] = self.map_response(f, &row[..rank], raw[p + f]);
                add_outer(&row, gram);
            }
        }
        for (f, gram) in grams.chunks_exact_mut(width * width).enumerate() {
            let scale = if self.y_scale[f] > 0.0 { self.y_scale[f] } else { 1.0 };
            gram[width * width - 1] += squares[f] / (scale * scale);
        }
        grams
    }
}

/// `solve_row_upper` in each lane.
struct SolveFour<'a> {
    r: &'a [f64],
    x: &'a mut [Four],
}

impl Kernel for SolveFour<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { r, x } = self;
        let n = x.len();
        for i in 0..n {
            let (done, rest) = x.split_at_mut(i + 1);
            done[i] /= Four::splat(r[i * n + i]);
            let back = -done[i];
            for (value, &entry) in rest.iter_mut().zip(&r[i * n + i + 1..(i + 1) * n]) {
                *value += back * Four::splat(entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::small::identity;

    #[test]
    fn responses_are_mapped_to_the_bits_of_each() {
        let value = |k: usize| (k as f64 * 0.61).sin();
        for (rank, n_fits) in [(0, 5), (2, 6), (9, 4)] {
            let basis = FixedBasis {
                kept: (0..rank).collect(),
                factor: identity(rank),
                ols: (0..rank * n_fits).map(value).collect(),
                // Of a response without residual 0.
                y_scale: (0..n_fits).map(|fit| fit as f64 / 3.0).collect(),
            };
            let x: Vec<Vec<f64>> =
                (0..3).map(|row| (0..rank).map(|i| value(50 + row * rank + i)).collect()).collect();
            let y = |row: usize, fit: usize| value(90 + row * n_fits + fit);
            let mut n = 0;
            for first in (0..n_fits).step_by(LANES) {
                basis.map_responses(first, x.iter().map(|row| &row[..]), y, |row, fit, found| {
                    let alone = basis.map_response(fit, &x[row], y(row, fit));
                    assert_eq!(found.to_bits(), alone.to_bits(), "{rank} {row} {fit}");
                    n += 1;
                });
            }
            assert_eq!(n, x.len() * n_fits);
        }
    }

    #[test]
    fn four_rows_are_mapped_to_the_bits_of_each() {
        let rank = 7;
        let value = |k: usize| (k as f64 * 0.61).sin();
        let mut factor = vec![0.0; rank * rank];
        for i in 0..rank {
            for j in i..rank {
                factor[i * rank + j] = value(i * rank + j) + if i == j { 3.0 } else { 0.0 };
            }
        }
        let kept = (0..rank).collect();
        let basis = FixedBasis { kept, factor, ols: Vec::new(), y_scale: Vec::new() };
        let row = |lane: usize| (0..rank).map(|i| value(100 + lane * rank + i)).collect::<Vec<_>>();
        let mut four: Vec<Four> =
            (0..rank).map(|i| Four::from_lanes(|lane| row(lane)[i])).collect();
        basis.map_four(&mut four);
        for lane in 0..LANES {
            let mut alone = vec![0.0; rank];
            basis.map_row(&row(lane), &mut alone);
            for (own, side) in alone.iter().zip(&four) {
                assert_eq!(own.to_bits(), side.lane(lane).to_bits());
            }
        }
    }
}
