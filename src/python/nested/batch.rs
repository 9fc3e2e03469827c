//! `NestedBatch`: independent designs of one shape, each reduced by itself.

use numpy::{PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::super::arguments::{
    CovariancesArgument, EntriesArgument, Points, TermsArgument, check_fits, entries, terms,
};
use super::super::arrays::{Floats, array, c_slice};
use super::super::gateway::{require, without_gil};
use super::super::gather::{self, Evaluation, Solutions, map_fits};
use super::super::rows::Nesting;
use super::ordinary::{Blocks, Designs, Outcomes, Start};
use crate::criterion::asked::{Asked, Request};
use crate::criterion::engine::{Engine, Wanted};
use crate::criterion::sums::Entry;
use crate::nested::elimination::{is_lower, is_small, small_results};
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
#[pyclass(frozen, module = "mlmfast._core")]
pub struct NestedBatch {
    reductions: Vec<Reduction>,
    rank: usize,
}

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
    ) -> PyResult<(Self, Vec<usize>)> {
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
            let reduced = Reduction::new(rotated, nesting, noise, &terms, (0, 0, 0), true).ok()?;
            // A fit whose columns are aliased has other shapes than the rest.
            (reduced.rank() == p).then_some(reduced)
        };
        let all: Vec<Option<Reduction>> = without_gil(py, || map_fits(n_fits, one))?;
        let lost = (0..n_fits).filter(|&fit| all[fit].is_none()).collect();
        Ok((Self { reductions: all.into_iter().flatten().collect(), rank: p }, lost))
    }

    fn __len__(&self) -> usize {
        self.reductions.len()
    }

    /// Upper triangular R with X = Q R of each fit, `(n_fits, rank, rank)`.
    #[getter]
    fn x_factor<'py>(&self, py: Python<'py>) -> PyResult<Floats<'py>> {
        let values = self.concat(|r| &r.fixed.factor);
        array(py, values, &[self.reductions.len(), self.rank, self.rank])
    }

    /// Q'y, `(n_fits, rank)`.
    #[getter]
    fn ols<'py>(&self, py: Python<'py>) -> PyResult<Floats<'py>> {
        array(py, self.concat(|r| &r.fixed.ols), &[self.reductions.len(), self.rank])
    }

    /// Root mean square of the least squares residual, `(n_fits,)`.
    #[getter]
    fn y_scale<'py>(&self, py: Python<'py>) -> PyResult<Floats<'py>> {
        array(py, self.concat(|r| &r.fixed.y_scale), &[self.reductions.len()])
    }

    /// Residual sum of squares of the rows without random effects and its degrees of freedom,
    /// `(n_fits,)` each.
    #[getter]
    fn within<'py>(&self, py: Python<'py>) -> PyResult<(Floats<'py>, Floats<'py>)> {
        let n = self.reductions.len();
        let parts: Vec<(f64, f64)> = without_gil(py, || {
            map_fits(n, |fit| {
                let (rss, df) = self.reductions[fit].within();
                (rss[0], df as f64)
            })
        })?;
        let (rss, df) = parts.into_iter().unzip();
        Ok((array(py, rss, &[n])?, array(py, df, &[n])?))
    }

    /// By level, upper triangular B with z = (transformed z) B, `(n_fits, q, q)`.
    #[getter]
    fn bases<'py>(&self, py: Python<'py>) -> PyResult<Vec<Floats<'py>>> {
        let Some(first) = self.reductions.first() else { return Ok(Vec::new()) };
        let sizes = first.levels.iter().map(|l| l.q);
        sizes
            .enumerate()
            .map(|(level, q)| {
                let values = self.concat(|r| &r.levels[level].basis);
                array(py, values, &[self.reductions.len(), q, q])
            })
            .collect()
    }

    /// See `Engine.evaluate`.
    fn evaluate<'py>(
        &self,
        py: Python<'py>,
        g: CovariancesArgument<'py>,
        fits: Vec<usize>,
        entries: EntriesArgument,
        reml: bool,
        derivatives: bool,
    ) -> PyResult<Evaluation<'py>> {
        let Some(first) = self.first(&fits)? else {
            return gather::criteria(py, Vec::new(), entries.len());
        };
        let (a, entries) = (fits.len(), self::entries(first, &entries)?);
        let asked = (Asked::Criteria, None, reml);
        if let (true, Some(found)) =
            (derivatives, self.small(py, &g, &fits, Some(&entries), asked)?)
        {
            return gather::small_criteria(py, found, a, entries.len());
        }
        let points = Points::new(first, &g, a)?;
        let wanted = Wanted { reml, derivatives, exact: true };
        let one = |k: usize| self.reductions[fits[k]].evaluate(points.at(k, 0), &entries, wanted);
        gather::criteria(py, without_gil(py, || map_fits(fits.len(), one))?, entries.len())
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
        let Some(first) = self.first(&fits)? else { return Ok(None) };
        let designs = Designs { first, place: |fit| (&self.reductions[fit], 0), reml };
        designs.steps(py, &blocks, &fits, &start, settings)
    }

    /// See `Engine.solve`.
    fn solve<'py>(
        &self,
        py: Python<'py>,
        g: CovariancesArgument<'py>,
        fits: Vec<usize>,
    ) -> PyResult<Solutions<'py>> {
        let Some(first) = self.first(&fits)? else {
            return gather::solutions(py, Vec::new(), self.rank);
        };
        if let Some(found) = self.small(py, &g, &fits, None, (Asked::Solutions, None, false))? {
            return gather::small_solutions(py, found, fits.len(), self.rank);
        }
        let points = Points::new(first, &g, fits.len())?;
        let one = |k: usize| self.reductions[fits[k]].solve(points.at(k, 0));
        gather::solutions(py, without_gil(py, || map_fits(fits.len(), one))?, self.rank)
    }

    /// See `Engine.information_second_sums`.
    fn information_second_sums<'py>(
        &self,
        py: Python<'py>,
        g: CovariancesArgument<'py>,
        fits: Vec<usize>,
        entries: EntriesArgument,
        weights: PyReadonlyArrayDyn<'py, f64>,
    ) -> PyResult<Floats<'py>> {
        let Some(first) = self.first(&fits)? else {
            return gather::second_sums(py, Vec::new(), self.rank);
        };
        let entries = self::entries(first, &entries)?;
        let n = entries.len();
        let weights = c_slice("weights", &weights, &[fits.len(), n, n])?;
        let asked = (Asked::SecondSums, Some(weights), false);
        if let Some(mut found) = self.small(py, &g, &fits, Some(&entries), asked)? {
            return array(py, found.remove(0), &[fits.len(), self.rank, self.rank]);
        }
        let points = Points::new(first, &g, fits.len())?;
        let one = |k: usize| {
            let own = &weights[k * n * n..(k + 1) * n * n];
            let reduction = &self.reductions[fits[k]];
            reduction.information_second_derivatives(points.at(k, 0), &entries, Some(own))
        };
        gather::second_sums(py, without_gil(py, || map_fits(fits.len(), one))?, self.rank)
    }

    /// See `Engine.likelihood_derivatives`.
    fn likelihood_derivatives<'py>(
        &self,
        py: Python<'py>,
        g: CovariancesArgument<'py>,
        fits: Vec<usize>,
        entries: EntriesArgument,
        reml: bool,
    ) -> PyResult<Vec<Floats<'py>>> {
        let Some(first) = self.first(&fits)? else {
            return gather::likelihood(py, Vec::new(), entries.len(), self.rank);
        };
        let entries = self::entries(first, &entries)?;
        let asked = (Asked::Likelihood, None, reml);
        if let Some(found) = self.small(py, &g, &fits, Some(&entries), asked)? {
            return gather::small_likelihood(py, found, fits.len(), entries.len(), self.rank);
        }
        let points = Points::new(first, &g, fits.len())?;
        let wanted = Wanted { reml, derivatives: true, exact: true };
        let one = |k: usize| {
            self.reductions[fits[k]].likelihood_derivatives(points.at(k, 0), &entries, wanted)
        };
        let all = without_gil(py, || map_fits(fits.len(), one))?;
        gather::likelihood(py, all, entries.len(), self.rank)
    }
}

