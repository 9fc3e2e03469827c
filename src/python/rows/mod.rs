//! `Nesting` and the statistics of columns.

pub mod parts;

use numpy::{
    IntoPyArray, PyArray1, PyReadonlyArray1, PyReadonlyArrayDyn, PyReadwriteArrayDyn,
    PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;

use super::arguments::{RowValuesArgument, ValuesArgument, row_values, unit_codes, values};
use super::arrays::{Floats, array, c_slice, vector};
use super::gateway::{NotNested, without_gil};
use super::gather::map_fits;
use crate::rows::cell_rows::{InColumns, InPieces};
use crate::rows::codes;
use crate::rows::columns::{
    self, NO_STATISTICS, STATISTICS_ROWS, Values, put_together, statistics,
};
use crate::rows::compress;
use crate::rows::labels::{self, Coded, Texts};
use crate::rows::nesting;
use crate::rows::rotation::copied::copy_beside;
use crate::running::threads::{self, PARALLEL_SIZE};

/// Sum and sum of squares about the first value, smallest and largest of each column, `(n, 4)`.
#[pyfunction]
pub fn column_statistics<'py>(
    py: Python<'py>,
    columns: Vec<ValuesArgument<'py>>,
    n_rows: usize,
) -> PyResult<Floats<'py>> {
    let columns: Vec<Values> =
        columns.iter().map(|c| values("column", c, n_rows)).collect::<PyResult<_>>()?;
    let chunk = |first: usize| -> Vec<[f64; 4]> {
        let rows = first..(first + STATISTICS_ROWS).min(n_rows);
        columns.iter().map(|c| statistics(*c, rows.clone(), c.row(0))).collect()
    };
    let parts: Vec<Vec<[f64; 4]>> = without_gil(py, || {
        let n_chunks = n_rows.div_ceil(STATISTICS_ROWS);
        if n_rows * columns.len() > PARALLEL_SIZE {
            threads::map(0..n_chunks, |i| chunk(i * STATISTICS_ROWS))
        } else {
            (0..n_chunks).map(|i| chunk(i * STATISTICS_ROWS)).collect()
        }
    })?;
    let mut total = vec![NO_STATISTICS; columns.len()];
    for part in parts {
        for (t, p) in total.iter_mut().zip(part) {
            *t = put_together(*t, p);
        }
    }
    array(py, total.concat(), &[columns.len(), 4])
}

/// Sum and sum of squares about the first value, smallest and largest of each column of
/// `(n_fits, n, k)`, or of `(n, k)` over the rows of some parts, of which first rows and numbers of
/// rows are given: `(n_fits, k, 4)`.
#[pyfunction]
#[pyo3(signature = (columns, parts=None))]
pub fn stacked_statistics<'py>(
    py: Python<'py>,
    columns: PyReadonlyArrayDyn<'py, f64>,
    parts: Option<(PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, i64>)>,
) -> PyResult<Floats<'py>> {
    let data = c_slice("columns", &columns, columns.shape())?;
    let (ranges, k) = match (columns.shape(), &parts) {
        (&[n_fits, n, k], None) if n > 0 => {
            ((0..n_fits).map(|fit| fit * n..(fit + 1) * n).collect(), k)
        }
        (&[n, k], Some((first, sizes))) => {
            let sizes = vector("sizes", sizes, first.len())?;
            (parts::ranges(vector("first", first, first.len())?, sizes, n)?, k)
        }
        _ => return Err(PyValueError::new_err("columns have no rows, or not those of the parts")),
    };
    let n_fits = ranges.len();
    let one = |column: usize| {
        let own = &ranges[column / k];
        let n = own.len();
        let values = Values { data, offset: own.start * k + column % k, stride: k };
        let mut total = NO_STATISTICS;
        for first in (0..n).step_by(STATISTICS_ROWS) {
            let rows = first..(first + STATISTICS_ROWS).min(n);
            total = put_together(total, statistics(values, rows, values.row(0)));
        }
        total
    };
    let parts: Vec<[f64; 4]> = without_gil(py, || map_fits(n_fits * k, one))?;
    array(py, parts.concat(), &[n_fits, k, 4])
}

