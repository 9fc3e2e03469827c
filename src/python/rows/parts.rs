//! Designs that are parts of one table: which rows each has, and in which units.

use std::ops::Range;

use numpy::{PyReadonlyArray1, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::super::arrays::vector;
use crate::rows::nesting::{Nesting, NotNested};

/// First row and number of rows of each part, `(n_parts,)` each; by level, outermost first, the code
/// of each row, numbered anew in each part; numbers of units, level by level of a part,
/// `(n_parts * n_levels,)`.
pub type PartsArgument<'py> = (
    PyReadonlyArray1<'py, i64>,
    PyReadonlyArray1<'py, i64>,
    Vec<PyReadonlyArray1<'py, i32>>,
    PyReadonlyArray1<'py, i64>,
);

/// A [`PartsArgument`] that was checked.
pub struct Parts<'a> {
    ranges: Vec<Range<usize>>,
    codes: Vec<&'a [i32]>,
    n_units: Vec<usize>,
}

/// Rows of some parts among `n_rows`.
pub fn ranges(first: &[i64], sizes: &[i64], n_rows: usize) -> PyResult<Vec<Range<usize>>> {
    let range = |(&first, &size): (&i64, &i64)| {
        let (first, size) = (usize::try_from(first).ok()?, usize::try_from(size).ok()?);
        let last = first.checked_add(size)?;
        (size > 0 && last <= n_rows).then_some(first..last)
    };
    let all: Option<Vec<_>> = first.iter().zip(sizes).map(range).collect();
    all.ok_or_else(|| PyValueError::new_err("parts lie outside the rows, or have none"))
}

impl<'a> Parts<'a> {
    /// Checks parts of some levels.
    pub fn new(
        (first, sizes, codes, n_units): &'a PartsArgument<'_>,
        n_parts: usize,
        n_levels: usize,
    ) -> PyResult<Self> {
        let n_rows = codes.first().map_or(0, |codes| codes.len());
        if codes.len() != n_levels || n_rows > u32::MAX as usize {
            return Err(PyValueError::new_err("codes are not those of the levels"));
        }
        let codes: Vec<&[i32]> =
            codes.iter().map(|codes| vector("codes", codes, n_rows)).collect::<PyResult<_>>()?;
        let units = vector("n_units", n_units, n_parts * n_levels)?;
        let (first, sizes) = (vector("first", first, n_parts)?, vector("sizes", sizes, n_parts)?);
        let ranges = ranges(first, sizes, n_rows)?;
        for (part, own) in ranges.iter().enumerate() {
            for (level, codes) in codes.iter().enumerate() {
                let n = units[part * n_levels + level];
                if codes[own.clone()].iter().any(|&code| code < 0 || i64::from(code) >= n) {
                    return Err(PyValueError::new_err("a code lies outside 0..n_units"));
                }
            }
        }
        let n_units = units.iter().map(|&n| n as usize).collect();
        Ok(Self { ranges, codes, n_units })
    }

    /// Rows of all parts, and others between them.
    pub fn n_rows(&self) -> usize {
        self.codes.first().map_or(0, |codes| codes.len())
    }

    /// Rows of one part.
    pub fn rows(&self, part: usize) -> Range<usize> {
        self.ranges[part].clone()
    }

    /// The units of one part.
    pub fn nesting(&self, part: usize) -> Result<Nesting, NotNested> {
        let (own, n_levels) = (self.rows(part), self.codes.len());
        let codes: Vec<&[i32]> = self.codes.iter().map(|codes| &codes[own.clone()]).collect();
        Nesting::new(own.len(), &codes, &self.n_units[part * n_levels..(part + 1) * n_levels])
    }
}
