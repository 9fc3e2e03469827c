//! Estimates in the user's units as Python sees them.

use numpy::{PyReadonlyArray1, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::arrays::{Floats, array, c_slice, vector};
use super::gateway::{require, without_gil};
use crate::criterion::estimates::{Scaled, Solved, coefficients, covariances, maps};

type Argument<'py> = PyReadonlyArrayDyn<'py, f64>;
type Numbers<'py> = PyReadonlyArray1<'py, f64>;

/// Number and order of square matrices.
fn sizes(name: &str, matrices: &Argument<'_>) -> PyResult<(usize, usize)> {
    match matrices.shape() {
        &[n, p, q] if p == q => Ok((n, p)),
        found => Err(PyValueError::new_err(format!("{name} has shape {found:?}"))),
    }
}

fn check_constant(constant: Option<usize>, p: usize) -> PyResult<()> {
    if constant.is_none_or(|at| at < p) {
        return Ok(());
    }
    Err(PyValueError::new_err("the constant column is none of the columns"))
}

/// K `(n, p, p)` with coefficients = K (those of the orthonormal columns), for R, centers and scales
/// `(n, p)` of the columns and the position of the constant one.
#[pyfunction]
pub fn coefficient_maps<'py>(
    py: Python<'py>,
    factor: Argument<'py>,
    center: Argument<'py>,
    scale: Argument<'py>,
    constant: Option<usize>,
) -> PyResult<Floats<'py>> {
    let (n, p) = sizes("factor", &factor)?;
    check_constant(constant, p)?;
    require(n * p * p)?;
    let of = Scaled {
        factor: c_slice("factor", &factor, &[n, p, p])?,
        center: c_slice("center", &center, &[n, p])?,
        scale: c_slice("scale", &scale, &[n, p])?,
        constant,
    };
    array(py, without_gil(py, || maps(p, n, of))?, &[n, p, p])
}

/// Coefficients `(a, p)` and their covariances `(a, p, p)` from maps (one, or one a fit), least squares
/// and what is added to them `(a, p)`, C `(a, p, p)`, scales and units of the responses, their centers
/// and `sigma^2` `(a,)`, and the position of the constant column.
#[pyfunction]
pub fn user_coefficients<'py>(
    py: Python<'py>,
    maps: Argument<'py>,
    solved: (Argument<'py>, Argument<'py>, Argument<'py>),
    responses: (Numbers<'py>, Numbers<'py>, Numbers<'py>),
    sigma2: Numbers<'py>,
    constant: Option<usize>,
) -> PyResult<(Floats<'py>, Floats<'py>)> {
    let ((ols, beta, c), (scale, unit, center)) = (&solved, &responses);
    let (n, p) = sizes("maps", &maps)?;
    let a = sigma2.len();
    check_constant(constant, p)?;
    require(a * (p + p * p))?;
    let at = Solved {
        maps: c_slice("maps", &maps, &[if n == 1 { 1 } else { a }, p, p])?,
        coefficients: [c_slice("ols", ols, &[a, p])?, c_slice("beta", beta, &[a, p])?],
        c: c_slice("c", c, &[a, p, p])?,
        scale: [vector("scale", scale, a)?, vector("unit", unit, a)?],
        center: vector("center", center, a)?,
        sigma2: vector("sigma2", &sigma2, a)?,
    };
    let [beta, vcov] = without_gil(py, || coefficients(p, constant, at))?;
    Ok((array(py, beta, &[a, p])?, array(py, vcov, &[a, p, p])?))
}

/// G `(a, q, q)` in the user's units from maps (one, or one a fit), G over `sigma^2` in the core's
/// coordinates and `sigma^2` `(a,)`.
#[pyfunction]
pub fn user_covariances<'py>(
    py: Python<'py>,
    maps: Argument<'py>,
    g: Argument<'py>,
    sigma2: Numbers<'py>,
) -> PyResult<Floats<'py>> {
    let (n, q) = sizes("maps", &maps)?;
    let a = sigma2.len();
    require(a * q * q)?;
    let maps = c_slice("maps", &maps, &[if n == 1 { 1 } else { a }, q, q])?;
    let own = c_slice("g", &g, &[a, q, q])?;
    let sigma2 = vector("sigma2", &sigma2, a)?;
    array(py, without_gil(py, || covariances(q, maps, own, sigma2))?, &[a, q, q])
}
