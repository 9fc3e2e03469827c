//! `NestedBatch`: independent designs of one shape, each reduced by itself.

use std::sync::Arc;

use numpy::{PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::super::arguments::{TermsArgument, check_fits, terms};
use super::super::arrays::{Floats, array, c_slice};
use super::super::engine::Engine;
use super::super::gateway::without_gil;
use super::super::gather::map_fits;
use super::super::rows::Nesting;
use super::ordinary::{Blocks, Designs, Outcomes, Start};
use crate::criterion::engine::Engine as _;
use crate::nested::batch::Batch;
use crate::nested::reduction::Reduction;
use crate::rows::columns::{Column, RowColumns, Values};
use crate::rows::rotate::rotate;

/// Columns of all designs, `(n_fits, n, k)` or `(1, n, k)` for columns that all share; which of
/// them are the constant 1; center and scale of each, `(n_fits, k)`.
type StackArgument<'py> = (
    PyReadonlyArrayDyn<'py, f64>,
    Vec<bool>,
    PyReadonlyArrayDyn<'py, f64>,
    PyReadonlyArrayDyn<'py, f64>,
);

/// A [`StackArgument`] that was checked.
struct Stack<'a> {
    data: &'a [f64],
    constant: &'a [bool],
    center: &'a [f64],
    scale: &'a [f64],
    n: usize,
    shared: bool,
}

impl<'a> Stack<'a> {
    fn new(name: &str, argument: &'a StackArgument<'_>, n_fits: usize, n: usize) -> PyResult<Self> {
        let (data, constant, center, scale) = argument;
        let k = constant.len();
        let first = data.shape().first().copied().unwrap_or(0);
        let shared = first == 1 && n_fits != 1;
        let fits = if shared { 1 } else { n_fits };
        Ok(Self {
            data: c_slice(name, data, &[fits, n, k])?,
            constant,
            center: c_slice(name, center, &[n_fits, k])?,
            scale: c_slice(name, scale, &[n_fits, k])?,
            n,
            shared,
        })
    }

    fn columns(&self, fit: usize) -> Vec<Column<'a>> {
        let k = self.constant.len();
        let at = if self.shared { 0 } else { fit * self.n * k };
        let data = &self.data[at..at + self.n * k];
        (0..k)
            .map(|j| Column {
                values: (!self.constant[j]).then_some(Values { data, offset: j, stride: k }),
                center: self.center[fit * k + j],
                scale: self.scale[fit * k + j],
            })
            .collect()
    }
}

/// Independent reductions of one structure, one a fit.
#[pyclass(frozen, extends = Engine, module = "mlmfast._core")]
pub struct NestedBatch(Arc<Batch>);

