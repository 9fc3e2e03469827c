//! `IterativeReduction` as Python sees it.

use std::sync::{Arc, Mutex, MutexGuard};

use numpy::{PyReadonlyArray1, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::{PyArithmeticError, PyIndexError, PyValueError};
use pyo3::prelude::*;

use super::arrays::{array, c_slice, vector};
use super::errors::{CollinearRandomEffects, NotConverged};
use super::gateway::without_gil;
use super::nested::{ColumnArgument, Floats, basis, columns};
use crate::criterion::sums::Entry;
use crate::iterative::conjugate_gradients::{Stop, Unsolved};
use crate::iterative::data::Data;
use crate::iterative::derivatives::Derivatives;
use crate::iterative::estimate::{Evaluation, Settings, outlying};
use crate::rows::columns::RowColumns;
use crate::running::threads;

/// G by factor, at which fit.
type Key = (Vec<Vec<f64>>, usize);

/// Rows sorted by every grouping factor; see the crate's `iterative` module.
#[pyclass(frozen, module = "mlmfast._core")]
pub struct IterativeReduction {
    data: Data,
    settings: Settings,
    /// Directions in which traces are exact; found when first needed.
    outlying: Mutex<Option<Arc<Vec<Vec<f64>>>>>,
    /// The last point, at which estimates, solution and effects are asked for one after the other.
    last: Mutex<Option<(Key, Arc<Evaluation>)>>,
}

#[pymethods]
impl IterativeReduction {
    #[new]
    #[allow(clippy::too_many_arguments)] // one call carries a whole design across
    #[pyo3(signature = (
        codes, n_levels, *, z, x, y, noise, terms, sqrt_weights=None,
        probes=30, exact=false, seed=0, tolerance=1e-10, max_iter=2000
    ))]
    fn new(
        py: Python<'_>,
        codes: Vec<PyReadonlyArray1<'_, i32>>,
        n_levels: Vec<usize>,
        z: Vec<Vec<ColumnArgument<'_>>>,
        x: Vec<ColumnArgument<'_>>,
        y: Vec<ColumnArgument<'_>>,
        noise: Vec<f64>,
        terms: Vec<Vec<(usize, String)>>,
        sqrt_weights: Option<PyReadonlyArray1<'_, f64>>,
        probes: usize,
        exact: bool,
        seed: u64,
        tolerance: f64,
        max_iter: usize,
    ) -> PyResult<Self> {
        let shapes = [n_levels.len(), z.len(), terms.len()];
        if codes.is_empty() || shapes.iter().any(|&n| n != codes.len()) || noise.len() != x.len() {
            return Err(PyValueError::new_err("codes, z, terms or noise do not match the design"));
        }
        for (z, terms) in z.iter().zip(&terms) {
            if z.is_empty() || z.len() != terms.iter().map(|t| t.0).sum::<usize>() {
                return Err(PyValueError::new_err("terms do not add up to the columns of z"));
            }
        }
        let n = codes[0].len();
        if n > u32::MAX as usize {
            return Err(PyValueError::new_err("more than 2^32 - 1 rows"));
        }
        let codes: Vec<&[i32]> =
            codes.iter().map(|c| vector("codes", c, n)).collect::<PyResult<_>>()?;
        let rows = RowColumns {
            z: z.iter().map(|z| columns("z", z, n)).collect::<PyResult<_>>()?,
            x: columns("x", &x, n)?,
            y: columns("y", &y, n)?,
            sqrt_weights: sqrt_weights.as_ref().map(|w| vector("weights", w, n)).transpose()?,
            visits: None,
            series: None,
        };
        let terms = terms
            .iter()
            .map(|level| level.iter().map(|(size, name)| Ok((*size, basis(name)?))).collect())
            .collect::<PyResult<Vec<Vec<_>>>>()?;
        let settings =
            Settings { n_probes: probes, exact, seed, stop: Stop { tolerance, max_iter } };
        let data = without_gil(py, || {
            let outside =
                |(codes, n): (&&[i32], &usize)| codes.iter().any(|&c| c < 0 || c as usize >= *n);
            if codes.iter().zip(&n_levels).any(outside) {
                return Err(PyValueError::new_err("a code lies outside 0..n_levels"));
            }
            Data::new(&codes, &n_levels, &rows, &noise, &terms)
                .map_err(|error| CollinearRandomEffects::new_err((error.level, error.column)))
        })??;
        Ok(Self { data, settings, outlying: Mutex::new(None), last: Mutex::new(None) })
    }

    /// Positions of the columns of X that were kept.
    #[getter]
    fn kept(&self) -> Vec<usize> {
        self.data.fixed.kept.clone()
    }

    /// Upper triangular R with X = Q R, `(rank, rank)`.
    #[getter]
    fn x_factor<'py>(&self, py: Python<'py>) -> PyResult<Floats<'py>> {
        let rank = self.data.rank();
        array(py, self.data.fixed.factor.clone(), &[rank, rank])
    }

    /// Q'y, `(n_fits, rank)`.
    #[getter]
    fn ols<'py>(&self, py: Python<'py>) -> PyResult<Floats<'py>> {
        array(py, self.data.fixed.ols.clone(), &[self.data.n_fits, self.data.rank()])
    }

    /// Root mean square of the least squares residual, `(n_fits,)`.
    #[getter]
    fn y_scale<'py>(&self, py: Python<'py>) -> PyResult<Floats<'py>> {
        array(py, self.data.fixed.y_scale.clone(), &[self.data.n_fits])
    }

    /// By factor, upper triangular B with z = (transformed z) B.
    #[getter]
    fn bases<'py>(&self, py: Python<'py>) -> PyResult<Vec<Floats<'py>>> {
        self.as_given(|f| f.basis.clone(), py, |f| vec![f.q, f.q])
    }

    /// By factor and column of its transformed Z, the mean over levels of (z'y)^2 / z'z.
    fn moments<'py>(&self, py: Python<'py>, fit: usize) -> PyResult<Vec<Floats<'py>>> {
        self.check_fits(&[fit])?;
        let mut moments: Vec<Vec<f64>> = vec![Vec::new(); self.data.factors.len()];
        for (f, values) in self.data.factors.iter().zip(self.data.moments(fit)) {
            moments[f.position] = values;
        }
        moments
            .into_iter()
            .map(|m| {
                let n = m.len();
                array(py, m, &[n])
            })
            .collect()
    }

    /// Random probes used for the traces; 0 where these are exact.
    #[getter]
    fn n_probes(&self) -> usize {
        let units = self.settings.exact || self.data.reduced_size() <= self.settings.n_probes;
        if units { 0 } else { self.settings.n_probes }
    }

    /// -2 log-likelihood `(a,)`; with `derivatives` its gradient and, twice, average information.
    fn evaluate<'py>(
        &self,
        py: Python<'py>,
        g: Vec<PyReadonlyArrayDyn<'py, f64>>,
        fits: Vec<usize>,
        entries: Vec<(usize, usize, usize)>,
        reml: bool,
        derivatives: bool,
    ) -> PyResult<(Floats<'py>, Floats<'py>, Floats<'py>, Floats<'py>)> {
        let entries = self.entries(&entries)?;
        let g = self.covariances(&g, &fits)?;
        let (a, n) = (fits.len(), entries.len());
        let (mut value, mut gradient, mut information) = (Vec::new(), Vec::new(), Vec::new());
        for (g, &fit) in g.iter().zip(&fits) {
            let Some(at) = self.at(py, g, fit)? else {
                value.push(f64::INFINITY);
                gradient.resize(gradient.len() + n, 0.0);
                information.resize(information.len() + n * n, 0.0);
                continue;
            };
            value.push(at.value(&self.data, reml));
            if derivatives {
                let found = self.derivatives(py, &at, &entries, reml)?;
                gradient.extend(found.gradient);
                information.extend(found.information);
            } else {
                gradient.resize(gradient.len() + n, 0.0);
                information.resize(information.len() + n * n, 0.0);
            }
        }
        Ok((
            array(py, value, &[a])?,
            array(py, gradient, &[a, n])?,
            array(py, information.clone(), &[a, n, n])?,
            array(py, information, &[a, n, n])?,
        ))
    }

    /// Monte Carlo errors at one G: the variance of -2 log-likelihood, the covariance of its gradient
    /// by entries, the average information and the derivatives of rss there.
    #[allow(clippy::type_complexity)]
    fn monte_carlo<'py>(
        &self,
        py: Python<'py>,
        g: Vec<PyReadonlyArrayDyn<'py, f64>>,
        fit: usize,
        entries: Vec<(usize, usize, usize)>,
        reml: bool,
    ) -> PyResult<Option<(f64, Floats<'py>, Floats<'py>, Floats<'py>)>> {
        let entries = self.entries(&entries)?;
        let g = self.covariances(&g, &[fit])?.remove(0);
        let Some(at) = self.at(py, &g, fit)? else { return Ok(None) };
        let found = self.derivatives(py, &at, &entries, reml)?;
        let n = entries.len();
        Ok(Some((
            at.logdet_variance,
            array(py, found.gradient_covariance, &[n, n])?,
            array(py, found.information, &[n, n])?,
            array(py, found.rss_by, &[n])?,
        )))
    }

    /// Generalised least squares of each fit, as `Reduction.solve`.
    fn solve<'py>(
        &self,
        py: Python<'py>,
        g: Vec<PyReadonlyArrayDyn<'py, f64>>,
        fits: Vec<usize>,
    ) -> PyResult<(Floats<'py>, Floats<'py>, Floats<'py>)> {
        let (rank, a) = (self.data.rank(), fits.len());
        let (mut beta, mut c, mut scalars) = (Vec::new(), Vec::new(), Vec::new());
        for (g, &fit) in self.covariances(&g, &fits)?.iter().zip(&fits) {
            if let Some(at) = self.at(py, g, fit)? {
                beta.extend_from_slice(&at.beta);
                c.extend_from_slice(&at.c);
                scalars.extend([at.rss, at.logdet, at.logdet_xx]);
            } else {
                beta.resize(beta.len() + rank, f64::NAN);
                c.resize(c.len() + rank * rank, f64::NAN);
                scalars.extend([f64::NAN; 3]);
            }
        }
        Ok((
            array(py, beta, &[a, rank])?,
            array(py, c, &[a, rank, rank])?,
            array(py, scalars, &[a, 3])?,
        ))
    }

    /// Derivatives of X'W^-1 X by entries, `(n_entries, rank, rank)`.
    fn information_derivatives<'py>(
        &self,
        py: Python<'py>,
        g: Vec<PyReadonlyArrayDyn<'py, f64>>,
        fit: usize,
        entries: Vec<(usize, usize, usize)>,
    ) -> PyResult<Option<Floats<'py>>> {
        let entries = self.entries(&entries)?;
        let g = self.covariances(&g, &[fit])?.remove(0);
        let Some(at) = self.at(py, &g, fit)? else { return Ok(None) };
        let rank = self.data.rank();
        let out = at.information_derivatives(&self.data, &entries);
        Ok(Some(array(py, out, &[entries.len(), rank, rank])?))
    }

    /// By factor, conditional means `(n_levels, q)` of the effects in the transformed basis, over
    /// `y_scale`.
    fn conditional_means<'py>(
        &self,
        py: Python<'py>,
        g: Vec<PyReadonlyArrayDyn<'py, f64>>,
        fit: usize,
    ) -> PyResult<Option<Vec<Floats<'py>>>> {
        let g = self.covariances(&g, &[fit])?.remove(0);
        let Some(at) = self.at(py, &g, fit)? else { return Ok(None) };
        let mut means = vec![Vec::new(); self.data.factors.len()];
        for (f, values) in self.data.factors.iter().zip(at.conditional_means(&self.data, &g)) {
            means[f.position] = values;
        }
        let shapes = self.shapes();
        let arrays = means.into_iter().zip(shapes).map(|(m, (n, q))| array(py, m, &[n, q]));
        Ok(Some(arrays.collect::<PyResult<_>>()?))
    }
}

