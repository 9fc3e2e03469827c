//! `ReductionBatch`: independent designs of one shape, each reduced by itself.

use numpy::{PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;

use super::arrays::{array, c_slice};
use super::gateway::without_gil;
use super::nested::{
    Evaluation, Floats, Nesting, basis, gather_criteria, gather_likelihood, gather_solutions,
    map_fits,
};
use crate::criterion::solution::Criterion;
use crate::criterion::sums::Entry;
use crate::nested::criterion::{evaluate, likelihood_derivatives, solve};
use crate::nested::reduction::Reduction;
use crate::rows::basis::Basis;
use crate::rows::columns::{Column, RowColumns, STATISTICS_ROWS, Values, statistics};
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

/// Sum and sum of squares about the first value, smallest and largest of each column of
/// `(n_fits, n, k)`: `(n_fits, k, 4)`.
#[pyfunction]
pub fn stacked_statistics<'py>(
    py: Python<'py>,
    columns: PyReadonlyArrayDyn<'py, f64>,
) -> PyResult<Floats<'py>> {
    let &[n_fits, n, k] = columns.shape() else {
        return Err(PyValueError::new_err("columns must have three dimensions"));
    };
    let data = c_slice("columns", &columns, &[n_fits, n, k])?;
    if n == 0 {
        return Err(PyValueError::new_err("columns have no rows"));
    }
    let one = |column: usize| {
        let values = Values { data, offset: column / k * n * k + column % k, stride: k };
        let mut total = [0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY];
        for first in (0..n).step_by(STATISTICS_ROWS) {
            let rows = first..(first + STATISTICS_ROWS).min(n);
            let p = statistics(values, rows, values.row(0));
            total = [total[0] + p[0], total[1] + p[1], total[2].min(p[2]), total[3].max(p[3])];
        }
        total
    };
    let parts: Vec<[f64; 4]> = without_gil(py, || map_fits(n_fits * k, one))?;
    array(py, parts.concat(), &[n_fits, k, 4])
}

/// Independent reductions of one structure, one a fit.
#[pyclass(frozen, module = "mlmfast._core")]
pub struct ReductionBatch {
    reductions: Vec<Reduction>,
    rank: usize,
}

#[pymethods]
impl ReductionBatch {
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
        terms: Vec<Vec<(usize, String)>>,
        sqrt_weights: Option<PyReadonlyArrayDyn<'py, f64>>,
    ) -> PyResult<(Self, Vec<usize>)> {
        let nesting = nesting.inner();
        let (n, n_fits, p) = (nesting.n_rows, y.2.shape()[0], x.1.len());
        if z.len() != nesting.levels.len() || terms.len() != z.len() || y.1 != [false] {
            return Err(PyValueError::new_err("z, terms or y do not match the design"));
        }
        let sums = z.iter().zip(&terms).all(|(z, terms)| {
            !z.1.is_empty() && z.1.len() == terms.iter().map(|t| t.0).sum::<usize>()
        });
        if !sums {
            return Err(PyValueError::new_err("terms do not add up to the columns of z"));
        }
        let terms = terms
            .iter()
            .map(|level| level.iter().map(|(size, name)| Ok((*size, basis(name)?))).collect())
            .collect::<PyResult<Vec<Vec<(usize, Basis)>>>>()?;
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
                visits: None,
                series: None,
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

    /// See `Reduction.evaluate`.
    fn evaluate<'py>(
        &self,
        py: Python<'py>,
        g: Vec<PyReadonlyArrayDyn<'py, f64>>,
        fits: Vec<usize>,
        entries: Vec<(usize, usize, usize)>,
        reml: bool,
        derivatives: bool,
    ) -> PyResult<Evaluation<'py>> {
        let (g, entries) = (self.covariances(&g, &fits)?, self.entries(&entries)?);
        let one =
            |a: usize| evaluate(&self.reductions[fits[a]], 0, &g[a], &entries, reml, derivatives);
        let criteria: Vec<Criterion> = without_gil(py, || map_fits(fits.len(), one))?;
        gather_criteria(py, criteria, entries.len())
    }

    /// See `Reduction.solve`.
    fn solve<'py>(
        &self,
        py: Python<'py>,
        g: Vec<PyReadonlyArrayDyn<'py, f64>>,
        fits: Vec<usize>,
    ) -> PyResult<(Floats<'py>, Floats<'py>, Floats<'py>)> {
        let g = self.covariances(&g, &fits)?;
        let one = |a: usize| solve(&self.reductions[fits[a]], 0, &g[a]).ok();
        gather_solutions(py, without_gil(py, || map_fits(fits.len(), one))?, self.rank)
    }

    /// See `Reduction.likelihood_derivatives`.
    fn likelihood_derivatives<'py>(
        &self,
        py: Python<'py>,
        g: Vec<PyReadonlyArrayDyn<'py, f64>>,
        fits: Vec<usize>,
        entries: Vec<(usize, usize, usize)>,
        reml: bool,
    ) -> PyResult<Vec<Floats<'py>>> {
        let (g, entries) = (self.covariances(&g, &fits)?, self.entries(&entries)?);
        let one =
            |a: usize| likelihood_derivatives(&self.reductions[fits[a]], 0, &g[a], &entries, reml);
        gather_likelihood(
            py,
            without_gil(py, || map_fits(fits.len(), one))?,
            entries.len(),
            self.rank,
        )
    }
}

impl ReductionBatch {
    fn concat<'a>(&'a self, part: impl Fn(&'a Reduction) -> &'a Vec<f64>) -> Vec<f64> {
        self.reductions.iter().flat_map(|r| part(r).iter().copied()).collect()
    }

    /// G of each fit and level from one `(a, q, q)` array a level.
    fn covariances(
        &self,
        g: &[PyReadonlyArrayDyn<'_, f64>],
        fits: &[usize],
    ) -> PyResult<Vec<Vec<Vec<f64>>>> {
        if fits.iter().any(|&fit| fit >= self.reductions.len()) {
            return Err(PyIndexError::new_err("no such fit"));
        }
        let Some(first) = self.reductions.first() else { return Ok(Vec::new()) };
        if g.len() != first.levels.len() {
            return Err(PyValueError::new_err("g needs one array for each level"));
        }
        let a = fits.len();
        let slices = g
            .iter()
            .zip(&first.levels)
            .map(|(array, level)| Ok((c_slice("g", array, &[a, level.q, level.q])?, level.q)))
            .collect::<PyResult<Vec<_>>>()?;
        Ok((0..a)
            .map(|f| {
                let one = |(s, q): &(&[f64], usize)| s[f * q * q..(f + 1) * q * q].to_vec();
                slices.iter().map(one).collect()
            })
            .collect())
    }

    fn entries(&self, entries: &[(usize, usize, usize)]) -> PyResult<Vec<Entry>> {
        let sorted = entries.windows(2).all(|pair| pair[0].0 <= pair[1].0);
        let inside = self.reductions.first().is_none_or(|first| {
            entries
                .iter()
                .all(|&(level, a, b)| first.levels.get(level).is_some_and(|l| a < l.q && b < l.q))
        });
        if !sorted || !inside {
            return Err(PyValueError::new_err("entries must lie inside G, sorted by level"));
        }
        Ok(entries.iter().map(|&(level, a, b)| Entry { level, a, b }).collect())
    }
}
