//! The nested engine as Python sees it.

pub mod batch;
mod ordinary;
mod summary;

use std::sync::Arc;

use numpy::{PyReadonlyArray1, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use self::ordinary::{Blocks, Designs, EndsArgument, Outcomes, Start};
use self::summary::{Numbers, RowsArgument, numbers};
use super::arguments::{ColumnArgument, TermsArgument, check_fits, rows, terms};
use super::arrays::{Floats, array, c_slice, large_buffer, vector};
use super::engine::Engine;
use super::gateway::{CollinearRandomEffects, without_gil};
use super::rows::Nesting;
use crate::nested::many_responses::{Plan, reduce, rotated};
use crate::nested::reduction::{self, Coordinates};
use crate::nested::series::chain::ChainParameters;
use crate::rows::basis::FixedBasis;
use crate::rows::columns::{Column, RowColumns, Values};
use crate::rows::rotation::staged;
use crate::rows::series_columns::{Combination, SeriesColumns};

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

/// Many responses `(n, n_fits)`, with the center and the scale of each.
type ResponsesArgument<'py> =
    (PyReadonlyArrayDyn<'py, f64>, PyReadonlyArray1<'py, f64>, PyReadonlyArray1<'py, f64>);

/// Columns of X that are kept, R with X = Q R, Q'y and the scale of each response; by level, B with
/// z = (transformed z) B.
type CoordinatesArgument<'py> = (
    Vec<usize>,
    PyReadonlyArrayDyn<'py, f64>,
    PyReadonlyArrayDyn<'py, f64>,
    PyReadonlyArray1<'py, f64>,
    Vec<PyReadonlyArrayDyn<'py, f64>>,
);

/// Coordinates for `n_columns` of X, `n_fits` responses and levels with so many columns of Z.
fn shared_coordinates(
    (kept, factor, ols, y_scale, bases): &CoordinatesArgument<'_>,
    (n_columns, n_fits): (usize, usize),
    sizes: &[usize],
) -> PyResult<Coordinates> {
    let rank = kept.len();
    if kept.iter().any(|&j| j >= n_columns) || bases.len() != sizes.len() {
        return Err(PyValueError::new_err("the coordinates do not match the design"));
    }
    let bases = bases.iter().zip(sizes);
    Ok(Coordinates {
        fixed: FixedBasis {
            kept: kept.clone(),
            factor: c_slice("factor", factor, &[rank, rank])?.to_vec(),
            ols: c_slice("ols", ols, &[n_fits, rank])?.to_vec(),
            y_scale: vector("y_scale", y_scale, n_fits)?.to_vec(),
        },
        bases: bases
            .map(|(basis, &q)| Ok(c_slice("bases", basis, &[q, q])?.to_vec()))
            .collect::<PyResult<_>>()?,
    })
}

fn response_columns<'a>(
    (values, center, scale): &'a ResponsesArgument<'_>,
    n: usize,
) -> PyResult<Vec<Column<'a>>> {
    let n_fits = center.len();
    let data = c_slice("responses", values, &[n, n_fits])?;
    let (center, scale) = (vector("center", center, n_fits)?, vector("scale", scale, n_fits)?);
    let column = |fit: usize| Column {
        values: Some(Values { data, offset: fit, stride: n_fits }),
        center: center[fit],
        scale: scale[fit],
    };
    Ok((0..n_fits).map(column).collect())
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

/// Nested factors, and residuals of their own; see the crate's `nested` module.
#[pyclass(frozen, extends = Engine, module = "mlmfast._core")]
pub struct NestedReduction(Arc<reduction::Reduction>);