impl IterativeReduction {
    /// The point, from the last call or solved anew; `None` where W is not positive definite.
    fn at(&self, py: Python<'_>, g: &[Vec<f64>], fit: usize) -> PyResult<Option<Arc<Evaluation>>> {
        let key = (g.to_vec(), fit);
        let last = held(&self.last).and_then(|last| last.clone());
        if let Some((at, found)) = last
            && at == key
        {
            return Ok(Some(found));
        }
        let solved = without_gil(py, || {
            threads::enter(|| {
                let known = held(&self.outlying).and_then(|directions| directions.clone());
                let directions = match known {
                    Some(directions) => directions,
                    None => Arc::new(outlying(&self.data, &self.settings)?),
                };
                if let Some(mut slot) = held(&self.outlying) {
                    *slot = Some(Arc::clone(&directions));
                }
                Evaluation::new(&self.data, g, fit, &self.settings, &directions)
            })
        })?;
        let solved = match solved {
            Ok(solved) => Arc::new(solved),
            Err(Unsolved::NotPositiveDefinite) => return Ok(None),
            Err(error) => return Err(failure(error)),
        };
        if let Some(mut last) = held(&self.last) {
            *last = Some((key, Arc::clone(&solved)));
        }
        Ok(Some(solved))
    }

    fn derivatives(
        &self,
        py: Python<'_>,
        at: &Evaluation,
        entries: &[Entry],
        reml: bool,
    ) -> PyResult<Derivatives> {
        let found = without_gil(py, || {
            threads::enter(|| at.derivatives(&self.data, entries, reml, &self.settings))
        })?;
        found.map_err(failure)
    }

