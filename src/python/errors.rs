//! Errors that Python code tells apart.

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