impl NestedBatch {
    /// The design that stands for the shape of all.
    fn first(&self, fits: &[usize]) -> PyResult<Option<&Reduction>> {
        check_fits(fits, self.reductions.len())?;
        Ok(self.reductions.first())
    }

    /// What is asked of fits of small designs; `None` for other ones.
    fn small(
        &self,
        py: Python<'_>,
        g: &CovariancesArgument<'_>,
        fits: &[usize],
        entries: Option<&[Entry]>,
        (asked, weights, reml): (Asked, Option<&[f64]>, bool),
    ) -> PyResult<Option<Vec<Vec<f64>>>> {
        let Some(first) = self.first(fits)? else { return Ok(None) };
        let q = first.levels.first().map_or(0, |level| level.q);
        if !is_small(first) || g.len() != 1 || entries.is_some_and(|own| !is_lower(own, q)) {
            return Ok(None);
        }
        let g = c_slice("g", &g[0], &[fits.len(), q, q])?;
        require(2 * fits.len() * asked.sizes(q, self.rank).iter().sum::<usize>())?;
        let request = Request { asked, g, weights: weights.unwrap_or(&[]), reml };
        let all: Vec<_> = fits.iter().map(|&fit| (&self.reductions[fit], 0)).collect();
        Ok(Some(without_gil(py, || small_results(&all, request))?))
    }

    fn concat<'a>(&'a self, part: impl Fn(&'a Reduction) -> &'a Vec<f64>) -> Vec<f64> {
        self.reductions.iter().flat_map(|r| part(r).iter().copied()).collect()
    }
}
