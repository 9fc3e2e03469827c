//! `NestedBatch`: independent designs of one structure, each reduced by itself.

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
use super::super::rows::parts::{Parts, PartsArgument};
use super::ordinary::{Blocks, Designs, Outcomes, Start};
use crate::criterion::engine::Engine as _;
use crate::nested::batch::Batch;
use crate::nested::reduction::Reduction;
use crate::rows::columns::{Column, RowColumns, Values};
use crate::rows::nesting;
use crate::rows::rotation::rotate::rotate;

/// Columns of all designs, `(n_fits, n, k)`, `(1, n, k)` for columns that all share, or `(n, k)`, the
/// rows of one after those of the other; which of them are the constant 1; center and scale of each,
/// `(n_fits, k)`.
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
    /// Rows from one fit to the next; 0 where all share them.
    step: usize,
}

impl<'a> Stack<'a> {
    fn new(
        name: &str,
        argument: &'a StackArgument<'_>,
        n_fits: usize,
        rows: &Rows<'_>,
    ) -> PyResult<Self> {
        let (data, constant, center, scale) = argument;
        let k = constant.len();
        let first = data.shape().first().copied().unwrap_or(0);
        let (data, step) = match rows {
            Rows::Alike(nesting) if first == 1 && n_fits != 1 => {
                (c_slice(name, data, &[1, nesting.n_rows, k])?, 0)
            }
            Rows::Alike(nesting) => {
                (c_slice(name, data, &[n_fits, nesting.n_rows, k])?, nesting.n_rows)
            }
            Rows::Own(parts) => (c_slice(name, data, &[parts.n_rows(), k])?, 0),
        };
        let (center, scale) =
            (c_slice(name, center, &[n_fits, k])?, c_slice(name, scale, &[n_fits, k])?);
        Ok(Self { data, constant, center, scale, step })
    }

    fn columns(&self, fit: usize, rows: &Rows<'_>) -> Vec<Column<'a>> {
        let k = self.constant.len();
        let own = match rows {
            Rows::Alike(nesting) => fit * self.step..fit * self.step + nesting.n_rows,
            Rows::Own(parts) => parts.rows(fit),
        };
        let data = &self.data[own.start * k..own.end * k];
        (0..k)
            .map(|j| Column {
                values: (!self.constant[j]).then_some(Values { data, offset: j, stride: k }),
                center: self.center[fit * k + j],
                scale: self.scale[fit * k + j],
            })
            .collect()
    }
}

/// Which rows are those of each fit.
enum Rows<'a> {
    /// As many of each, in the same units.
    Alike(&'a nesting::Nesting),
    /// Some of all.
    Own(Parts<'a>),
}

/// Independent reductions of one structure, one a fit.
#[pyclass(frozen, extends = Engine, module = "mlmfast._core")]
pub struct NestedBatch(Arc<Batch>);

#[pymethods]
impl NestedBatch {
    /// Reduces every design; the second value lists those left out, whose columns are collinear, or
    /// whose factors are not nested.
    ///
    /// All have the rows of one `nesting`, or each its own of `parts`.
    #[staticmethod]
    #[allow(clippy::too_many_arguments)] // one call carries all designs across
    #[pyo3(signature = (nesting, *, z, x, y, noise, terms, sqrt_weights=None, parts=None))]
    fn of<'py>(
        py: Python<'py>,
        nesting: Option<&Nesting>,
        z: Vec<StackArgument<'py>>,
        x: StackArgument<'py>,
        y: StackArgument<'py>,
        noise: PyReadonlyArrayDyn<'py, f64>,
        terms: TermsArgument,
        sqrt_weights: Option<PyReadonlyArrayDyn<'py, f64>>,
        parts: Option<PartsArgument<'py>>,
    ) -> PyResult<(Py<Self>, Vec<usize>)> {
        let (n_fits, p) = (y.2.shape()[0], x.1.len());
        let rows = match (nesting, &parts) {
            (Some(nesting), None) => Rows::Alike(nesting.inner()),
            (None, Some(parts)) => Rows::Own(Parts::new(parts, n_fits, z.len())?),
            _ => return Err(PyValueError::new_err("either a nesting or parts are needed")),
        };
        let matches = match &rows {
            Rows::Alike(nesting) => nesting.levels.len() == z.len(),
            Rows::Own(_) => sqrt_weights.is_none(),
        };
        if !matches || terms.len() != z.len() || y.1 != [false] {
            return Err(PyValueError::new_err("z, terms or y do not match the design"));
        }
        let terms = self::terms(&terms, z.iter().map(|z| z.1.len()), false)?;
        let z: Vec<Stack> =
            z.iter().map(|z| Stack::new("z", z, n_fits, &rows)).collect::<PyResult<_>>()?;
        let (x, y) = (Stack::new("x", &x, n_fits, &rows)?, Stack::new("y", &y, n_fits, &rows)?);
        let noise = c_slice("noise", &noise, &[n_fits, p])?;
        let weights = match (&sqrt_weights, &rows) {
            (Some(w), Rows::Alike(nesting)) => Some(c_slice("weights", w, &[nesting.n_rows])?),
            _ => None,
        };
        let reduced = |fit: usize, nesting: &nesting::Nesting| {
            let columns = RowColumns {
                z: z.iter().map(|z| z.columns(fit, &rows)).collect(),
                x: x.columns(fit, &rows),
                y: y.columns(fit, &rows),
                sqrt_weights: weights,
                ..RowColumns::default()
            };
            let rotated = rotate(nesting, &columns);
            let noise = &noise[fit * p..(fit + 1) * p];
            let reduced =
                Reduction::new(rotated, nesting, noise, &terms, (0, 0, 0), true, None).ok()?;
            // A fit whose columns are aliased has other shapes than the rest.
            (reduced.rank() == p).then_some(reduced)
        };
        let one = |fit: usize| match &rows {
            Rows::Alike(nesting) => reduced(fit, nesting),
            Rows::Own(parts) => reduced(fit, &parts.nesting(fit).ok()?),
        };
        let all: Vec<Option<Reduction>> = without_gil(py, || map_fits(n_fits, one))?;
        let lost = (0..n_fits).filter(|&fit| all[fit].is_none()).collect();
        let orders = z.iter().map(|z| z.constant.len()).collect();
        let core = Arc::new(Batch::new(all.into_iter().flatten().collect(), p, orders));
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