#[pymethods]
impl NestedBatch {
    /// Reduces every design; the second value lists those left out, whose columns are collinear.
    #[staticmethod]
    #[allow(clippy::too_many_arguments)] // one call carries all designs across
    #[pyo3(signature = (nesting, *, z, x, y, noise, terms, sqrt_weights=None))]
    fn of<'py>(
        py: Python<'py>,
        nesting: &Nesting,
        z: Vec<StackArgument<'py>>,
        x: StackArgument<'py>,
        y: StackArgument<'py>,
        noise: PyReadonlyArrayDyn<'py, f64>,
        terms: TermsArgument,
        sqrt_weights: Option<PyReadonlyArrayDyn<'py, f64>>,
    ) -> PyResult<(Py<Self>, Vec<usize>)> {
        let nesting = nesting.inner();
        let (n, n_fits, p) = (nesting.n_rows, y.2.shape()[0], x.1.len());
        if z.len() != nesting.levels.len() || terms.len() != z.len() || y.1 != [false] {
            return Err(PyValueError::new_err("z, terms or y do not match the design"));
        }
        let terms = self::terms(&terms, z.iter().map(|z| z.1.len()), false)?;
        let z: Vec<Stack> =
            z.iter().map(|z| Stack::new("z", z, n_fits, n)).collect::<PyResult<_>>()?;
        let (x, y) = (Stack::new("x", &x, n_fits, n)?, Stack::new("y", &y, n_fits, n)?);
        let noise = c_slice("noise", &noise, &[n_fits, p])?;
        let weights = sqrt_weights.as_ref().map(|w| c_slice("weights", w, &[n])).transpose()?;
        let one = |fit: usize| {
            let rows = RowColumns {
                z: z.iter().map(|z| z.columns(fit)).collect(),
                x: x.columns(fit),
                y: y.columns(fit),
                sqrt_weights: weights,
                ..RowColumns::default()
            };
            let rotated = rotate(nesting, &rows);
            let noise = &noise[fit * p..(fit + 1) * p];
            let reduced =
                Reduction::new(rotated, nesting, noise, &terms, (0, 0, 0), true, None).ok()?;
            // A fit whose columns are aliased has other shapes than the rest.
            (reduced.rank() == p).then_some(reduced)
        };
        let all: Vec<Option<Reduction>> = without_gil(py, || map_fits(n_fits, one))?;
        let lost = (0..n_fits).filter(|&fit| all[fit].is_none()).collect();
        let orders = z.iter().map(|z| z.constant.len()).collect();
        let core = Arc::new(Batch::new(all.into_iter().flatten().collect(), p, orders, n));
        let shared = PyClassInitializer::from(Engine::of(&core)).add_subclass(Self(core));
        Ok((Py::new(py, shared)?, lost))
    }

    fn __len__(&self) -> usize {
        self.0.reductions.len()
    }

    /// Upper triangular R with X = Q R of each fit, `(n_fits, rank, rank)`.
    #[getter]
    fn x_factor<'py>(&self, py: Python<'py>) -> PyResult<Floats<'py>> {
        let (n, fixed) = (self.0.reductions.len(), self.0.fixed());
        array(py, fixed.factor.clone(), &[n, fixed.rank(), fixed.rank()])
    }

    /// Residual sum of squares of the rows without random effects and its degrees of freedom,
    /// `(n_fits,)` each.
    #[getter]
    fn within<'py>(&self, py: Python<'py>) -> PyResult<(Floats<'py>, Floats<'py>)> {
        let n = self.0.reductions.len();
        let parts: Vec<(f64, f64)> = without_gil(py, || {
            map_fits(n, |fit| {
                let (rss, df) = self.0.reductions[fit].within();
                (rss[0], df as f64)
            })
        })?;
        let (rss, df) = parts.into_iter().unzip();
        Ok((array(py, rss, &[n])?, array(py, df, &[n])?))
    }

    /// By level, upper triangular B with z = (transformed z) B, `(n_fits, q, q)`.
    #[getter]
    fn bases<'py>(&self, py: Python<'py>) -> PyResult<Vec<Floats<'py>>> {
        let (n, designs) = (self.0.reductions.len(), &self.0.reductions);
        let of_level = |level: usize, q: usize| {
            let all = designs.iter().flat_map(|own| own.levels[level].basis.iter().copied());
            array(py, all.collect(), &[n, q, q])
        };
        self.0.levels().iter().enumerate().map(|(level, (q, _))| of_level(level, *q)).collect()
    }

    /// See `NestedReduction.ordinary_steps`.
    fn ordinary_steps<'py>(
        &self,
        py: Python<'py>,
        blocks: Blocks,
        fits: Vec<usize>,
        start: Start<'py>,
        settings: (f64, f64, f64, f64),
        reml: bool,
    ) -> PyResult<Option<Outcomes<'py>>> {
        let designs = &self.0.reductions;
        check_fits(&fits, designs.len())?;
        let Some(first) = designs.first() else { return Ok(None) };
        let place = |fit: usize| (&designs[fit], 0);
        Designs { first, place, reml }.steps(py, &blocks, &fits, &start, settings)
    }
}
