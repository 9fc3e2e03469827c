//! The iterative engine as Python sees it.

use std::sync::Arc;

use numpy::{PyReadonlyArray1, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::arguments::{
    ColumnArgument, CovariancesArgument, EntriesArgument, TermsArgument, check_fits, entries, rows,
    terms, unit_codes,
};
use super::arrays::{Floats, array};
use super::engine::Engine;
use super::gateway::{CollinearRandomEffects, without_gil};
use super::gather::definite;
use crate::criterion::engine::Engine as _;
use crate::iterative::conjugate_gradients::Stop;
use crate::iterative::data::Data;
use crate::iterative::estimate::Settings;
use crate::iterative::reduction::Reduction;

/// Rows sorted by every grouping factor; see the crate's `iterative` module.
#[pyclass(frozen, extends = Engine, module = "mlmfast._core")]
pub struct IterativeReduction(Arc<Reduction>);

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
        terms: TermsArgument,
        sqrt_weights: Option<PyReadonlyArray1<'_, f64>>,
        probes: usize,
        exact: bool,
        seed: u64,
        tolerance: f64,
        max_iter: usize,
    ) -> PyResult<PyClassInitializer<Self>> {
        let shapes = [n_levels.len(), z.len(), terms.len()];
        if codes.is_empty() || shapes.iter().any(|&n| n != codes.len()) || noise.len() != x.len() {
            return Err(PyValueError::new_err("codes, z, terms or noise do not match the design"));
        }
        let n = codes[0].len();
        let terms = self::terms(&terms, z.iter().map(Vec::len), false)?;
        let codes = unit_codes(&codes, &n_levels, n)?;
        let rows = rows(n, &z, &x, &y, sqrt_weights.as_ref())?;
        let settings =
            Settings { n_probes: probes, exact, seed, stop: Stop { tolerance, max_iter } };
        let data = without_gil(py, || Data::new(&codes, &n_levels, &rows, &noise, &terms))?
            .map_err(|error| CollinearRandomEffects::new_err((error.level, error.column)))?;
        let core = Arc::new(Reduction::new(data, settings));
        Ok(PyClassInitializer::from(Engine::of(&core)).add_subclass(Self(core)))
    }

    /// By factor and column of its transformed Z, the mean over levels of (z'y)^2 / z'z.
    fn moments<'py>(&self, py: Python<'py>, fit: usize) -> PyResult<Vec<Floats<'py>>> {
        check_fits(&[fit], self.0.data.n_fits)?;
        let moments = self.0.as_given(&self.0.data.moments(fit));
        let one = |m: Vec<f64>| {
            let n = m.len();
            array(py, m, &[n])
        };
        moments.into_iter().map(one).collect()
    }

    /// Random probes used for the traces; 0 where these are exact.
    #[getter]
    fn n_probes(&self) -> usize {
        self.0.n_probes()
    }

    /// Monte Carlo errors at one G: the variance of -2 log-likelihood, the covariance of its gradient
    /// by entries, the average information and the derivatives of rss there.
    #[allow(clippy::type_complexity)]
    fn monte_carlo<'py>(
        &self,
        py: Python<'py>,
        g: CovariancesArgument<'py>,
        fit: usize,
        entries: EntriesArgument,
        reml: bool,
    ) -> PyResult<Option<(f64, Floats<'py>, Floats<'py>, Floats<'py>)>> {
        let points = Engine::of(&self.0).points(&g, &[fit])?;
        let entries = self::entries(&*self.0, &entries)?;
        let found = without_gil(py, || {
            let at = self.0.at(points.at(0, fit))?;
            Ok((at.logdet_variance, self.0.derivatives(&at, &entries, reml)?))
        })?;
        let Some((variance, found)) = definite(found)? else { return Ok(None) };
        let n = entries.len();
        Ok(Some((
            variance,
            array(py, found.gradient_covariance, &[n, n])?,
            array(py, found.information, &[n, n])?,
            array(py, found.rss_by, &[n])?,
        )))
    }

    /// By factor, conditional means `(n_levels, q)` of the effects in the transformed basis, over
    /// `y_scale`.
    fn conditional_means<'py>(
        &self,
        py: Python<'py>,
        g: CovariancesArgument<'py>,
        fit: usize,
    ) -> PyResult<Option<Vec<Floats<'py>>>> {
        let points = Engine::of(&self.0).points(&g, &[fit])?;
        let found = without_gil(py, || self.0.conditional_means(points.at(0, fit)))?;
        let Some(means) = definite(found)? else { return Ok(None) };
        let one = |(m, (q, _)): (Vec<f64>, (usize, &[f64]))| {
            let n = m.len() / q;
            array(py, m, &[n, q])
        };
        Ok(Some(means.into_iter().zip(self.0.levels()).map(one).collect::<PyResult<_>>()?))
    }
}
