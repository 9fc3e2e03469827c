//! Responses of which the values of a row stand side by side in memory.

use std::ops::Range;

use crate::linalg::dense::{Kernel, vectorised};
use crate::linalg::lanes::LANES;
use crate::rows::columns::{Column, Values};
use crate::rows::nesting::Nesting;
use crate::running::memory::lengthen;

/// Some responses of a matrix that lies in memory row by row.
pub(super) struct ResponsesBeside<'a> {
    values: Values<'a>,
    centers: Vec<f64>,
    scales: Vec<f64>,
    rows: Vec<f64>,
}

impl<'a> ResponsesBeside<'a> {
    /// Those of columns that lie so, enough of them to fill the lanes.
    pub(super) fn of(columns: &[Column<'a>]) -> Option<Self> {
        let first = columns.first().filter(|_| columns.len() >= LANES)?.values?;
        let lies = |(k, column): (usize, &Column)| {
            column.values.is_some_and(|own| {
                std::ptr::eq(own.data, first.data)
                    && (own.stride, own.offset) == (first.stride, first.offset + k)
            })
        };
        columns.iter().enumerate().all(lies).then(|| Self {
            values: first,
            centers: columns.iter().map(|column| column.center).collect(),
            scales: columns.iter().map(|column| column.scale).collect(),
            rows: Vec::new(),
        })
    }

    /// Rows of a unit, centred, scaled and weighted, one after the other.
    pub(super) fn gather(
        &mut self,
        nesting: &Nesting,
        sqrt_weights: Option<&[f64]>,
        rows: Range<usize>,
    ) -> &mut [f64] {
        let Self { values, centers, scales, rows: out } = self;
        let width = centers.len();
        lengthen(out, rows.len() * width);
        for (position, out) in rows.zip(out.chunks_exact_mut(width)) {
            let row = nesting.row_at(position);
            let first = values.offset + row * values.stride;
            let own = &values.data[first..first + width];
            vectorised(Scaled { own, centers, scales, out });
            if let Some(weights) = sqrt_weights {
                out.iter_mut().for_each(|value| *value *= weights[row]);
            }
        }
        out
    }
}

struct Scaled<'a> {
    own: &'a [f64],
    centers: &'a [f64],
    scales: &'a [f64],
    out: &'a mut [f64],
}

impl Kernel for Scaled<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { own, centers, scales, out } = self;
        let by = centers.iter().zip(scales);
        for ((to, value), (center, scale)) in out.iter_mut().zip(own).zip(by) {
            *to = (value - center) * scale;
        }
    }
}
