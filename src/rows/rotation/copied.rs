//! Copies of responses that stand side by side, with the statistics of each, in one pass.

use std::ops::Range;

use crate::linalg::beside::{read, write};
use crate::linalg::dense::{Kernel, vectorised};
use crate::linalg::lanes::{Four, LANES, Lane};
use crate::rows::columns::{NO_STATISTICS, STATISTICS_ROWS, put_together, statistics_together};
use crate::running::stop::check;
use crate::running::threads;

/// Responses that are taken together: their rows and sums stay in the nearest cache.
const STRIPE: usize = 64;
/// Rows whose sums are formed side by side, as those of a column alone are.
const AT_ONCE: usize = 4;
/// Rows that are copied, and then looked at, at once.
const TILE: usize = 64;
/// Numbers up to which one thread takes them all.
const FEW: usize = 50_000;

/// Copies the rows of `n_fits` responses, less those of an offset, and says of each response what
/// [`crate::rows::columns::statistics`] has about its first value.
#[must_use]
pub fn copy_beside(
    values: &[f64],
    n_fits: usize,
    offset: Option<&[f64]>,
    out: &mut [f64],
) -> Vec<[f64; 4]> {
    let mut stripes: Vec<Stripe> = (0..n_fits.div_ceil(STRIPE))
        .map(|k| Stripe {
            values,
            n_fits,
            first: k * STRIPE,
            offset,
            out: Vec::with_capacity(values.len() / n_fits),
        })
        .collect();
    for row in out.chunks_exact_mut(n_fits) {
        stripes.iter_mut().zip(row.chunks_mut(STRIPE)).for_each(|(own, part)| own.out.push(part));
    }
    let found: Vec<Vec<[f64; 4]>> = if values.len() > FEW {
        threads::map(stripes, Stripe::copy)
    } else {
        stripes.into_iter().map(Stripe::copy).collect()
    };
    found.concat()
}

/// Some responses, and where their rows go.
struct Stripe<'a> {
    values: &'a [f64],
    n_fits: usize,
    /// The first of them.
    first: usize,
    offset: Option<&'a [f64]>,
    out: Vec<&'a mut [f64]>,
}

impl Stripe<'_> {
    fn copy(mut self) -> Vec<[f64; 4]> {
        let width = self.out.first().map_or(0, |row| row.len());
        let mut origin = [0.0; STRIPE];
        let mut total = vec![NO_STATISTICS; width];
        for first in (0..self.out.len()).step_by(STATISTICS_ROWS) {
            check();
            let last = (first + STATISTICS_ROWS).min(self.out.len());
            let mut sums = [NO_STATISTICS.map(|value| [value; STRIPE]); AT_ONCE];
            for first in (first..last).step_by(TILE) {
                let rows = first..(first + TILE).min(last);
                self.copy_rows(rows.clone());
                if first == 0 {
                    origin[..width].copy_from_slice(self.out[0]);
                }
                vectorised(Tile { rows: &self.out[rows], origin: &origin, sums: &mut sums });
            }
            for (k, total) in total.iter_mut().enumerate() {
                let of = std::array::from_fn(|part| sums.each_ref().map(|own| own[part][k]));
                *total = put_together(*total, statistics_together(&of));
            }
        }
        total
    }

    fn copy_rows(&mut self, rows: Range<usize>) {
        for row in rows {
            let out = &mut *self.out[row];
            let from = row * self.n_fits + self.first;
            out.copy_from_slice(&self.values[from..from + out.len()]);
            if let Some(offset) = self.offset {
                out.iter_mut().for_each(|value| *value -= offset[row]);
            }
        }
    }
}

/// Rows of a stripe that were copied.
struct Tile<'a, 'b> {
    rows: &'a [&'b mut [f64]],
    origin: &'a [f64; STRIPE],
    /// By place of the rows and part of the statistics, those of each response.
    sums: &'a mut [[[f64; STRIPE]; 4]; AT_ONCE],
}

impl Kernel for Tile<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn call(mut self) {
        let width = self.rows.first().map_or(0, |row| row.len());
        let whole = width - width % LANES;
        for at in (0..whole).step_by(LANES) {
            self.some::<Four>(at);
        }
        for at in whole..width {
            self.some::<f64>(at);
        }
    }
}

impl Tile<'_, '_> {
    /// Adds the rows of the responses from the `at`-th on, one in each lane.
    #[inline(always)]
    fn some<V: Lane>(&mut self, at: usize) {
        let origin = read::<V>(self.origin, at);
        for (place, sums) in self.sums.iter_mut().enumerate() {
            let [mut total, mut squares, mut low, mut high] = [
                read::<V>(&sums[0], at),
                read::<V>(&sums[1], at),
                read::<V>(&sums[2], at),
                read::<V>(&sums[3], at),
            ];
            let mut row = place;
            while row < self.rows.len() {
                let value = read::<V>(self.rows[row], at);
                let shifted = value - origin;
                total += shifted;
                squares += shifted * shifted;
                low = low.where_above(value, value, low);
                high = value.where_above(high, value, high);
                row += AT_ONCE;
            }
            for (to, value) in sums.iter_mut().zip([total, squares, low, high]) {
                write(to, at, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::columns::{Values, statistics};

    #[test]
    fn responses_side_by_side_have_the_statistics_of_each_alone() {
        for (n, n_fits) in [(1, 3), (7, 65), (4, 1), (9001, 70)] {
            let mut values: Vec<f64> =
                (0..n * n_fits).map(|k| (k as f64 * 0.61).sin() * 3.0 + 7.0).collect();
            if n_fits > 3 {
                values[2 * n_fits + 2] = f64::NAN;
                values[n_fits + 3] = f64::INFINITY;
            }
            let offset: Vec<f64> = (0..n).map(|row| (row as f64 * 0.37).cos()).collect();
            for given in [None, Some(&offset[..])] {
                let mut out = vec![0.0; n * n_fits];
                let found = copy_beside(&values, n_fits, given, &mut out);
                for (k, (value, from)) in out.iter().zip(&values).enumerate() {
                    let own = from - given.map_or(0.0, |offset| offset[k / n_fits]);
                    assert!(value.to_bits() == own.to_bits() || value.is_nan());
                }
                for (fit, found) in found.iter().enumerate() {
                    let own = Values { data: &out, offset: fit, stride: n_fits };
                    let mut alone = NO_STATISTICS;
                    for first in (0..n).step_by(STATISTICS_ROWS) {
                        let rows = first..(first + STATISTICS_ROWS).min(n);
                        alone = put_together(alone, statistics(own, rows, own.row(0)));
                    }
                    let bits = |value: &f64| if value.is_nan() { 1 } else { value.to_bits() };
                    assert_eq!(found.each_ref().map(bits), alone.each_ref().map(bits), "{fit}");
                }
            }
        }
    }
}
