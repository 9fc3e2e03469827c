//! `Nesting` and `Reduction` as Python sees them.

use crate::nested::blocks::Blocks;
use crate::rows::basis::Basis;
use numpy::PyUntypedArrayMethods;
use numpy::{IntoPyArray, PyArray1, PyArrayDyn, PyReadonlyArray1, PyReadonlyArrayDyn};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;

use super::arrays::{array, c_slice, vector};
use super::errors::{CollinearRandomEffects, NotNested};
use super::gateway::{require, without_gil};
use crate::criterion::derivatives::LikelihoodDerivatives;
use crate::criterion::solution::{Criterion, Solution};
use crate::criterion::sums::Entry;
use crate::nested::criterion::{evaluate, likelihood_derivatives, solve, tangents};
use crate::nested::elimination::Elimination;
use crate::nested::reduction;
use crate::nested::series::chain::ChainParameters;
use crate::rows::columns::{Column, RowColumns, STATISTICS_ROWS, Values, statistics};
use crate::rows::nesting;
use crate::rows::rotate::rotate;
use crate::rows::series_columns::{Combination, SeriesColumns};
use crate::running::{stop, threads};

/// Numbers that a fit of a batch takes besides, in many small buffers.
pub(super) const OF_A_FIT: usize = 48;
/// Below this many values a thread pool costs more than it saves.
const PARALLEL_VALUES: usize = 400_000;

/// Step by row, classes of ends and of steps, (row, previous, share) of each combination, whether
/// the last row closes a series, share of an end, weights of every class, whether
/// iterations walk along the rows.
type SeriesArgument<'py> =
    (PyReadonlyArray1<'py, i32>, usize, usize, Vec<(f64, f64, f64)>, bool, f64, usize, bool);
/// Number of parameters, that of each class of starts, the two of each class of steps one after the
/// other, and the correlation parameters of each class of steps, as offsets and positions.
type ChainArgument<'py> = (
    usize,
    PyReadonlyArray1<'py, i64>,
    PyReadonlyArray1<'py, i64>,
    PyReadonlyArray1<'py, i64>,
    PyReadonlyArray1<'py, i64>,
);
pub(super) type Floats<'py> = Bound<'py, PyArrayDyn<f64>>;
/// Contiguous memory of a column, offset and stride of its values in it.
pub(super) type ValuesArgument<'py> = (PyReadonlyArray1<'py, f64>, usize, usize);
/// Value, gradient, Hessian, expected Hessian.
pub(super) type Evaluation<'py> = (Floats<'py>, Floats<'py>, Floats<'py>, Floats<'py>);
/// Values (`None` for a constant 1), center, scale.
pub(super) type ColumnArgument<'py> = (Option<ValuesArgument<'py>>, f64, f64);

fn values<'a>(name: &str, argument: &'a ValuesArgument<'_>, n_rows: usize) -> PyResult<Values<'a>> {
    let (memory, offset, stride) = (&argument.0, argument.1, argument.2);
    let data = vector(name, memory, memory.len())?;
    if n_rows == 0 || offset + (n_rows - 1) * stride >= data.len() {
        return Err(PyValueError::new_err(format!("{name} has too few values")));
    }
    Ok(Values { data, offset, stride })
}

/// Sum and sum of squares about the first value, smallest and largest of each column, `(n, 4)`.
#[pyfunction]
pub fn column_statistics<'py>(
    py: Python<'py>,
    columns: Vec<ValuesArgument<'py>>,
    n_rows: usize,
) -> PyResult<Floats<'py>> {
    let columns: Vec<Values> =
        columns.iter().map(|c| values("column", c, n_rows)).collect::<PyResult<_>>()?;
    let chunk = |first: usize| -> Vec<[f64; 4]> {
        let rows = first..(first + STATISTICS_ROWS).min(n_rows);
        columns.iter().map(|c| statistics(*c, rows.clone(), c.row(0))).collect()
    };
    let parts: Vec<Vec<[f64; 4]>> = without_gil(py, || {
        let n_chunks = n_rows.div_ceil(STATISTICS_ROWS);
        if n_rows * columns.len() > PARALLEL_VALUES {
            threads::map(0..n_chunks, |i| chunk(i * STATISTICS_ROWS))
        } else {
            (0..n_chunks).map(|i| chunk(i * STATISTICS_ROWS)).collect()
        }
    })?;
    let mut total = vec![[0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY]; columns.len()];
    for part in parts {
        for (t, p) in total.iter_mut().zip(part) {
            *t = [t[0] + p[0], t[1] + p[1], t[2].min(p[2]), t[3].max(p[3])];
        }
    }
    array(py, total.concat(), &[columns.len(), 4])
}

