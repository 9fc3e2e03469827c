//! Pedigrees and known precisions as Python sees them.

use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::arguments::{RelationshipArgument, relationship};
use super::arrays::{Floats, array, c_slice, vector};
use super::gateway::without_gil;
use crate::crossed;
use crate::linalg::sparse_triangle::SparseTriangle;
use crate::pedigree;

type Codes<'py> = Bound<'py, PyArray1<i32>>;

/// Parents `(n, 2)`, -1 where unknown.
fn parents_of(argument: &PyReadonlyArrayDyn<'_, i32>) -> PyResult<Vec<[i32; 2]>> {
    let n = argument.shape().first().copied().unwrap_or(0);
    let flat = c_slice("parents", argument, &[n, 2])?;
    if flat.iter().any(|&p| p < -1 || p >= n as i32) {
        return Err(PyValueError::new_err("a parent is none of the animals"));
    }
    Ok(flat.chunks_exact(2).map(|own| [own[0], own[1]]).collect())
}

/// Animals so that parents come before their offspring, and a loop of ancestors where there is one.
#[pyfunction]
pub fn birth_order<'py>(
    py: Python<'py>,
    parents: PyReadonlyArrayDyn<'py, i32>,
) -> PyResult<(Codes<'py>, Codes<'py>)> {
    let parents = parents_of(&parents)?;
    let (order, chain) = match without_gil(py, || pedigree::birth_order(&parents))? {
        Ok(order) => (order, Vec::new()),
        Err(chain) => (Vec::new(), chain),
    };
    Ok((order.into_pyarray(py), chain.into_pyarray(py)))
}

/// Inbreeding coefficients of animals that come after their parents `(n, 2)`, and variances of what
/// segregation adds to the mean of the parents.
#[pyfunction]
pub fn inbreeding<'py>(
    py: Python<'py>,
    parents: PyReadonlyArrayDyn<'py, i32>,
) -> PyResult<(Floats<'py>, Floats<'py>)> {
    let parents = parents_of(&parents)?;
    if parents.iter().enumerate().any(|(i, own)| own.iter().any(|&p| p >= i as i32)) {
        return Err(PyValueError::new_err("an animal comes before its parent"));
    }
    let found = without_gil(py, || pedigree::inbreeding(&parents))?;
    let shape = [parents.len()];
    Ok((array(py, found.coefficients, &shape)?, array(py, found.segregation, &shape)?))
}

/// Row offsets, columns and values of a lower triangle, the diagonal last in each row.
type TriangleArgument<'py> =
    (PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, i32>, PyReadonlyArray1<'py, f64>);

fn triangle<'a>(argument: &'a TriangleArgument<'_>) -> PyResult<SparseTriangle<'a>> {
    let (first, columns, values) = argument;
    let n = columns.len();
    let first = vector("first", first, first.len())?;
    let (columns, values) = (vector("columns", columns, n)?, vector("values", values, n)?);
    let is_row = |(i, pair): (usize, &[i64])| {
        pair[0] >= 0
            && pair[0] < pair[1]
            && pair[1] as usize <= n
            && columns[pair[1] as usize - 1] == i as i32
            && columns[pair[0] as usize..pair[1] as usize].windows(2).all(|c| c[0] < c[1])
            && columns[pair[0] as usize] >= 0
    };
    if first.is_empty() || !first.windows(2).enumerate().all(is_row) {
        return Err(PyValueError::new_err("the rows are no lower triangle"));
    }
    Ok(SparseTriangle { first, columns, values })
}

/// S^-1 x of a sparse lower triangle and x `(n, k)`, or S^-T x.
#[pyfunction]
pub fn solve_triangle<'py>(
    py: Python<'py>,
    triangle: TriangleArgument<'py>,
    right: PyReadonlyArrayDyn<'py, f64>,
    transposed: bool,
) -> PyResult<Floats<'py>> {
    let s = self::triangle(&triangle)?;
    let n = s.order();
    let width = right.shape().get(1).copied().unwrap_or(0);
    let mut x = c_slice("right", &right, &[n, width])?.to_vec();
    without_gil(py, || {
        if transposed { s.solve_transposed(&mut x, width, n) } else { s.solve(&mut x, width) }
    })?;
    array(py, x, &[n, width])
}

/// (S'S)^-1 over some rows, `(k, k)`.
#[pyfunction]
pub fn triangle_covariances<'py>(
    py: Python<'py>,
    triangle: TriangleArgument<'py>,
    rows: PyReadonlyArray1<'py, i32>,
) -> PyResult<Floats<'py>> {
    let s = self::triangle(&triangle)?;
    let k = rows.len();
    let rows = vector("rows", &rows, k)?;
    if rows.iter().any(|&row| row < 0 || row as usize >= s.order()) {
        return Err(PyValueError::new_err("there is no such row"));
    }
    let out = without_gil(py, || s.covariances(rows))?;
    array(py, out, &[k, k])
}

/// Diagonal of the inverse of a sparse positive definite matrix, and its log-determinant; `None`
/// where it is not positive definite.
#[pyfunction]
pub fn precision_variances<'py>(
    py: Python<'py>,
    precision: RelationshipArgument<'py>,
) -> PyResult<Option<(Floats<'py>, f64)>> {
    let known = relationship(&precision, 0)?;
    let n = known.len();
    if n == 0 {
        return Err(PyValueError::new_err("the matrix has no rows"));
    }
    let found = without_gil(py, || crossed::precision_variances(known))?;
    found.ok().map(|(variances, logdet)| Ok((array(py, variances, &[n])?, logdet))).transpose()
}