/// Copies responses `(n, n_fits)`, less an offset `(n,)`, into `out`; the statistics of each, as
/// [`stacked_statistics`] has them, `(n_fits, 4)`.
#[pyfunction]
#[pyo3(signature = (values, out, offset=None))]
pub fn copy_responses<'py>(
    py: Python<'py>,
    values: PyReadonlyArrayDyn<'py, f64>,
    mut out: PyReadwriteArrayDyn<'py, f64>,
    offset: Option<PyReadonlyArray1<'py, f64>>,
) -> PyResult<Floats<'py>> {
    let &[n, n_fits] = values.shape() else {
        return Err(PyValueError::new_err("responses are a matrix"));
    };
    if n == 0 || n_fits == 0 || out.shape() != values.shape() {
        return Err(PyValueError::new_err("there are no responses, or there is no place for them"));
    }
    let data = c_slice("values", &values, &[n, n_fits])?;
    let offset = offset.as_ref().map(|own| vector("offset", own, n)).transpose()?;
    let out = out.as_slice_mut()?;
    let found = without_gil(py, || copy_beside(data, n_fits, offset, out))?;
    array(py, found.concat(), &[n_fits, 4])
}

/// Rows of each cell, their values `(n_rows, n_columns)` and weights.
type Compressed<'py> = (Bound<'py, PyArray1<i64>>, Floats<'py>, Floats<'py>);

/// Few weighted rows with the sums of all rows of each cell: see `rows::compress`.
#[pyfunction]
#[pyo3(signature = (codes, n_cells, columns, weights=None))]
pub fn compress_rows<'py>(
    py: Python<'py>,
    codes: PyReadonlyArray1<'py, i32>,
    n_cells: usize,
    columns: Vec<RowValuesArgument<'py>>,
    weights: Option<PyReadonlyArray1<'py, f64>>,
) -> PyResult<Compressed<'py>> {
    let (n, m) = (codes.len(), columns.len());
    let all = [codes];
    let codes = unit_codes(&all, &[n_cells], n)?[0];
    let columns = row_values(&columns, n)?;
    let weights = weights.as_ref().map(|w| vector("weights", w, n)).transpose()?;
    let rows = InColumns { columns: &columns, weights };
    let found = without_gil(py, || compress::compress(codes, n_cells, &rows))?;
    compressed(py, found, m)
}

/// Few weighted rows with the sums of all rows of each cell, of rows in pieces: values
/// `(n, n_columns)` and weights `(n,)`.
#[pyfunction]
pub fn merge_rows<'py>(
    py: Python<'py>,
    codes: PyReadonlyArray1<'py, i32>,
    n_cells: usize,
    n_columns: usize,
    pieces: Vec<(PyReadonlyArrayDyn<'py, f64>, PyReadonlyArray1<'py, f64>)>,
) -> PyResult<Compressed<'py>> {
    let n: usize = pieces.iter().map(|(_, weights)| weights.len()).sum();
    let all = [codes];
    let codes = unit_codes(&all, &[n_cells], n)?[0];
    let read = pieces.iter().map(|(values, weights)| {
        let n = weights.len();
        Ok((c_slice("values", values, &[n, n_columns])?, vector("weights", weights, n)?))
    });
    let rows = InPieces::new(n_columns, read.collect::<PyResult<_>>()?);
    let found = without_gil(py, || compress::compress(codes, n_cells, &rows))?;
    compressed(py, found, n_columns)
}