/// Rows sorted into units of nested grouping factors.
#[pyclass(frozen, module = "mlmfast._core")]
pub struct Nesting(nesting::Nesting);

#[pymethods]
impl Nesting {
    #[new]
    #[pyo3(signature = (n_rows, codes, n_units, positions=None))]
    fn new(
        py: Python<'_>,
        n_rows: usize,
        codes: Vec<PyReadonlyArray1<'_, i32>>,
        n_units: Vec<usize>,
        positions: Option<PyReadonlyArray1<'_, i32>>,
    ) -> PyResult<Self> {
        if codes.len() != n_units.len() {
            return Err(PyValueError::new_err("codes and n_units differ in length"));
        }
        if n_rows > u32::MAX as usize {
            return Err(PyValueError::new_err("more than 2^32 - 1 rows"));
        }
        let slices: Vec<&[i32]> =
            codes.iter().map(|c| vector("codes", c, n_rows)).collect::<PyResult<_>>()?;
        let positions = positions.as_ref().map(|p| vector("positions", p, n_rows)).transpose()?;
        without_gil(py, || {
            for (codes, &n) in slices.iter().zip(&n_units) {
                if codes.iter().any(|&c| c < 0 || c as usize >= n) {
                    return Err(PyValueError::new_err("a code lies outside 0..n_units"));
                }
            }
            let mut nesting = nesting::Nesting::new(n_rows, &slices, &n_units)
                .map_err(|error| NotNested::new_err(error.inner))?;
            if let Some(positions) = positions {
                nesting.sort_units(positions);
            }
            Ok(Self(nesting))
        })?
    }

    /// Code of each unit of a level, in the order in which units are stored.
    fn codes<'py>(&self, py: Python<'py>, level: usize) -> PyResult<Bound<'py, PyArray1<u32>>> {
        let level =
            self.0.levels.get(level).ok_or_else(|| PyIndexError::new_err("no such level"))?;
        Ok(level.codes.clone().into_pyarray(py))
    }
}

impl Nesting {
    pub(super) fn inner(&self) -> &nesting::Nesting {
        &self.0
    }
}

/// Rows reduced once; see the crate's `nested` module.
#[pyclass(frozen, module = "mlmfast._core")]
pub struct Reduction(reduction::Reduction);

pub(super) fn columns<'a>(
    name: &str,
    arguments: &'a [ColumnArgument<'_>],
    n_rows: usize,
) -> PyResult<Vec<Column<'a>>> {
    arguments
        .iter()
        .map(|(values, center, scale)| {
            let values = values.as_ref().map(|v| self::values(name, v, n_rows)).transpose()?;
            Ok(Column { values, center: *center, scale: *scale })
        })
        .collect()
}

pub(super) fn basis(name: &str) -> PyResult<Basis> {
    match name {
        "orthonormal" => Ok(Basis::Orthonormal),
        "scaled" => Ok(Basis::Scaled),
        "common" => Ok(Basis::Common),
        _ => Err(PyValueError::new_err(format!("no basis {name}"))),
    }
}

