//! Small symmetric matrices of a batch as Python sees them.

use numpy::{PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::arrays::{Floats, array, c_slice};
use super::gateway::without_gil;
use crate::criterion::bases::{At, bases};
use crate::newton::steps::{self, Derivatives};
use crate::newton::{MOST, autocorrelations, eigenvalues, unstructured};

type Argument<'py> = PyReadonlyArrayDyn<'py, f64>;

/// Number of fits and order of an array that leads with them.
fn sizes(name: &str, array: &Argument<'_>, most: usize) -> PyResult<(usize, usize)> {
    match array.shape() {
        &[n, k, ..] if (1..=most).contains(&k) => Ok((n, k)),
        found => Err(PyValueError::new_err(format!("{name} has shape {found:?}"))),
    }
}

/// Eigenvalues `(a, k)`, ascending, and eigenvectors of symmetric matrices `(a, k, k)`, k up to 6.
#[pyfunction]
pub fn symmetric_eigen<'py>(
    py: Python<'py>,
    matrices: Argument<'py>,
) -> PyResult<(Floats<'py>, Floats<'py>)> {
    let (n, k) = sizes("matrices", &matrices, MOST)?;
    let data = c_slice("matrices", &matrices, &[n, k, k])?;
    let [values, vectors] = without_gil(py, || eigenvalues::symmetric_eigen(k, n, data))?;
    Ok((array(py, values, &[n, k])?, array(py, vectors, &[n, k, k])?))
}

/// Newton steps `(a, t)`, their slopes and the smallest eigenvalues of the scaled Hessians `(a,)`.
#[pyfunction]
pub fn newton_steps<'py>(
    py: Python<'py>,
    gradient: Argument<'py>,
    hessian: Argument<'py>,
    expected: Argument<'py>,
    floor: f64,
) -> PyResult<(Floats<'py>, Floats<'py>, Floats<'py>)> {
    let (n, t) = sizes("gradient", &gradient, MOST)?;
    let at = Derivatives {
        gradient: c_slice("gradient", &gradient, &[n, t])?,
        hessian: c_slice("hessian", &hessian, &[n, t, t])?,
        expected: c_slice("expected", &expected, &[n, t, t])?,
    };
    let [step, slope, smallest] = without_gil(py, || steps::newton_steps(t, n, at, floor))?;
    Ok((array(py, step, &[n, t])?, array(py, slope, &[n])?, array(py, smallest, &[n])?))
}

/// Scoring steps `(a, t)` along what the information tells.
#[pyfunction]
pub fn scoring_steps<'py>(
    py: Python<'py>,
    gradient: Argument<'py>,
    expected: Argument<'py>,
) -> PyResult<Floats<'py>> {
    let (n, t) = sizes("gradient", &gradient, MOST)?;
    let own = c_slice("gradient", &gradient, &[n, t])?;
    let information = c_slice("expected", &expected, &[n, t, t])?;
    array(py, without_gil(py, || steps::scoring_steps(t, n, own, information))?, &[n, t])
}

/// J'g, J'H J + C and J'E J for a Jacobian `(a, m, t)` and a curvature `(a, t, t)`.
#[pyfunction]
pub fn led_derivatives<'py>(
    py: Python<'py>,
    jacobian: Argument<'py>,
    curvature: Argument<'py>,
    gradient: Argument<'py>,
    hessian: Argument<'py>,
    expected: Argument<'py>,
) -> PyResult<(Floats<'py>, Floats<'py>, Floats<'py>)> {
    let (n, t) = sizes("curvature", &curvature, MOST)?;
    let (_, m) = sizes("gradient", &gradient, usize::MAX)?;
    let j = c_slice("jacobian", &jacobian, &[n, m, t])?;
    let bend = c_slice("curvature", &curvature, &[n, t, t])?;
    let at = Derivatives {
        gradient: c_slice("gradient", &gradient, &[n, m])?,
        hessian: c_slice("hessian", &hessian, &[n, m, m])?,
        expected: c_slice("expected", &expected, &[n, m, m])?,
    };
    let [gradient, hessian, expected] = without_gil(py, || steps::led((m, t), n, j, bend, at))?;
    Ok((
        array(py, gradient, &[n, t])?,
        array(py, hessian, &[n, t, t])?,
        array(py, expected, &[n, t, t])?,
    ))
}

/// Checks theta of an unstructured covariance of order `k`: number of fits and of parameters.
fn unstructured_sizes(k: usize, theta: &Argument<'_>) -> PyResult<(usize, usize)> {
    let (n, t) = sizes("theta", theta, MOST)?;
    if k > unstructured::MOST || t != k * (k + 1) / 2 {
        return Err(PyValueError::new_err("theta is none of an unstructured covariance"));
    }
    Ok((n, t))
}

/// See `Unstructured.chart`, for an order of up to 3.
#[pyfunction]
pub fn unstructured_chart<'py>(
    py: Python<'py>,
    k: usize,
    theta: Argument<'py>,
    weight: Argument<'py>,
) -> PyResult<(Floats<'py>, Floats<'py>)> {
    let (n, t) = unstructured_sizes(k, &theta)?;
    let own = c_slice("theta", &theta, &[n, t])?;
    let weight = c_slice("weight", &weight, &[n, t])?;
    let [jacobian, curvature] = without_gil(py, || unstructured::chart(k, n, own, weight))?;
    Ok((array(py, jacobian, &[n, t, t])?, array(py, curvature, &[n, t, t])?))
}