    fn shapes(&self) -> Vec<(usize, usize)> {
        let mut shapes = vec![(0, 0); self.data.factors.len()];
        for f in &self.data.factors {
            shapes[f.position] = (f.n, f.q);
        }
        shapes
    }

    fn as_given<'py>(
        &self,
        part: impl Fn(&crate::iterative::data::Factor) -> Vec<f64>,
        py: Python<'py>,
        shape: impl Fn(&crate::iterative::data::Factor) -> Vec<usize>,
    ) -> PyResult<Vec<Floats<'py>>> {
        let mut factors: Vec<_> = self.data.factors.iter().collect();
        factors.sort_by_key(|f| f.position);
        factors.into_iter().map(|f| array(py, part(f), &shape(f))).collect()
    }

    /// G of each fit and factor from one `(a, q, q)` array a factor.
    fn covariances(
        &self,
        g: &[PyReadonlyArrayDyn<'_, f64>],
        fits: &[usize],
    ) -> PyResult<Vec<Vec<Vec<f64>>>> {
        self.check_fits(fits)?;
        let shapes = self.shapes();
        if g.len() != shapes.len() {
            return Err(PyValueError::new_err("g needs one array for each factor"));
        }
        let mut out = vec![Vec::with_capacity(g.len()); fits.len()];
        for (array, (_, q)) in g.iter().zip(shapes) {
            let values = c_slice("g", array, &[fits.len(), q, q])?;
            for (out, values) in out.iter_mut().zip(values.chunks_exact(q * q)) {
                out.push(values.to_vec());
            }
        }
        Ok(out)
    }

    fn entries(&self, entries: &[(usize, usize, usize)]) -> PyResult<Vec<Entry>> {
        let shapes = self.shapes();
        let inside = |&(level, a, b): &(usize, usize, usize)| {
            shapes.get(level).is_some_and(|&(_, q)| a < q && b < q)
        };
        if !entries.iter().all(inside) {
            return Err(PyValueError::new_err("entries must lie inside G"));
        }
        Ok(entries.iter().map(|&(level, a, b)| Entry { level, a, b }).collect())
    }

    fn check_fits(&self, fits: &[usize]) -> PyResult<()> {
        if fits.iter().any(|&fit| fit >= self.data.n_fits) {
            return Err(PyIndexError::new_err("no such fit"));
        }
        Ok(())
    }
}

/// What is remembered, if it can be looked at: in a forked process the lock may be held by a thread
/// that is no more, and then everything is computed anew.
fn held<T>(memory: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    memory.try_lock().ok()
}

fn failure(error: Unsolved) -> PyErr {
    match error {
        Unsolved::NotConverged(iterations, residual) => {
            NotConverged::new_err((iterations, residual))
        }
        Unsolved::NotPositiveDefinite => {
            PyArithmeticError::new_err("the equations are not positive definite")
        }
    }
}
