//! Arrays in and out: contiguity and length are checked here, nowhere else.

use numpy::{Element, IntoPyArray, PyArrayDyn, PyArrayMethods, PyReadonlyArray1};
use numpy::{PyReadonlyArrayDyn, PyReadwriteArray1, PyUntypedArrayMethods};
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;

/// The numbers of a one-dimensional contiguous array of `n` values.
pub fn vector<'a, T: Element>(
    name: &str,
    array: &'a PyReadonlyArray1<'_, T>,
    n: usize,
) -> PyResult<&'a [T]> {
    if array.len() != n {
        let found = array.len();
        return Err(PyValueError::new_err(format!("{name} has {found} values, {n} are needed")));
    }
    array.as_slice().map_err(|_| PyValueError::new_err(format!("{name} must be contiguous")))
}

/// The numbers of a C-contiguous array of the given shape.
///
/// `as_slice` alone would also accept a Fortran-ordered array and read it transposed.
pub fn c_slice<'a, T: Element>(
    name: &str,
    array: &'a PyReadonlyArrayDyn<'_, T>,
    shape: &[usize],
) -> PyResult<&'a [T]> {
    if array.shape() != shape {
        let found = array.shape();
        return Err(PyValueError::new_err(format!("{name} has shape {found:?}, not {shape:?}")));
    }
    if !array.is_c_contiguous() {
        return Err(PyValueError::new_err(format!("{name} must be C-contiguous")));
    }
    array.as_slice().map_err(|_| PyValueError::new_err(format!("{name} must be contiguous")))
}

/// An array of any shape.
pub type Floats<'py> = Bound<'py, PyArrayDyn<f64>>;

/// An array of the given shape that takes over `values`.
pub fn array<'py>(py: Python<'py>, values: Vec<f64>, shape: &[usize]) -> PyResult<Floats<'py>> {
    values.into_pyarray(py).reshape(shape.to_vec())
}

/// Memory for `n` numbers of any values; `None` for none, or where there is none to be had.
///
/// It is made by `NumPy`, which asks for pages of 2 MB: writing to fresh memory of small pages takes
/// three times as long.
pub fn large_buffer(py: Python<'_>, n: usize) -> PyResult<Option<PyReadwriteArray1<'_, f64>>> {
    if n == 0 {
        return Ok(None);
    }
    match py.import("numpy")?.call_method1("empty", (n,)) {
        Ok(array) => Ok(Some(array.extract()?)),
        Err(error) if error.is_instance_of::<PyMemoryError>(py) => Ok(None),
        Err(error) => Err(error),
    }
}