/// See `Unstructured.move`.
#[pyfunction]
pub fn unstructured_move<'py>(
    py: Python<'py>,
    k: usize,
    theta: Argument<'py>,
    step: Argument<'py>,
) -> PyResult<Floats<'py>> {
    let (n, t) = unstructured_sizes(k, &theta)?;
    let own = c_slice("theta", &theta, &[n, t])?;
    let step = c_slice("step", &step, &[n, t])?;
    array(py, without_gil(py, || unstructured::moved(k, n, own, step))?, &[n, t])
}

/// See `Unstructured.matrix`.
#[pyfunction]
pub fn unstructured_matrices<'py>(
    py: Python<'py>,
    k: usize,
    theta: Argument<'py>,
) -> PyResult<Floats<'py>> {
    let (n, t) = unstructured_sizes(k, &theta)?;
    let own = c_slice("theta", &theta, &[n, t])?;
    array(py, without_gil(py, || unstructured::matrices_of(k, n, own))?, &[n, k, k])
}

/// See `Unstructured.nearest`: theta `(a, t)`, and 1 where an eigenvalue was negative `(a,)`.
#[pyfunction]
pub fn unstructured_nearest<'py>(
    py: Python<'py>,
    k: usize,
    entries: Argument<'py>,
    lift: f64,
) -> PyResult<(Floats<'py>, Floats<'py>)> {
    let (n, t) = unstructured_sizes(k, &entries)?;
    let own = c_slice("entries", &entries, &[n, t])?;
    let [theta, outside] = without_gil(py, || unstructured::nearest(k, n, own, lift))?;
    Ok((array(py, theta, &[n, t])?, array(py, outside, &[n])?))
}

/// See `Unstructured.theta`.
#[pyfunction]
pub fn unstructured_theta<'py>(py: Python<'py>, matrices: Argument<'py>) -> PyResult<Floats<'py>> {
    let (n, k) = sizes("matrices", &matrices, unstructured::MOST)?;
    let data = c_slice("matrices", &matrices, &[n, k, k])?;
    let theta = without_gil(py, || unstructured::theta_of(k, n, data))?;
    array(py, theta, &[n, k * (k + 1) / 2])
}

/// Autocorrelations `(a, n)` of partial ones.
#[pyfunction]
pub fn autocorrelations_of<'py>(py: Python<'py>, partial: Argument<'py>) -> PyResult<Floats<'py>> {
    let (a, n) = sizes("partial", &partial, usize::MAX)?;
    let own = c_slice("partial", &partial, &[a, n])?;
    array(py, without_gil(py, || autocorrelations::autocorrelations(n, a, own))?, &[a, n])
}

/// Autocorrelations `(a, n)` of partial ones, their first derivatives `(a, n, n)` and the second ones
/// of their sums with weights `(a, n)`, of shape `(a, n, n)`.
#[pyfunction]
pub fn autocorrelations_chart<'py>(
    py: Python<'py>,
    partial: Argument<'py>,
    weight: Argument<'py>,
) -> PyResult<(Floats<'py>, Floats<'py>, Floats<'py>)> {
    let (a, n) = sizes("partial", &partial, usize::MAX)?;
    let own = c_slice("partial", &partial, &[a, n])?;
    let weight = c_slice("weight", &weight, &[a, n])?;
    let [r, first, second] = without_gil(py, || autocorrelations::chart(n, a, own, weight))?;
    Ok((array(py, r, &[a, n])?, array(py, first, &[a, n, n])?, array(py, second, &[a, n, n])?))
}

/// What [`bases`] gives of likelihood derivatives (`Engine.likelihood_derivatives`), of the entries of
/// G over `sigma^2` `(a, n)` and maps `(a, rank, rank)`: `(a, n + 1, rank, rank)`, `(a, n + 1, n + 1)`
/// and `(a,)`.
#[pyfunction]
pub fn test_bases<'py>(
    py: Python<'py>,
    parts: [Argument<'py>; 7],
    gamma: Argument<'py>,
    maps: Argument<'py>,
    degrees: Argument<'py>,
) -> PyResult<(Floats<'py>, Floats<'py>, Floats<'py>)> {
    let (a, n) = sizes("gamma", &gamma, MOST - 1)?;
    let rank = maps.shape().get(1).copied().unwrap_or(0);
    let [logdet, logdet2, rss, rss2, information, c, total] = &parts;
    let at = At {
        logdet: [c_slice("logdet", logdet, &[a, n])?, c_slice("logdet2", logdet2, &[a, n, n])?],
        rss: [c_slice("rss", rss, &[a, n])?, c_slice("rss2", rss2, &[a, n, n])?],
        information: c_slice("information", information, &[a, n, rank, rank])?,
        c: c_slice("c", c, &[a, rank, rank])?,
        total: c_slice("total", total, &[a])?,
        gamma: c_slice("gamma", &gamma, &[a, n])?,
        maps: c_slice("maps", &maps, &[a, rank, rank])?,
        degrees: c_slice("degrees", &degrees, &[a])?,
    };
    let [gradient, covariance, usable] = without_gil(py, || bases(n, rank, at))?;
    Ok((
        array(py, gradient, &[a, n + 1, rank, rank])?,
        array(py, covariance, &[a, n + 1, n + 1])?,
        array(py, usable, &[a])?,
    ))
}
