//! Rows copied from columns wherever these lie.

use std::ops::Range;

use crate::rows::columns::Column;
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
    let n = rows.len();
    let sorted = places.of(nesting, rows.clone());
    lengthen(out, n * columns.len());
    for (column, out) in columns.iter().zip(out.chunks_exact_mut(n)) {
        let Column { values, center, scale } = *column;
        match (values, sorted) {
            (None, _) => out.fill((1.0 - center) * scale),
            (Some(values), None) if values.stride == 1 => {
                let data = &values.data[values.offset..];
                for (o, v) in out.iter_mut().zip(&data[rows.clone()]) {
                    *o = (v - center) * scale;
                }
            }
            (Some(values), None) => {
                for (o, row) in out.iter_mut().zip(rows.clone()) {
                    *o = (values.row(row) - center) * scale;
                }
            }
            (Some(values), Some(sorted)) => {
                for (o, &row) in out.iter_mut().zip(sorted) {
                    *o = (values.row(row as usize) - center) * scale;
                }
            }
        }
    }
    if let Some(weights) = sqrt_weights {
        for out in out.chunks_exact_mut(n) {
            for (o, position) in out.iter_mut().zip(rows.clone()) {
                *o *= weights[nesting.row_at(position)];
            }
        }
    }
}
