//! Results of the fits of a batch, as arrays with a leading axis of fits.

use pyo3::exceptions::{PyArithmeticError, PyNotImplementedError};
use pyo3::prelude::*;

use super::arrays::{Floats, array};
use super::gateway::{NotConverged, require};
use crate::criterion::derivatives::LikelihoodDerivatives;
use crate::criterion::engine::Unsolved;
use crate::criterion::solution::{Criterion, Solution};
use crate::criterion::sums::Conditional;
use crate::running::{stop, threads};

/// Value, gradient, Hessian, expected Hessian.
pub type Evaluation<'py> = (Floats<'py>, Floats<'py>, Floats<'py>, Floats<'py>);
/// Beta, C and, of each fit, rss, log|W| and log|X'W^-1 X|.
pub type Solutions<'py> = (Floats<'py>, Floats<'py>, Floats<'py>);
/// By level, means and covariances.
pub type Effects<'py> = Vec<(Floats<'py>, Floats<'py>)>;

fn unsolved(error: Unsolved) -> PyErr {
    match error {
        Unsolved::NotConverged(iterations, residual) => {
            NotConverged::new_err((iterations, residual))
        }
        Unsolved::NotPositiveDefinite => {
            PyArithmeticError::new_err("the equations are not positive definite")
        }
        Unsolved::NotOffered => PyNotImplementedError::new_err("not offered"),
    }
}

/// What was found; an error where there is nothing.
pub fn answered<T>(found: Result<T, Unsolved>) -> PyResult<T> {
    found.map_err(unsolved)
}

/// `None` where V is not positive definite.
pub fn definite<T>(found: Result<T, Unsolved>) -> PyResult<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Unsolved::NotPositiveDefinite) => Ok(None),
        Err(error) => Err(unsolved(error)),
    }
}

/// One result a fit, in order; a batch too small to wake a thread pool for stays in this thread.
pub fn map_fits<T: Send>(n_fits: usize, one: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
    if n_fits >= 16 {
        return threads::map(0..n_fits, one);
    }
    let checked = |fit: usize| {
        stop::check();
        one(fit)
    };
    (0..n_fits).map(checked).collect()
}

/// Criteria of a batch as arrays with a leading axis of fits.
pub fn criteria(
    py: Python<'_>,
    criteria: Vec<Result<Criterion, Unsolved>>,
    n: usize,
) -> PyResult<Evaluation<'_>> {
    let criteria: Vec<Criterion> = criteria.into_iter().map(answered).collect::<PyResult<_>>()?;
    let a = criteria.len();
    require(if a > 1 { a * (n + 2 * n * n) } else { 0 })?;
    let value = array(py, criteria.iter().map(|c| c.value).collect(), &[a])?;
    let mut parts: [Vec<f64>; 3] = Default::default();
    for c in criteria {
        for (part, values) in parts.iter_mut().zip([c.gradient, c.hessian, c.expected]) {
            // The first is taken over as it is: one fit may have millions of them.
            if part.is_empty() { *part = values } else { part.extend(values) }
        }
    }
    let [gradient, hessian, expected] = parts;
    Ok((
        value,
        array(py, gradient, &[a, n])?,
        array(py, hessian, &[a, n, n])?,
        array(py, expected, &[a, n, n])?,
    ))
}

/// Results of small designs as arrays, of shapes by fit.
fn small<'py>(
    py: Python<'py>,
    found: Vec<Vec<f64>>,
    a: usize,
    shapes: &[&[usize]],
) -> PyResult<Vec<Floats<'py>>> {
    let named = found.into_iter().zip(shapes);
    named.map(|(values, shape)| array(py, values, &[&[a], *shape].concat())).collect()
}

/// [`criteria`] of small designs.
pub fn small_criteria(
    py: Python<'_>,
    found: Vec<Vec<f64>>,
    a: usize,
    n: usize,
) -> PyResult<Evaluation<'_>> {
    let parts = small(py, found, a, &[&[], &[n], &[n, n], &[n, n]])?;
    let Ok([value, gradient, hessian, expected]) = <[_; 4]>::try_from(parts) else {
        unreachable!("four were asked for")
    };
    Ok((value, gradient, hessian, expected))
}

/// [`solutions`] of small designs.
pub fn small_solutions(
    py: Python<'_>,
    found: Vec<Vec<f64>>,
    a: usize,
    rank: usize,
) -> PyResult<Solutions<'_>> {
    let parts = small(py, found, a, &[&[rank], &[rank, rank], &[3]])?;
    let Ok([beta, c, scalars]) = <[_; 3]>::try_from(parts) else {
        unreachable!("three were asked for")
    };
    Ok((beta, c, scalars))
}

