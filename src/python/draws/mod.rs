//! Numbers drawn from many streams.

use numpy::{PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::arrays::{Floats, array, c_slice};
use super::gateway::without_gil;
use crate::draws::{self, Kind};

/// Numbers of each stream, `(n_streams, n)`: `n` normal or uniform ones of each part in turn.
///
/// `states` are those of numpy's PCG64DXSM, `(n_streams, 4)`: words of state and increment, high ones
/// first. The numbers are those of its `Generator`.
#[pyfunction]
pub fn draw_streams<'py>(
    py: Python<'py>,
    states: PyReadonlyArrayDyn<'py, u64>,
    parts: Vec<(String, usize)>,
) -> PyResult<Floats<'py>> {
    let &[n_streams, 4] = states.shape() else {
        return Err(PyValueError::new_err("states must have four columns"));
    };
    let states = c_slice("states", &states, &[n_streams, 4])?;
    let parts =
        parts.iter().map(|(kind, n)| Ok((read(kind)?, *n))).collect::<PyResult<Vec<_>>>()?;
    let width = parts.iter().map(|(_, n)| n).sum();
    let out = without_gil(py, || draws::numbers(states, &parts))?;
    array(py, out, &[n_streams, width])
}

fn read(kind: &str) -> PyResult<Kind> {
    match kind {
        "normal" => Ok(Kind::Normal),
        "uniform" => Ok(Kind::Uniform),
        _ => Err(PyValueError::new_err(format!("there is no kind {kind:?} of numbers"))),
    }
}
