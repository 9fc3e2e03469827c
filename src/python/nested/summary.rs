//! The numbers of a printed summary as Python sees them.

use numpy::{PyReadonlyArray1, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::super::arguments::{ColumnArgument, columns, unit_codes};
use super::super::gateway::without_gil;
use crate::nested::reduction::Reduction;
use crate::nested::report::report;
use crate::nested::row_residuals::Rows;

/// Codes of the rows, number of units, columns of Z, of X and the response.
pub type RowsArgument<'py> = (
    PyReadonlyArray1<'py, i32>,
    usize,
    Vec<ColumnArgument<'py>>,
    Vec<ColumnArgument<'py>>,
    ColumnArgument<'py>,
);

/// As `nested::report::Report` has them: coefficients, covariances and degrees of freedom; residual
/// variance and G; sums and scales; quartiles and sizes.
pub type Numbers = ([Vec<f64>; 3], f64, Vec<f64>, [Vec<f64>; 2], [f64; 5], [f64; 3]);

/// Those of the fit at theta; `None` where they are asked for one by one.
pub fn numbers(
    py: Python<'_>,
    reduction: &Reduction,
    theta: &[f64],
    (codes, n_units, z, x, y): &RowsArgument<'_>,
    reml: bool,
) -> PyResult<Option<Numbers>> {
    let n = codes.len();
    if n == 0 || *n_units == 0 {
        return Err(PyValueError::new_err("there are no rows"));
    }
    let codes = unit_codes(std::slice::from_ref(codes), &[*n_units], n)?[0];
    let (x, z, y) =
        (columns("x", x, n)?, columns("z", z, n)?, columns("y", std::slice::from_ref(y), n)?);
    let rows = Rows { codes, n_units: *n_units, x: &x, z: &z, y: y[0] };
    let found = without_gil(py, || report(reduction, theta, rows, reml))?;
    Ok(found.map(|own| {
        let [beta, vcov] = own.coefficients;
        let fixed = [beta, vcov, own.degrees];
        (fixed, own.sigma2, own.covariance, [own.sums, own.scales], own.quartiles, own.sizes)
    }))
}