fn series_columns<'a>(
    argument: &'a SeriesArgument<'_>,
    n_rows: usize,
) -> PyResult<SeriesColumns<'a>> {
    let (step, n_ends, n_steps, combinations, closes, end_share, _, recursive) = argument;
    let step = vector("step", step, n_rows)?;
    if step
        .iter()
        .any(|&s| if s < 0 { -1 - s } else { s } as usize >= if s < 0 { *n_ends } else { *n_steps })
    {
        return Err(PyValueError::new_err("a step lies outside the classes"));
    }
    let combinations = combinations
        .iter()
        .map(|&(row, previous, share)| Combination { row, previous, share })
        .collect();
    Ok(SeriesColumns {
        step,
        n_ends: *n_ends,
        n_steps: *n_steps,
        combinations,
        closes: *closes,
        end_share: *end_share,
        recursive: *recursive,
    })
}

/// Which parameters the classes of series have, where these belong to visits.
fn chain_parameters(
    argument: &ChainArgument<'_>,
    series: Option<&SeriesColumns<'_>>,
) -> PyResult<ChainParameters> {
    let wrong = |what: &str| PyValueError::new_err(format!("chain: {what}"));
    let (n_theta, starts, steps, offsets, parameters) = argument;
    let positions = |name: &str, array: &[i64], bound: usize| -> PyResult<Vec<usize>> {
        let inside = |&i: &i64| usize::try_from(i).ok().filter(|&i| i < bound);
        array.iter().map(|i| inside(i).ok_or_else(|| wrong(name))).collect()
    };
    let (n_starts, n_parameters) = (starts.len(), parameters.len());
    let n_steps = offsets.len().saturating_sub(1);
    let both = positions("steps", vector("steps", steps, 2 * n_steps)?, *n_theta)?;
    let chain = ChainParameters {
        n_theta: *n_theta,
        starts: positions("starts", vector("starts", starts, n_starts)?, *n_theta)?,
        steps: both.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect(),
        offsets: positions("offsets", vector("offsets", offsets, n_steps + 1)?, n_parameters + 1)?,
        parameters: positions(
            "parameters",
            vector("parameters", parameters, n_parameters)?,
            *n_theta,
        )?,
    };
    let ascending = chain.offsets.windows(2).all(|pair| pair[0] <= pair[1]);
    if !ascending || chain.offsets.last() != Some(&n_parameters) {
        return Err(wrong("offsets do not divide the parameters"));
    }
    let fits = |s: &SeriesColumns| s.recursive && (s.n_ends, s.n_steps) == (n_starts, n_steps);
    if !series.is_some_and(fits) {
        return Err(wrong("the classes are not those of the series"));
    }
    Ok(chain)
}