fn compressed(py: Python<'_>, found: compress::Compressed, m: usize) -> PyResult<Compressed<'_>> {
    let n_rows = found.weights.len();
    let sizes: Vec<i64> = found.sizes.iter().map(|&size| size as i64).collect();
    Ok((
        sizes.into_pyarray(py),
        array(py, found.values, &[n_rows, m])?,
        array(py, found.weights, &[n_rows])?,
    ))
}

/// Codes of rows, and the first row of each code.
type Codes<'py> = (Bound<'py, PyArray1<i32>>, Bound<'py, PyArray1<u32>>);

fn coded(py: Python<'_>, found: Coded) -> Codes<'_> {
    (found.codes.into_pyarray(py), found.first_rows.into_pyarray(py))
}

/// Codes of rows, the first row of each code, and the texts of few codes.
type TextCodes<'py> = (Bound<'py, PyArray1<i32>>, Bound<'py, PyArray1<u32>>, Option<Vec<String>>);

/// Codes of `n` texts that stand one after the other in `bytes`, in the order of the texts.
///
/// Text i is `bytes[ends[first + i]..ends[first + i + 1]]`; -1 where bit `first + i` of `present` is 0.
/// The texts of the codes too, where they are at most `few` and UTF-8.
#[pyfunction]
#[pyo3(signature = (ends, bytes, present, first, n, few))]
pub fn code_texts<'py>(
    py: Python<'py>,
    ends: PyReadonlyArray1<'py, i64>,
    bytes: PyReadonlyArray1<'py, u8>,
    present: Option<PyReadonlyArray1<'py, u8>>,
    first: usize,
    n: usize,
    few: usize,
) -> PyResult<TextCodes<'py>> {
    let length = ends.len();
    let ends = vector("ends", &ends, length)?;
    let bytes = vector("bytes", &bytes, bytes.len())?;
    let bits = present.as_ref().map(|p| vector("present", p, p.len())).transpose()?;
    if n > i32::MAX as usize || first + n >= length {
        return Err(PyValueError::new_err("more texts than ends or codes"));
    }
    if bits.is_some_and(|bits| bits.len() < (first + n).div_ceil(8)) {
        return Err(PyValueError::new_err("fewer bits than texts"));
    }
    let ends = &ends[first..=first + n];
    let in_order = ends.is_sorted() && ends[0] >= 0 && ends[n] as usize <= bytes.len();
    if !in_order {
        return Err(PyValueError::new_err("texts lie outside the bytes"));
    }
    let texts = Texts { ends, bytes, present: bits.map(|bits| (bits, first)) };
    let (found, levels) = without_gil(py, || {
        let found = labels::code_texts(texts);
        let levels = (found.first_rows.len() <= few).then(|| texts.at(&found.first_rows)).flatten();
        (found, levels)
    })?;
    let (codes, rows) = coded(py, found);
    Ok((codes, rows, levels))
}

/// Codes of whole numbers in the order in which they appear; `None` once more than `most` differ.
#[pyfunction]
pub fn code_numbers<'py>(
    py: Python<'py>,
    numbers: PyReadonlyArray1<'py, i64>,
    most: usize,
) -> PyResult<Option<Codes<'py>>> {
    let numbers = vector("numbers", &numbers, numbers.len())?;
    if numbers.len() > i32::MAX as usize {
        return Err(PyValueError::new_err("more numbers than codes"));
    }
    let found = without_gil(py, || labels::code_numbers(numbers, most))?;
    Ok(found.map(|found| coded(py, found)))
}

/// Each code's entry in `table`; -1 stays -1.
#[pyfunction]
pub fn translate_codes<'py>(
    py: Python<'py>,
    codes: PyReadonlyArray1<'py, i32>,
    table: PyReadonlyArray1<'py, i32>,
) -> PyResult<Bound<'py, PyArray1<i32>>> {
    let codes = vector("codes", &codes, codes.len())?;
    let table = vector("table", &table, table.len())?;
    check_codes(codes, table.len())?;
    Ok(without_gil(py, || codes::translate(codes, table))?.into_pyarray(py))
}