/// [`likelihood`] of small designs.
pub fn small_likelihood(
    py: Python<'_>,
    found: Vec<Vec<f64>>,
    a: usize,
    n: usize,
    rank: usize,
) -> PyResult<Vec<Floats<'_>>> {
    small(py, found, a, &likelihood_shapes(&[n, n, rank, rank]))
}

/// Shapes of the parts of [`LikelihoodDerivatives`], from the dimensions (n, n, rank, rank).
fn likelihood_shapes(dimensions: &[usize; 4]) -> [&[usize]; 7] {
    let [n, nn, matrices, square] =
        [&dimensions[..1], &dimensions[..2], &dimensions[1..], &dimensions[2..]];
    [n, nn, n, nn, matrices, square, &[]]
}

/// Matrices of order `rank`, NaN where V is not positive definite.
pub fn second_sums(
    py: Python<'_>,
    all: Vec<Result<Vec<f64>, Unsolved>>,
    rank: usize,
) -> PyResult<Floats<'_>> {
    let (a, size) = (all.len(), rank * rank);
    let mut out = Vec::with_capacity(a * size);
    for values in all {
        match definite(values)? {
            Some(values) => out.extend(values),
            None => out.resize(out.len() + size, f64::NAN),
        }
    }
    array(py, out, &[a, rank, rank])
}

/// Criteria of a batch with their gradients alone.
pub fn gradients(
    py: Python<'_>,
    criteria: Vec<Result<Criterion, Unsolved>>,
    n: usize,
) -> PyResult<(Floats<'_>, Floats<'_>)> {
    let criteria: Vec<Criterion> = criteria.into_iter().map(answered).collect::<PyResult<_>>()?;
    let a = criteria.len();
    let value = array(py, criteria.iter().map(|c| c.value).collect(), &[a])?;
    let gradient = criteria.into_iter().flat_map(|c| c.gradient).collect();
    Ok((value, array(py, gradient, &[a, n])?))
}

/// Solutions of a batch: beta, C and (rss, log|W|, log|X'W^-1 X|); NaN where V is not positive
/// definite.
pub fn solutions(
    py: Python<'_>,
    solutions: Vec<Result<Solution, Unsolved>>,
    rank: usize,
) -> PyResult<Solutions<'_>> {
    let a = solutions.len();
    let (mut beta, mut c, mut scalars) = (Vec::new(), Vec::new(), Vec::new());
    for solution in solutions {
        if let Some(s) = definite(solution)? {
            beta.extend(s.beta);
            c.extend(s.c);
            scalars.extend([s.rss, s.logdet, s.logdet_xx]);
        } else {
            beta.extend(vec![f64::NAN; rank]);
            c.extend(vec![f64::NAN; rank * rank]);
            scalars.extend([f64::NAN; 3]);
        }
    }
    Ok((
        array(py, beta, &[a, rank])?,
        array(py, c, &[a, rank, rank])?,
        array(py, scalars, &[a, 3])?,
    ))
}

/// Parts of [`LikelihoodDerivatives`] of a batch; NaN where V is not positive definite.
pub fn likelihood(
    py: Python<'_>,
    all: Vec<Result<LikelihoodDerivatives, Unsolved>>,
    n: usize,
    rank: usize,
) -> PyResult<Vec<Floats<'_>>> {
    let a = all.len();
    let dimensions = [n, n, rank, rank];
    let shapes = likelihood_shapes(&dimensions);
    let mut out: [Vec<f64>; 7] = Default::default();
    for parts in all {
        if let Some(parts) = definite(parts)? {
            out[0].extend(parts.logdet_by);
            out[1].extend(parts.logdet_second);
            out[2].extend(parts.rss_by);
            out[3].extend(parts.rss_second);
            out[4].extend(parts.information_by);
            out[5].extend(parts.solution.c);
            out[6].push(parts.solution.rss);
        } else {
            for (values, shape) in out.iter_mut().zip(shapes) {
                values.resize(values.len() + shape.iter().product::<usize>(), f64::NAN);
            }
        }
    }
    let named = out.into_iter().zip(shapes);
    named.map(|(values, shape)| array(py, values, &[&[a], shape].concat())).collect()
}

/// By level, conditional means `(n_units, q)` and covariances `(n_units, q, q)`.
pub fn effects<'py>(
    py: Python<'py>,
    levels: Vec<Conditional>,
    shapes: &[(usize, &[f64])],
) -> PyResult<Effects<'py>> {
    let level = |(conditional, &(q, _)): (Conditional, &(usize, _))| {
        let n = conditional.mean.len() / q.max(1);
        let mean = array(py, conditional.mean, &[n, q])?;
        Ok((mean, array(py, conditional.covariance, &[n, q, q])?))
    };
    levels.into_iter().zip(shapes).map(level).collect()
}