#[pymethods]
impl Reduction {
    #[new]
    #[allow(clippy::too_many_arguments)] // one call carries a whole design across
    #[pyo3(signature = (
        nesting, *, z, x, y, noise, terms, sqrt_weights=None, visits=None, n_visits=0, series=None,
        chain=None, share=true
    ))]
    fn new(
        py: Python<'_>,
        nesting: &Nesting,
        z: Vec<Vec<ColumnArgument<'_>>>,
        x: Vec<ColumnArgument<'_>>,
        y: Vec<ColumnArgument<'_>>,
        noise: Vec<f64>,
        terms: Vec<Vec<(usize, String)>>,
        sqrt_weights: Option<PyReadonlyArray1<'_, f64>>,
        visits: Option<PyReadonlyArray1<'_, i32>>,
        n_visits: usize,
        series: Option<SeriesArgument<'_>>,
        chain: Option<ChainArgument<'_>>,
        share: bool,
    ) -> PyResult<Self> {
        let nesting = &nesting.0;
        let n = nesting.n_rows;
        if z.len() != nesting.levels.len() || terms.len() != z.len() || noise.len() != x.len() {
            return Err(PyValueError::new_err("z, terms or noise do not match the design"));
        }
        let n_levels = z.len();
        for (l, (z, terms)) in z.iter().zip(&terms).enumerate() {
            let is_residual = (visits.is_some() || series.is_some()) && l + 1 == n_levels;
            if z.is_empty() != is_residual || z.len() != terms.iter().map(|t| t.0).sum::<usize>() {
                return Err(PyValueError::new_err("terms do not add up to the columns of z"));
            }
        }
        let terms = terms
            .iter()
            .map(|level| level.iter().map(|(size, name)| Ok((*size, basis(name)?))).collect())
            .collect::<PyResult<Vec<Vec<_>>>>()?;
        let rows = RowColumns {
            z: z.iter().map(|z| columns("z", z, n)).collect::<PyResult<_>>()?,
            x: columns("x", &x, n)?,
            y: columns("y", &y, n)?,
            sqrt_weights: sqrt_weights.as_ref().map(|w| vector("weights", w, n)).transpose()?,
            visits: match &visits {
                Some(v) => Some((vector("visits", v, n)?, n_visits)),
                None => None,
            },
            series: series.as_ref().map(|s| series_columns(s, n)).transpose()?,
        };
        let chain =
            chain.as_ref().map(|c| chain_parameters(c, rows.series.as_ref())).transpose()?;
        let n_classes = rows.series.as_ref().map_or(0, SeriesColumns::n_classes);
        let n_basis = series.as_ref().map_or(0, |s| s.6);
        let n_ends = rows.series.as_ref().map_or(0, |s| if s.recursive { s.n_ends } else { 0 });
        if rows.visits.is_some_and(|(v, k)| v.iter().any(|&v| v < 0 || v as usize >= k)) {
            return Err(PyValueError::new_err("a visit lies outside 0..n_visits"));
        }
        without_gil(py, || {
            let rotated = rotate(nesting, &rows);
            reduction::Reduction::new(
                rotated,
                nesting,
                &noise,
                &terms,
                (n_classes, n_basis, n_ends),
                share,
            )
            .map(|mut reduction| {
                if let Some(series) = reduction.levels.last_mut().and_then(|l| l.series.as_mut()) {
                    series.chain = chain;
                }
                Self(reduction)
            })
            .map_err(|error| CollinearRandomEffects::new_err((error.level, error.column)))
        })?
    }

    /// Positions of the columns of X that were kept.
    #[getter]
    fn kept(&self) -> Vec<usize> {
        self.0.fixed.kept.clone()
    }

    /// Upper triangular R with X = Q R, `(rank, rank)`.
    #[getter]
    fn x_factor<'py>(&self, py: Python<'py>) -> PyResult<Floats<'py>> {
        let rank = self.0.rank();
        array(py, self.0.fixed.factor.clone(), &[rank, rank])
    }

    /// Q'y, `(n_fits, rank)`.
    #[getter]
    fn ols<'py>(&self, py: Python<'py>) -> PyResult<Floats<'py>> {
        array(py, self.0.fixed.ols.clone(), &[self.0.n_fits, self.0.rank()])
    }

    /// Root mean square of the least squares residual, `(n_fits,)`.
    #[getter]
    fn y_scale<'py>(&self, py: Python<'py>) -> PyResult<Floats<'py>> {
        array(py, self.0.fixed.y_scale.clone(), &[self.0.n_fits])
    }

    /// Residual sum of squares `(n_fits,)` of the rows without random effects (in units of
    /// `y_scale`), and its degrees of freedom.
    #[getter]
    fn within<'py>(&self, py: Python<'py>) -> PyResult<(Floats<'py>, usize)> {
        let (rss, df) = self.0.within();
        Ok((array(py, rss, &[self.0.n_fits])?, df))
    }

    /// Sums of products of least squares residuals (in units of `y_scale`) by pairs of visits, and
    /// the number of units that have both, `(n_visits, n_visits)` each.
    fn visit_moments<'py>(
        &self,
        py: Python<'py>,
        fit: usize,
    ) -> PyResult<(Floats<'py>, Floats<'py>)> {
        self.check_fits(&[fit])?;
        let (sums, counts) = self.0.visit_moments(fit);
        let k = (sums.len() as f64).sqrt() as usize;
        Ok((array(py, sums, &[k, k])?, array(py, counts, &[k, k])?))
    }

    /// Sum of squares of the least squares residuals (in units of `y_scale`) over the items of each
    /// class, where residuals are series.
    fn class_squares<'py>(&self, py: Python<'py>, fit: usize) -> PyResult<Floats<'py>> {
        self.check_fits(&[fit])?;
        let series = self.0.levels.last().and_then(|level| level.series.as_ref());
        let squares = series
            .map_or(&[][..], |s| &s.response_squares[fit * s.n_classes..(fit + 1) * s.n_classes]);
        array(py, squares.to_vec(), &[squares.len()])
    }

    /// Products of the least squares residuals of neighbours by class of step, and of rows two equal
    /// steps apart, with their numbers: `(n_steps, 4)`, where the iterations walk along series.
    fn lag_products<'py>(&self, py: Python<'py>, fit: usize) -> PyResult<Floats<'py>> {
        self.check_fits(&[fit])?;
        let series = self.0.levels.last().and_then(|level| level.series.as_ref());
        let products = series.map_or(Vec::new(), |s| s.lag_products(fit));
        let n = products.len() / 4;
        array(py, products, &[n, 4])
    }

    /// By level, upper triangular B with z = (transformed z) B.
    #[getter]
    fn bases<'py>(&self, py: Python<'py>) -> PyResult<Vec<Floats<'py>>> {
        self.0.levels.iter().map(|l| array(py, l.basis.clone(), &[l.q, l.q])).collect()
    }

    /// Distinct patterns, and blocks an iteration visits.
    #[getter]
    fn size(&self) -> (usize, usize) {
        (self.0.patterns.len(), self.0.patterns.iter().map(|p| p.n_blocks).sum())
    }

    /// -2 log-likelihood `(a,)`; with `derivatives` its gradient, Hessian and expected Hessian too.
    fn evaluate<'py>(
        &self,
        py: Python<'py>,
        g: Vec<PyReadonlyArrayDyn<'py, f64>>,
        fits: Vec<usize>,
        entries: Vec<(usize, usize, usize)>,
        reml: bool,
        derivatives: bool,
    ) -> PyResult<Evaluation<'py>> {
        let g = self.covariances(&g, fits.len())?;
        let entries = self.entries(&entries)?;
        self.check_fits(&fits)?;
        if derivatives && !self.has_all_derivatives(&g, &entries) {
            return Err(PyValueError::new_err("g lacks derivatives of the units' covariances"));
        }
        let one = |a: usize| evaluate(&self.0, fits[a], &g[a], &entries, reml, derivatives);
        let n = entries.len();
        require(fits.len() * (OF_A_FIT + n + 2 * n * n))?;
        let criteria: Vec<Criterion> = without_gil(py, || map_fits(fits.len(), one))?;
        gather_criteria(py, criteria, entries.len())
    }

    /// Generalised least squares of each fit: beta `(a, rank)`, C `(a, rank, rank)` and, `(a, 3)`, rss,
    /// log|W| and log|X'W^-1 X|; NaN where W is not positive definite.
    fn solve<'py>(
        &self,
        py: Python<'py>,
        g: Vec<PyReadonlyArrayDyn<'py, f64>>,
        fits: Vec<usize>,
    ) -> PyResult<(Floats<'py>, Floats<'py>, Floats<'py>)> {
        let g = self.covariances(&g, fits.len())?;
        self.check_fits(&fits)?;
        let solutions =
            without_gil(py, || map_fits(fits.len(), |a| solve(&self.0, fits[a], &g[a]).ok()))?;
        gather_solutions(py, solutions, self.0.rank())
    }

    /// Derivatives of X'W^-1 X by entries, `(n_entries, rank, rank)`; `None` as `solve`.
    fn information_derivatives<'py>(
        &self,
        py: Python<'py>,
        g: Vec<PyReadonlyArrayDyn<'py, f64>>,
        fit: usize,
        entries: Vec<(usize, usize, usize)>,
    ) -> PyResult<Option<Floats<'py>>> {
        let g = self.covariances(&g, 1)?;
        let entries = self.entries(&entries)?;
        self.check_fits(&[fit])?;
        let (rank, n) = (self.0.rank(), entries.len());
        let found = without_gil(py, || tangents(&self.0, fit, &g[0], &entries, false))?;
        let Ok((_, sums)) = found else {
            return Ok(None);
        };
        Ok(Some(fixed_blocks(py, &sums.gram_by, n, rank)?))
    }

    /// log|V| (with log|X'V^-1 X| for REML) and y'Py at `sigma^2` = 1: first derivatives `(a, n)` and
    /// second derivatives `(a, n, n)` of each by entries, in the order log-determinants, y'Py; then
    /// the derivatives of X'V^-1 X, `(a, n, rank, rank)`, its inverse `(a, rank, rank)` and y'Py
    /// `(a,)`; NaN where V is not positive definite.
    fn likelihood_derivatives<'py>(
        &self,
        py: Python<'py>,
        g: Vec<PyReadonlyArrayDyn<'py, f64>>,
        fits: Vec<usize>,
        entries: Vec<(usize, usize, usize)>,
        reml: bool,
    ) -> PyResult<Vec<Floats<'py>>> {
        let g = self.covariances(&g, fits.len())?;
        let entries = self.entries(&entries)?;
        self.check_fits(&fits)?;
        if !self.has_all_derivatives(&g, &entries) {
            return Err(PyValueError::new_err("g lacks derivatives of the units' covariances"));
        }
        let (a, n, rank) = (fits.len(), entries.len(), self.0.rank());
        require(2 * a * (OF_A_FIT + 2 * n * n + (n + 1) * rank * rank))?;
        let one = |f: usize| likelihood_derivatives(&self.0, fits[f], &g[f], &entries, reml);
        gather_likelihood(py, without_gil(py, || map_fits(a, one))?, n, rank)
    }

    /// Second derivatives of X'V^-1 X by entries, `(n_entries, n_entries, rank, rank)`; with
    /// `weights`, `(n_entries, n_entries)` and symmetric, their weighted sum `(rank, rank)` instead,
    /// which costs much less. `None` where V is not positive definite.
    #[pyo3(signature = (g, fit, entries, weights=None))]
    fn information_second_derivatives<'py>(
        &self,
        py: Python<'py>,
        g: Vec<PyReadonlyArrayDyn<'py, f64>>,
        fit: usize,
        entries: Vec<(usize, usize, usize)>,
        weights: Option<PyReadonlyArrayDyn<'py, f64>>,
    ) -> PyResult<Option<Floats<'py>>> {
        let g = self.covariances(&g, 1)?;
        let entries = self.entries(&entries)?;
        self.check_fits(&[fit])?;
        if !self.has_all_derivatives(&g, &entries) {
            return Err(PyValueError::new_err("g lacks derivatives of the units' covariances"));
        }
        if self.0.chain().is_some() {
            return Err(PyValueError::new_err("chains by visit have no such derivatives"));
        }
        let (rank, n) = (self.0.rank(), entries.len());
        let sets = match &weights {
            Some(weights) => vec![c_slice("weights", weights, &[n, n])?.to_vec()],
            None => pair_weights(n),
        };
        let one = || Elimination::new(&self.0, fit, &g[0], &entries).second_derivatives(&sets);
        let Ok(sums) = without_gil(py, one)? else { return Ok(None) };
        let width = rank + 1;
        let matrix = |set: usize| {
            let sum = &sums[set * width * width..(set + 1) * width * width];
            sum.chunks_exact(width).take(rank).flat_map(|row| &row[..rank]).copied()
        };
        if weights.is_some() {
            return Ok(Some(array(py, matrix(0).collect(), &[rank, rank])?));
        }
        let set_of = |k: usize, l: usize| k.max(l) * (k.max(l) + 1) / 2 + k.min(l);
        let out = (0..n * n).flat_map(|at| matrix(set_of(at / n, at % n))).collect();
        Ok(Some(array(py, out, &[n, n, rank, rank])?))
    }

    /// By level, conditional means `(n_units, q)` and covariances `(n_units, q, q)` over `sigma^2`
    /// of the random effects, in unit order; needs `share=False`.
    #[allow(clippy::type_complexity)]
    fn conditional<'py>(
        &self,
        py: Python<'py>,
        g: Vec<PyReadonlyArrayDyn<'py, f64>>,
        fit: usize,
        beta: PyReadonlyArray1<'py, f64>,
    ) -> PyResult<Option<Vec<(Floats<'py>, Floats<'py>)>>> {
        let g = self.covariances(&g, 1)?;
        self.check_fits(&[fit])?;
        let beta = vector("beta", &beta, self.0.rank())?;
        let e: Vec<f64> = beta.iter().map(|b| -b).chain([1.0]).collect();
        let levels =
            without_gil(py, || Elimination::new(&self.0, fit, &g[0], &[]).conditional(&e))?;
        let Ok(levels) = levels else { return Ok(None) };
        let parts = levels.into_iter().zip(&self.0.levels).map(|(conditional, level)| {
            let (q, n) = (level.q, conditional.mean.len() / level.q.max(1));
            let mean = array(py, conditional.mean, &[n, q])?;
            Ok((mean, array(py, conditional.covariance, &[n, q, q])?))
        });
        Ok(Some(parts.collect::<PyResult<_>>()?))
    }
}

