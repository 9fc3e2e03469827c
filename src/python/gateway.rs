//! The one way into the core: the GIL released, signals heard, no panic let out.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::{PyKeyboardInterrupt, PyMemoryError, PyRuntimeError};
use pyo3::prelude::*;

use crate::running::memory;
use crate::running::stop::{self, Stopped};

pyo3::create_exception!(
    _core,
    NotNested,
    pyo3::exceptions::PyValueError,
    "A grouping factor is not nested in the one before it; args[0] is its position."
);

pyo3::create_exception!(
    _core,
    CollinearRandomEffects,
    pyo3::exceptions::PyValueError,
    "Random-effect columns are linearly dependent; args are the level and the column."
);

pyo3::create_exception!(
    _core,
    NotConverged,
    pyo3::exceptions::PyArithmeticError,
    "Conjugate gradients did not converge; args are the iterations and the relative residual."
);

thread_local! {
    /// What a signal's handler raised in this thread during a call.
    static RAISED: Cell<Option<PyErr>> = const { Cell::new(None) };
}

/// Has the core look for Python's signals.
pub fn connect() {
    stop::listen(|| match Python::attach(|py| py.check_signals()) {
        Ok(()) => false,
        Err(error) => {
            RAISED.set(Some(error));
            true
        }
    });
}

/// Runs `call` without the GIL; what ends it before its time is raised.
///
/// # Errors
/// What a signal's handler raised; `MemoryError` with the bytes needed and left; `RuntimeError` for a
/// fault in the core.
pub fn without_gil<T: Send>(py: Python<'_>, call: impl FnOnce() -> T + Send) -> PyResult<T> {
    let checked = || {
        memory::require_reserve();
        call()
    };
    py.detach(|| catch_unwind(AssertUnwindSafe(checked))).map_err(|payload| raised(&*payload))
}

/// Whether so many numbers can be had, for arrays that are made outside `without_gil`.
///
/// # Errors
/// `MemoryError`.
pub fn require(n_values: usize) -> PyResult<()> {
    catch_unwind(|| memory::require::<f64>(n_values)).map_err(|payload| raised(&*payload))
}

fn raised(payload: &(dyn Any + Send)) -> PyErr {
    match payload.downcast_ref::<Stopped>() {
        Some(Stopped::Interrupted) => {
            RAISED.take().unwrap_or_else(|| PyKeyboardInterrupt::new_err(()))
        }
        Some(Stopped::OutOfMemory { needed, left }) => {
            PyMemoryError::new_err(shortage(*needed, *left))
        }
        None => {
            let text = payload.downcast_ref::<&str>().map(ToString::to_string);
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
            PyRuntimeError::new_err(format!(
                "fault in mlmfast's core ({}); please report it with the call that led here",
                text.unwrap_or_else(|| "no message".into())
            ))
        }
    }
}

fn shortage(needed: usize, left: f64) -> String {
    let left = if left.is_finite() {
        format!("{} are left to this process", size(left))
    } else {
        "the system does not give them".into()
    };
    let needed = match needed {
        0 => format!("room of {} is needed for small arrays", size(memory::RESERVE as f64)),
        _ => format!(
            "{} ({needed} bytes) are needed at once, beside {} for small arrays",
            size(needed as f64),
            size(memory::RESERVE as f64)
        ),
    };
    format!(
        "{needed}, and {left}; raise the limit (ulimit -v, the memory of the job or container), free \
         memory, or fit a smaller model or fewer rows"
    )
}

fn size(bytes: f64) -> String {
    if bytes < 1e9 { format!("{:.1} MB", bytes / 1e6) } else { format!("{:.1} GB", bytes / 1e9) }
}

/// Whether the room that small arrays need can be had.
///
/// # Errors
/// `MemoryError`.
#[pyfunction]
pub fn require_room(py: Python<'_>) -> PyResult<()> {
    without_gil(py, || ())
}

/// Bytes that the process may still take; infinite where the system does not say.
#[pyfunction]
pub fn memory_left(py: Python<'_>) -> f64 {
    py.detach(memory::left)
}
