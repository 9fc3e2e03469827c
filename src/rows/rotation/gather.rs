//! Rows copied from columns wherever these lie.

use std::ops::Range;

use crate::linalg::beside::{read, write};
use crate::linalg::dense::{Kernel, block, vectorised};
use crate::linalg::lanes::{Four, LANES, Lane, transposed};
use crate::rows::columns::{Column, Values};
use crate::rows::nesting::Nesting;
use crate::running::memory::lengthen;

/// Which row of the columns stands at each position of the order of units.
pub(super) enum Places {
    /// That of the nesting.
    Own,
    /// Rows that were staged, by position from `first` on.
    Staged { first: usize, rows: Vec<u32> },
}

impl Places {
    /// The rows of some positions; `None` where they are the positions themselves.
    pub(super) fn of<'a>(
        &'a self,
        nesting: &'a Nesting,
        positions: Range<usize>,
    ) -> Option<&'a [u32]> {
        match self {
            Self::Own => nesting.row_order.as_ref().map(|order| &order[positions]),
            Self::Staged { first, rows } => {
                Some(&rows[positions.start - first..positions.end - first])
            }
        }
    }
}

/// Copies rows, centred, scaled and weighted, into `out`, one column after the other.
pub(super) fn gather(
    nesting: &Nesting,
    places: &Places,
    columns: &[Column],
    sqrt_weights: Option<&[f64]>,
    rows: Range<usize>,
    out: &mut Vec<f64>,
) {
    lengthen(out, rows.len() * columns.len());
    let sorted = places.of(nesting, rows.clone());
    let is_staged = matches!(places, Places::Staged { .. });
    vectorised(Gather { columns, rows: rows.clone(), sorted, is_staged, out: &mut out[..] });
    if let Some(weights) = sqrt_weights {
        for out in out.chunks_exact_mut(rows.len()) {
            for (o, position) in out.iter_mut().zip(rows.clone()) {
                *o *= weights[nesting.row_at(position)];
            }
        }
    }
}

struct Gather<'a> {
    columns: &'a [Column<'a>],
    rows: Range<usize>,
    /// The rows that stand at these positions, unless they are the same.
    sorted: Option<&'a [u32]>,
    /// Do columns that follow each other stand side by side in memory?
    is_staged: bool,
    out: &'a mut [f64],
}

impl Kernel for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn call(mut self) {
        let mut c = 0;
        while let Some(&column) = self.columns.get(c) {
            match (column.values, self.sorted) {
                (Some(values), Some(sorted)) if self.is_staged => {
                    c += self.side_by_side(c, values, sorted);
                    continue;
                }
                (Some(values), Some(sorted)) => {
                    let value = |k: usize| values.row(sorted[k] as usize);
                    self.put(c, 0, value);
                }
                (Some(values), None) => self.contiguous(c, values),
                (None, _) => self.put(c, 0, |_| 1.0),
            }
            c += 1;
        }
    }
}

impl Gather<'_> {
    /// Puts the values of a column from the `first`-th row on.
    #[inline(always)]
    fn put(&mut self, c: usize, first: usize, value: impl Fn(usize) -> f64) {
        let (n, Column { center, scale, .. }) = (self.rows.len(), self.columns[c]);
        let out = &mut self.out[block(c, n)];
        for k in first..n {
            out[k] = (value(k) - center) * scale;
        }
    }

    /// A column of rows in the order in which they lie.
    #[inline(always)]
    fn contiguous(&mut self, c: usize, values: Values) {
        if values.stride != 1 {
            let first = self.rows.start;
            self.put(c, 0, |k| values.row(first + k));
            return;
        }
        let (n, Column { center, scale, .. }) = (self.rows.len(), self.columns[c]);
        let own = &values.data[values.offset + self.rows.start..][..n];
        let out = &mut self.out[c * n..][..n];
        for k in 0..n {
            out[k] = (own[k] - center) * scale;
        }
    }

    /// Up to four columns that stand side by side in memory, from column `c` on; how many.
    #[inline(always)]
    fn side_by_side(&mut self, c: usize, first: Values, sorted: &[u32]) -> usize {
        let together = together(&self.columns[c..], first);
        let n = self.rows.len();
        // Where fewer stand together, what stands behind them is read too, and left there.
        let whole = if first.offset + LANES <= first.stride { n - n % LANES } else { 0 };
        let mut k = 0;
        while k < whole {
            let four =
                four_by_four(first, [sorted[k], sorted[k + 1], sorted[k + 2], sorted[k + 3]]);
            for j in 0..together {
                let Column { center, scale, .. } = self.columns[c + j];
                let value = (four[j] - Four::splat(center)) * Four::splat(scale);
                write(self.out, (c + j) * n + k, value);
            }
            k += LANES;
        }
        for j in 0..together {
            let Some(values) = self.columns[c + j].values else { continue };
            self.put(c + j, whole, |k| values.row(sorted[k] as usize));
        }
        together
    }
}

/// How many of the next columns, up to four, stand side by side in memory from the `first` on.
#[inline(always)]
pub(super) fn together(columns: &[Column], first: Values) -> usize {
    let mut n = 0;
    while n < LANES.min(columns.len()) {
        match columns[n].values {
            Some(other) if other.offset == first.offset + n => n += 1,
            _ => break,
        }
    }
    n
}

/// Four numbers of four rows, from the `first` column on: by column, a row in each lane.
#[inline(always)]
pub(super) fn four_by_four(first: Values, rows: [u32; LANES]) -> [Four; LANES] {
    let at = |row: u32| row as usize * first.stride + first.offset;
    let [a, b, c, d] = rows;
    transposed([
        read(first.data, at(a)),
        read(first.data, at(b)),
        read(first.data, at(c)),
        read(first.data, at(d)),
    ])
}