/// Weights that pick out the second derivative by each pair (k, l), l <= k.
pub(super) fn pair_weights(n: usize) -> Vec<Vec<f64>> {
    let mut out = Vec::with_capacity(n * (n + 1) / 2);
    for k in 0..n {
        for l in 0..=k {
            let mut weights = vec![0.0; n * n];
            weights[k * n + l] += 0.5;
            weights[l * n + k] += 0.5;
            out.push(weights);
        }
    }
    out
}

/// Criteria of a batch as arrays with a leading axis of fits.
pub(super) fn gather_criteria(
    py: Python<'_>,
    criteria: Vec<Criterion>,
    n: usize,
) -> PyResult<Evaluation<'_>> {
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

/// Solutions of a batch: beta, C and (rss, log|W|, log|X'W^-1 X|); NaN for `None`.
pub(super) fn gather_solutions(
    py: Python<'_>,
    solutions: Vec<Option<Solution>>,
    rank: usize,
) -> PyResult<(Floats<'_>, Floats<'_>, Floats<'_>)> {
    let a = solutions.len();
    let (mut beta, mut c, mut scalars) = (Vec::new(), Vec::new(), Vec::new());
    for solution in solutions {
        if let Some(s) = solution {
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
pub(super) fn gather_likelihood<E>(
    py: Python<'_>,
    all: Vec<Result<LikelihoodDerivatives, E>>,
    n: usize,
    rank: usize,
) -> PyResult<Vec<Floats<'_>>> {
    let a = all.len();
    let shapes: [&[usize]; 7] =
        [&[n], &[n, n], &[n], &[n, n], &[n, rank, rank], &[rank, rank], &[]];
    let mut out: [Vec<f64>; 7] = Default::default();
    for parts in all {
        if let Ok(parts) = parts {
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

/// The X blocks of `n` cross-products of [X y] given by their lower triangles, `(n, rank, rank)`.
pub(super) fn fixed_blocks<'py>(
    py: Python<'py>,
    grams: &[f64],
    n: usize,
    rank: usize,
) -> PyResult<Floats<'py>> {
    let mut out = vec![0.0; n * rank * rank];
    for k in 0..n {
        for i in 0..rank {
            for j in 0..rank {
                let (row, column) = (i.max(j), i.min(j));
                let at = k * (rank + 1) * (rank + 1) + row * (rank + 1) + column;
                out[(k * rank + i) * rank + j] = grams[at];
            }
        }
    }
    array(py, out, &[n, rank, rank])
}

/// One result a fit, in order; a batch too small to wake a thread pool for stays in this thread.
pub(super) fn map_fits<T: Send>(n_fits: usize, one: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
    if n_fits >= 16 {
        return threads::map(0..n_fits, one);
    }
    let checked = |fit: usize| {
        stop::check();
        one(fit)
    };
    (0..n_fits).map(checked).collect()
}

impl Reduction {
    /// G of each fit and level from one `(a, q, q)` array a level.
    fn covariances(
        &self,
        g: &[PyReadonlyArrayDyn<'_, f64>],
        a: usize,
    ) -> PyResult<Vec<Vec<Vec<f64>>>> {
        let levels = &self.0.levels;
        if g.len() != levels.len() {
            return Err(PyValueError::new_err("g needs one array for each level"));
        }
        let mut slices = Vec::with_capacity(g.len());
        for (array, level) in g.iter().zip(levels) {
            let matrix = [level.q, level.q];
            let shape = array.shape().to_vec();
            // With derivatives by parameters: (a, matrices, units or 1, q, q).
            let n_units = self.0.patterns.len();
            if let Some(chain) = level.series.as_ref().and_then(|s| s.chain.as_ref()) {
                let n = shape.get(1).copied().unwrap_or(0);
                let lengths = [chain.n_values(false), chain.n_values(true)];
                let wanted = [a, if lengths.contains(&n) { n } else { lengths[0] }];
                slices.push((c_slice("g", array, &wanted)?, wanted[1]));
            } else if let Some(series) = &level.series {
                let width = shape.get(2).copied().unwrap_or(0).max(series.n_classes + 2);
                let wanted = [a, series.n_basis, width];
                slices.push((c_slice("g", array, &wanted)?, wanted[1..].iter().product()));
            } else if level.is_residual && shape.len() == 5 && [1, n_units].contains(&shape[2]) {
                let wanted = [a, shape[1], shape[2], level.q, level.q];
                slices.push((c_slice("g", array, &wanted)?, wanted[1..].iter().product()));
            } else {
                let wanted = [a, matrix[0], matrix[1]];
                slices.push((c_slice("g", array, &wanted)?, level.q * level.q));
            }
        }
        require(slices.iter().map(|(s, _)| s.len()).sum::<usize>() + OF_A_FIT * a)?;
        Ok((0..a)
            .map(|f| slices.iter().map(|(s, size)| s[f * size..(f + 1) * size].to_vec()).collect())
            .collect())
    }

    /// Covariances of units must come with first and second derivatives by each entry listed.
    fn has_all_derivatives(&self, g: &[Vec<Vec<f64>>], entries: &[Entry]) -> bool {
        let Some(level) = self.0.levels.last().filter(|level| level.is_residual) else {
            return true;
        };
        let size = level.q * level.q;
        let t = entries.iter().filter(|e| e.level + 1 == self.0.levels.len()).count();
        let kinds = 1 + t + t * (t + 1) / 2;
        if let Some(chain) = self.0.chain() {
            let one = chain.n_values(true);
            return t == chain.n_theta
                && g.iter().all(|g| g.last().is_some_and(|g| g.len() == one));
        }
        if let Some(series) = &level.series {
            let one = series.n_basis * (series.n_classes + 2 * kinds);
            return g.iter().all(|g| g.last().is_some_and(|g| g.len() == one));
        }
        let one = size * kinds;
        let lengths = [size, one, one * self.0.patterns.len()];
        g.iter().all(|g| g.last().is_some_and(|g| lengths.contains(&g.len())))
    }

    fn entries(&self, entries: &[(usize, usize, usize)]) -> PyResult<Vec<Entry>> {
        let sorted = entries.windows(2).all(|pair| pair[0].0 <= pair[1].0);
        let inside = entries.iter().all(|&(level, a, b)| {
            let is_inside = |l: &Blocks| l.series.is_some() || (a < l.q && b < l.q);
            self.0.levels.get(level).is_some_and(is_inside)
        });
        if !sorted || !inside {
            return Err(PyValueError::new_err("entries must lie inside G, sorted by level"));
        }
        Ok(entries.iter().map(|&(level, a, b)| Entry { level, a, b }).collect())
    }

    fn check_fits(&self, fits: &[usize]) -> PyResult<()> {
        if fits.iter().any(|&fit| fit >= self.0.n_fits) {
            return Err(PyIndexError::new_err("no such fit"));
        }
        Ok(())
    }
}