/// How often each of `n_codes` codes occurs; before them, how often -1 does.
#[pyfunction]
pub fn count_codes<'py>(
    py: Python<'py>,
    codes: PyReadonlyArray1<'py, i32>,
    n_codes: usize,
) -> PyResult<Bound<'py, PyArray1<i64>>> {
    let codes = vector("codes", &codes, codes.len())?;
    check_codes(codes, n_codes)?;
    Ok(without_gil(py, || codes::count(codes, n_codes))?.into_pyarray(py))
}

fn check_codes(codes: &[i32], n_codes: usize) -> PyResult<()> {
    if i64::from(codes.iter().fold(-1, |most, &code| most.max(code))) >= n_codes as i64 {
        return Err(PyIndexError::new_err("a code lies beyond the levels"));
    }
    Ok(())
}

/// Codes of whole numbers that ascend, and the first row of each; `None` where they do not, or where
/// hardly two neighbours are equal.
#[pyfunction]
pub fn code_runs<'py>(
    py: Python<'py>,
    numbers: PyReadonlyArray1<'py, i64>,
) -> PyResult<Option<Codes<'py>>> {
    let numbers = vector("numbers", &numbers, numbers.len())?;
    if numbers.len() > i32::MAX as usize {
        return Err(PyValueError::new_err("more numbers than codes"));
    }
    let found = without_gil(py, || codes::runs(numbers))?;
    Ok(found.map(|(codes, first_rows)| coded(py, Coded { codes, first_rows })))
}

/// Sum of the squares of a column about a number.
#[pyfunction]
pub fn squares_about(
    py: Python<'_>,
    values: PyReadonlyArray1<'_, f64>,
    center: f64,
) -> PyResult<f64> {
    let values = vector("values", &values, values.len())?;
    without_gil(py, || columns::squares_about(values, center))
}

/// Rows sorted into units of nested grouping factors.
#[pyclass(frozen, module = "mlmfast._core")]
pub struct Nesting(nesting::Nesting);

#[pymethods]
impl Nesting {
    #[new]
    #[pyo3(signature = (n_rows, codes, n_units, positions=None))]
    fn new(
        py: Python<'_>,
        n_rows: usize,
        codes: Vec<PyReadonlyArray1<'_, i32>>,
        n_units: Vec<usize>,
        positions: Option<PyReadonlyArray1<'_, i32>>,
    ) -> PyResult<Self> {
        if codes.len() != n_units.len() {
            return Err(PyValueError::new_err("codes and n_units differ in length"));
        }
        if n_rows > u32::MAX as usize {
            return Err(PyValueError::new_err("more than 2^32 - 1 rows"));
        }
        let slices: Vec<&[i32]> =
            codes.iter().map(|c| vector("codes", c, n_rows)).collect::<PyResult<_>>()?;
        let positions = positions.as_ref().map(|p| vector("positions", p, n_rows)).transpose()?;
        without_gil(py, || {
            for (codes, &n) in slices.iter().zip(&n_units) {
                if codes.iter().any(|&c| c < 0 || c as usize >= n) {
                    return Err(PyValueError::new_err("a code lies outside 0..n_units"));
                }
            }
            let mut nesting = nesting::Nesting::new(n_rows, &slices, &n_units)
                .map_err(|error| NotNested::new_err(error.inner))?;
            if let Some(positions) = positions {
                nesting.sort_units(positions);
            }
            Ok(Self(nesting))
        })?
    }

    /// Code of each unit of a level, in the order in which units are stored.
    fn codes<'py>(&self, py: Python<'py>, level: usize) -> PyResult<Bound<'py, PyArray1<u32>>> {
        let level =
            self.0.levels.get(level).ok_or_else(|| PyIndexError::new_err("no such level"))?;
        Ok(level.codes.clone().into_pyarray(py))
    }
}

impl Nesting {
    pub(super) fn inner(&self) -> &nesting::Nesting {
        &self.0
    }
}