#[pymethods]
impl NestedReduction {
    #[new]
    #[allow(clippy::too_many_arguments)] // one call carries a whole design across
    #[pyo3(signature = (
        nesting, *, z, x, y, noise, terms, sqrt_weights=None, visits=None, n_visits=0, series=None,
        chain=None, share=true, responses=None, n_obs=None, counts=None, coordinates=None
    ))]
    fn new(
        py: Python<'_>,
        nesting: &Nesting,
        z: Vec<Vec<ColumnArgument<'_>>>,
        x: Vec<ColumnArgument<'_>>,
        y: Vec<ColumnArgument<'_>>,
        noise: Vec<f64>,
        terms: TermsArgument,
        sqrt_weights: Option<PyReadonlyArray1<'_, f64>>,
        visits: Option<PyReadonlyArray1<'_, i32>>,
        n_visits: usize,
        series: Option<SeriesArgument<'_>>,
        chain: Option<ChainArgument<'_>>,
        share: bool,
        responses: Option<ResponsesArgument<'_>>,
        n_obs: Option<usize>,
        counts: Option<PyReadonlyArray1<'_, i64>>,
        coordinates: Option<CoordinatesArgument<'_>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let nesting = nesting.inner();
        let n = nesting.n_rows;
        if z.len() != nesting.levels.len() || terms.len() != z.len() || noise.len() != x.len() {
            return Err(PyValueError::new_err("z, terms or noise do not match the design"));
        }
        let residual = visits.is_some() || series.is_some();
        let terms = self::terms(&terms, z.iter().map(Vec::len), residual)?;
        let visits = visits.as_ref().map(|v| vector("visits", v, n)).transpose()?;
        let n_units = nesting.levels.last().map_or(0, |level| level.n_units());
        let counts = counts.as_ref().map(|c| vector("counts", c, n_units)).transpose()?;
        if counts.is_some_and(|counts| counts.iter().any(|&count| count < 0)) {
            return Err(PyValueError::new_err("a count is negative"));
        }
        let mut rows = RowColumns {
            n_obs,
            counts,
            visits: visits.map(|v| (v, n_visits)),
            series: series.as_ref().map(|s| series_columns(s, n)).transpose()?,
            ..rows(n, &z, &x, &y, sqrt_weights.as_ref())?
        };
        if let Some(responses) = &responses {
            rows.y = response_columns(responses, n)?;
        }
        let chain =
            chain.as_ref().map(|c| chain_parameters(c, rows.series.as_ref())).transpose()?;
        let n_classes = rows.series.as_ref().map_or(0, SeriesColumns::n_classes);
        let n_basis = series.as_ref().map_or(0, |s| s.6);
        let n_ends = rows.series.as_ref().map_or(0, |s| if s.recursive { s.n_ends } else { 0 });
        if rows.visits.is_some_and(|(v, k)| v.iter().any(|&v| v < 0 || v as usize >= k)) {
            return Err(PyValueError::new_err("a visit lies outside 0..n_visits"));
        }
        let sizes: Vec<usize> = (z.iter().enumerate())
            .map(|(l, own)| match rows.visits {
                Some((_, k)) if l + 1 == z.len() => k,
                _ => own.len(),
            })
            .collect();
        let given = coordinates
            .as_ref()
            .map(|c| shared_coordinates(c, (x.len(), rows.y.len()), &sizes))
            .transpose()?;
        let plan = Plan {
            nesting,
            noise: &noise,
            terms: &terms,
            series: (n_classes, n_basis, n_ends),
            share,
            given: given.as_ref(),
        };
        let before = match large_buffer(py, staged::room(nesting, &rows))? {
            Some(mut room) => {
                let room = room.as_slice_mut()?;
                Some(without_gil(py, || rotated(plan, &rows, room))?)
            }
            None => None,
        };
        let reduced = without_gil(py, || reduce(plan, &rows, before))?;
        let mut reduced = reduced
            .map_err(|error| CollinearRandomEffects::new_err((error.level, error.column)))?;
        if let Some(series) = reduced.levels.last_mut().and_then(|l| l.series.as_mut()) {
            series.chain = chain;
        }
        let core = Arc::new(reduced);
        Ok(PyClassInitializer::from(Engine::of(&core)).add_subclass(Self(core)))
    }

    /// Sum of squares of the least squares residuals (in units of `y_scale`) over the items of each
    /// class, where residuals are series.
    fn class_squares<'py>(&self, py: Python<'py>, fit: usize) -> PyResult<Floats<'py>> {
        check_fits(&[fit], self.0.n_fits)?;
        let series = self.0.levels.last().and_then(|level| level.series.as_ref());
        let squares = series
            .map_or(&[][..], |s| &s.response_squares[fit * s.n_classes..(fit + 1) * s.n_classes]);
        array(py, squares.to_vec(), &[squares.len()])
    }

    /// Products of the least squares residuals of neighbours by class of step, and of rows two equal
    /// steps apart, with their numbers: `(n_steps, 4)`, where the iterations walk along series.
    fn lag_products<'py>(&self, py: Python<'py>, fit: usize) -> PyResult<Floats<'py>> {
        check_fits(&[fit], self.0.n_fits)?;
        let series = self.0.levels.last().and_then(|level| level.series.as_ref());
        let products = series.map_or(Vec::new(), |s| s.lag_products(fit));
        let n = products.len() / 4;
        array(py, products, &[n, 4])
    }

    /// Ordinary Newton steps of some fits: see `newton::ordinary`. `None` where the core takes none.
    fn ordinary_steps<'py>(
        &self,
        py: Python<'py>,
        blocks: Blocks,
        fits: Vec<usize>,
        start: Start<'py>,
        settings: (f64, f64, f64, f64),
        reml: bool,
    ) -> PyResult<Option<Outcomes<'py>>> {
        check_fits(&fits, self.0.n_fits)?;
        let designs = Designs { first: &self.0, place: |fit| (&*self.0, fit), reml };
        designs.steps(py, &blocks, &fits, &start, settings)
    }

    /// A whole fit by ordinary steps, `(1, m)` numbers: see `newton::from_zero`. `None` where it asks
    /// for anything else.
    fn whole_fit<'py>(
        &self,
        py: Python<'py>,
        blocks: Blocks,
        fit: usize,
        settings: (f64, f64, f64, f64),
        ends: EndsArgument,
        reml: bool,
    ) -> PyResult<Option<Floats<'py>>> {
        check_fits(&[fit], self.0.n_fits)?;
        let designs = Designs { first: &self.0, place: |fit| (&*self.0, fit), reml };
        designs.whole_fit(py, &blocks, fit, settings, ends)
    }

    /// What a printed summary says of the fit at theta, from the rows `(codes, n_units, z, x, y)`: see
    /// `nested::report`. `None` where it is put together otherwise.
    fn summary_numbers(
        &self,
        py: Python<'_>,
        theta: Vec<f64>,
        rows: RowsArgument<'_>,
        reml: bool,
    ) -> PyResult<Option<Numbers>> {
        numbers(py, &self.0, &theta, &rows, reml)
    }
}
