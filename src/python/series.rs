//! Recursions along series, for draws and scaled residuals.

use numpy::{PyReadonlyArray1, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;

use super::arrays::{Floats, array, c_slice, vector};
use super::gateway::without_gil;
use crate::linalg::dense::{axpy, dot};

/// `x_i = f_i x_(i-1) + z_i`, `(n,)`.
#[pyfunction]
pub fn run_chain<'py>(
    py: Python<'py>,
    f: PyReadonlyArray1<'py, f64>,
    z: PyReadonlyArray1<'py, f64>,
) -> PyResult<Floats<'py>> {
    let n = z.len();
    let (f, z) = (vector("f", &f, n)?, vector("z", &z, n)?);
    let x = without_gil(py, || {
        let mut last = 0.0;
        f.iter()
            .zip(z)
            .map(|(f, z)| {
                last = f * last + z;
                last
            })
            .collect()
    })?;
    array(py, x, &[n])
}

/// L^-1 y with I + Z G Z' = L L', `(n,)`, for Z `(n, q)` and G `(q, q)`.
///
/// Row i given the rows before: mean z'm and variance 1 + z'P z, with m and P the conditional mean
/// and covariance of the effects.
#[pyfunction]
pub fn innovations<'py>(
    py: Python<'py>,
    z: PyReadonlyArrayDyn<'py, f64>,
    y: PyReadonlyArray1<'py, f64>,
    g: PyReadonlyArrayDyn<'py, f64>,
) -> PyResult<Floats<'py>> {
    let n = y.len();
    let q = g.shape().first().copied().unwrap_or(0);
    let (z, g) = (c_slice("z", &z, &[n, q])?, c_slice("g", &g, &[q, q])?);
    let y = vector("y", &y, n)?;
    let out = without_gil(py, || {
        let (mut p, mut m, mut gain) = (g.to_vec(), vec![0.0; q], vec![0.0; q]);
        let mut out = Vec::with_capacity(n);
        for (i, y) in y.iter().enumerate() {
            let z = &z[i * q..(i + 1) * q];
            for (a, value) in gain.iter_mut().enumerate() {
                *value = dot(&p[a * q..(a + 1) * q], z);
            }
            let variance = 1.0 + dot(&gain, z);
            let surprise = y - dot(z, &m);
            axpy(surprise / variance, &gain, &mut m);
            for a in 0..q {
                axpy(-gain[a] / variance, &gain, &mut p[a * q..(a + 1) * q]);
            }
            out.push(surprise / variance.sqrt());
        }
        out
    })?;
    array(py, out, &[n])
}

/// Rows of quasi-separable series, `(n,)`: draws made of independent z, or (`whiten`) the reverse.
///
/// a and b belong to the step that leads to a row, `starts` is 1 where a series begins; see the
/// crate's `nested::series::walked`.
#[pyfunction]
pub fn walk_series<'py>(
    py: Python<'py>,
    a: PyReadonlyArray1<'py, f64>,
    b: PyReadonlyArray1<'py, f64>,
    starts: PyReadonlyArray1<'py, i32>,
    values: PyReadonlyArray1<'py, f64>,
    whiten: bool,
) -> PyResult<Floats<'py>> {
    let n = values.len();
    let (a, b) = (vector("a", &a, n)?, vector("b", &b, n)?);
    let (starts, values) = (vector("starts", &starts, n)?, vector("values", &values, n)?);
    let out = without_gil(py, || {
        let (mut s, mut f) = (0.0, 0.0);
        (0..n)
            .map(|i| {
                let (a, b) = if starts[i] != 0 { (0.0, 0.0) } else { (a[i], b[i]) };
                let d = 1.0 - a * a * s;
                let k = (1.0 - a * b * s) / d;
                let known = a * f;
                let surprise = if whiten { values[i] - known } else { d.sqrt() * values[i] };
                s = b * b * s + k * k * d;
                f = b * f + k * surprise;
                if whiten { surprise / d.sqrt() } else { known + surprise }
            })
            .collect()
    })?;
    array(py, out, &[n])
}
