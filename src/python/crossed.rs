//! `Crossing` and `CrossedReduction` as Python sees them.

use std::sync::Arc;

use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1, PyReadonlyArrayDyn};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;

use super::arrays::{array, c_slice, vector};
use super::dense::{RelationshipArgument, relationship};
use super::errors::CollinearRandomEffects;
use super::gateway::without_gil;
use super::nested::{
    ColumnArgument, Evaluation, Floats, basis, columns, gather_criteria, gather_likelihood,
    map_fits,
};
use crate::criterion::solution::{Criterion, Solution};
use crate::criterion::sums::Entry;
use crate::crossed::{self, Curvature, Factorisation, Rest, Schur, Structure, Unusable};
use crate::linalg::dense::NotPositiveDefinite;
use crate::rows::columns::RowColumns;
use crate::rows::relationship::Relationship;

/// Operations of one factorisation above which a batch runs fit by fit, each on all threads.
const LARGE: f64 = 1e9;

/// Grouping factors in any relation to each other: the units of the rows, and how the factor of
/// their Schur complement will be stored.
#[pyclass(frozen, module = "mlmfast._core")]
pub struct Crossing {
    n_rows: usize,
    codes: Vec<Vec<i32>>,
    n_units: Vec<usize>,
    order: usize,
    /// By level, the precision of its units' effects at G = 1.
    precisions: Vec<Option<Relationship>>,
    /// Position of a level whose effects are fixed.
    fixed: Option<usize>,
    /// `None` for a dense factor.
    structure: Option<Arc<Structure>>,
}

#[pymethods]
impl Crossing {
    /// `effects` are the random effects of a unit by level, `schur` "cheaper", "dense" or "sparse";
    /// `precisions` those of the units' effects by level, `None` where they are independent; `fixed`
    /// is the position of a level whose effects are fixed, one a unit.
    #[new]
    #[pyo3(signature = (n_rows, codes, n_units, effects, schur, precisions=None, fixed=None))]
    #[allow(clippy::too_many_arguments)] // one call carries the factors of a design across
    fn new(
        py: Python<'_>,
        n_rows: usize,
        codes: Vec<PyReadonlyArray1<'_, i32>>,
        n_units: Vec<usize>,
        effects: Vec<usize>,
        schur: &str,
        precisions: Option<Vec<Option<RelationshipArgument<'_>>>>,
        fixed: Option<usize>,
    ) -> PyResult<Self> {
        if fixed.is_some_and(|level| effects.get(level) != Some(&1))
            || (fixed.is_some() && precisions.is_some())
        {
            return Err(PyValueError::new_err(
                "a level of fixed effects has one a unit, and no level beside it a precision",
            ));
        }
        if codes.len() != n_units.len() || codes.is_empty() || effects.len() != codes.len() {
            return Err(PyValueError::new_err(
                "codes, n_units and effects differ in length, or are empty",
            ));
        }
        if n_rows > u32::MAX as usize {
            return Err(PyValueError::new_err("more than 2^32 - 1 rows"));
        }
        let wish = match schur {
            "cheaper" => Schur::Cheaper,
            "dense" => Schur::Dense,
            "sparse" => Schur::Sparse,
            _ => return Err(PyValueError::new_err("schur is 'cheaper', 'dense' or 'sparse'")),
        };
        let mut own = Vec::with_capacity(codes.len());
        for (codes, &n) in codes.iter().zip(&n_units) {
            let codes = vector("codes", codes, n_rows)?;
            if codes.iter().any(|&c| c < 0 || c as usize >= n) {
                return Err(PyValueError::new_err("a code lies outside 0..n_units"));
            }
            own.push(codes.to_vec());
        }
        let given = precisions.unwrap_or_default();
        if !given.is_empty() && given.len() != n_units.len() {
            return Err(PyValueError::new_err("precisions and n_units differ in length"));
        }
        let precisions = (given.iter().zip(&n_units))
            .map(|(k, &n)| k.as_ref().map(|k| relationship(k, n)).transpose())
            .collect::<PyResult<Vec<_>>>()?;
        if precisions.iter().flatten().zip(&n_units).any(|(k, _)| k.is_empty())
            || precisions
                .iter()
                .zip(&n_units)
                .any(|(k, &n)| k.as_ref().is_some_and(|k| k.len() != n))
        {
            return Err(PyValueError::new_err("a precision has another order than its level"));
        }
        let (order, structure) = without_gil(py, || {
            let design = crossed::Crossing {
                n_rows,
                codes: own.iter().map(Vec::as_slice).collect(),
                n_units: n_units.clone(),
                precisions: &precisions,
                fixed,
            };
            let rest = Rest::new(&design, &effects);
            (rest.order(), Structure::sparse(&design, &rest, wish).map(Arc::new))
        })?;
        Ok(Self { n_rows, codes: own, n_units, order, precisions, fixed, structure })
    }

    /// Order of the matrix that is factored: random effects of all factors but the leading one.
    #[getter]
    fn order(&self) -> usize {
        self.order
    }

    /// "dense" or "sparse".
    #[getter]
    fn schur(&self) -> &'static str {
        if self.structure.is_some() { "sparse" } else { "dense" }
    }

    /// Numbers that the factor takes, and floating-point operations of one evaluation.
    #[getter]
    fn cost(&self) -> (f64, f64) {
        match &self.structure {
            Some(structure) => (structure.n_values(), structure.operations),
            None => ((self.order as f64).powi(2) / 2.0, crossed::dense_operations(self.order)),
        }
    }

    /// Code of each unit of a level, in the order in which units are stored.
    fn codes<'py>(&self, py: Python<'py>, level: usize) -> PyResult<Bound<'py, PyArray1<u32>>> {
        let n = self.n_units.get(level).ok_or_else(|| PyIndexError::new_err("no such level"))?;
        Ok((0..*n as u32).collect::<Vec<u32>>().into_pyarray(py))
    }
}

/// Rows of a crossed design reduced once; see the crate's `crossed` module.
#[pyclass(frozen, module = "mlmfast._core")]
pub struct CrossedReduction(crossed::Reduction);

#[pymethods]
impl CrossedReduction {
    #[new]
    #[allow(clippy::too_many_arguments)] // one call carries a whole design across
    #[pyo3(signature = (crossing, *, z, x, y, noise, terms, sqrt_weights=None))]
    fn new(
        py: Python<'_>,
        crossing: &Crossing,
        z: Vec<Vec<ColumnArgument<'_>>>,
        x: Vec<ColumnArgument<'_>>,
        y: Vec<ColumnArgument<'_>>,
        noise: Vec<f64>,
        terms: Vec<Vec<(usize, String)>>,
        sqrt_weights: Option<PyReadonlyArray1<'_, f64>>,
    ) -> PyResult<Self> {
        let n = crossing.n_rows;
        if z.len() != crossing.codes.len() || terms.len() != z.len() || noise.len() != x.len() {
            return Err(PyValueError::new_err("z, terms or noise do not match the design"));
        }
        for (z, terms) in z.iter().zip(&terms) {
            if z.is_empty() || z.len() != terms.iter().map(|t| t.0).sum::<usize>() {
                return Err(PyValueError::new_err("terms do not add up to the columns of z"));
            }
        }
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
        let reduced = without_gil(py, || {
            let design = crossed::Crossing {
                n_rows: n,
                codes: crossing.codes.iter().map(Vec::as_slice).collect(),
                n_units: crossing.n_units.clone(),
                precisions: &crossing.precisions,
                fixed: crossing.fixed,
            };
            let structure = crossing.structure.clone();
            crossed::Reduction::new(&design, &rows, &noise, &terms, structure)
        })?;
        reduced.map(Self).map_err(|error| match error {
            Unusable::Collinear { level, column } => {
                CollinearRandomEffects::new_err((level, column))
            }
            Unusable::Indefinite => PyValueError::new_err("a precision is not positive definite"),
        })
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

    /// Residual sum of squares `(n_fits,)` outside the span of X and the leading factor (in units of
    /// `y_scale`), and its degrees of freedom.
    #[getter]
    fn within<'py>(&self, py: Python<'py>) -> PyResult<(Floats<'py>, usize)> {
        let (rss, df) = self.0.within();
        Ok((array(py, rss, &[self.0.n_fits])?, df))
    }

    /// By level, upper triangular B with z = (transformed z) B.
    #[getter]
    fn bases<'py>(&self, py: Python<'py>) -> PyResult<Vec<Floats<'py>>> {
        let levels = self.0.bases.iter().enumerate();
        levels.map(|(l, basis)| array(py, basis.clone(), &[self.0.q(l), self.0.q(l)])).collect()
    }

    /// Units of the leading factor, and order of the matrix factored after it.
    #[getter]
    fn size(&self) -> (usize, usize) {
        (self.0.rest.leading_units, self.0.rest.order())
    }

    /// How the factor of the Schur complement is stored: "dense" or "sparse".
    #[getter]
    fn schur(&self) -> &'static str {
        if self.0.structure.is_dense { "dense" } else { "sparse" }
    }

    /// What an evaluation took for curvature: "exact" or "average information".
    #[getter]
    fn curvature(&self) -> &'static str {
        if self.0.exact_is_cheap() { "exact" } else { "average information" }
    }

    /// -2 log-likelihood `(a,)`; with `derivatives` its gradient, Hessian and expected Hessian too.
    ///
    /// Both Hessians are the average information where exact ones would cost far more than the
    /// factorisation, unless `exact` asks for them.
    #[pyo3(signature = (g, fits, entries, reml, derivatives, exact=false))]
    #[allow(clippy::too_many_arguments)] // the signature of `Reduction.evaluate`, and one more
    fn evaluate<'py>(
        &self,
        py: Python<'py>,
        g: Vec<PyReadonlyArrayDyn<'py, f64>>,
        fits: Vec<usize>,
        entries: Vec<(usize, usize, usize)>,
        reml: bool,
        derivatives: bool,
        exact: bool,
    ) -> PyResult<Evaluation<'py>> {
        let g = self.covariances(&g, fits.len())?;
        let entries = self.entries(&entries)?;
        self.check_fits(&fits)?;
        let exact = exact || self.0.exact_is_cheap() || (!self.0.has_prior() && at_zero(&g));
        let curvature = match (derivatives, exact) {
            (false, _) => None,
            (true, true) => Some(Curvature::Exact),
            (true, false) => Some(Curvature::Average),
        };
        let one = |a: usize| self.0.evaluate(fits[a], &g[a], &entries, reml, curvature);
        let criteria: Vec<Criterion> = without_gil(py, || self.map_fits(fits.len(), one))?;
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
        let solutions: Vec<Option<Solution>> =
            without_gil(py, || self.map_fits(fits.len(), |a| self.0.solve(fits[a], &g[a]).ok()))?;
        super::nested::gather_solutions(py, solutions, self.0.rank())
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
        let found = without_gil(py, || self.0.information_derivatives(fit, &g[0], &entries))?;
        let Ok(grams) = found else {
            return Ok(None);
        };
        Ok(Some(super::nested::fixed_blocks(py, &grams, n, rank)?))
    }

    /// log|V| (with log|X'V^-1 X| for REML) and y'Py at `sigma^2` = 1 with exact derivatives, as
    /// `Reduction.likelihood_derivatives`; without `exact` the second derivatives of the first are
    /// not formed.
    #[pyo3(signature = (g, fits, entries, reml, exact=true))]
    fn likelihood_derivatives<'py>(
        &self,
        py: Python<'py>,
        g: Vec<PyReadonlyArrayDyn<'py, f64>>,
        fits: Vec<usize>,
        entries: Vec<(usize, usize, usize)>,
        reml: bool,
        exact: bool,
    ) -> PyResult<Vec<Floats<'py>>> {
        let g = self.covariances(&g, fits.len())?;
        let entries = self.entries(&entries)?;
        self.check_fits(&fits)?;
        let one = |a: usize| self.0.likelihood_derivatives(fits[a], &g[a], &entries, reml, exact);
        let all = without_gil(py, || self.map_fits(fits.len(), one))?;
        gather_likelihood(py, all, entries.len(), self.0.rank())
    }

    /// Second derivatives of X'V^-1 X by entries, `(n_entries, n_entries, rank, rank)`; with
    /// `weights`, `(n_entries, n_entries)` and symmetric, their weighted sum `(rank, rank)` instead.
    /// `None` where V is not positive definite.
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
        let (rank, n) = (self.0.rank(), entries.len());
        let weights = weights.as_ref().map(|w| c_slice("weights", w, &[n, n])).transpose()?;
        let found = without_gil(py, || {
            self.0.information_second_derivatives(fit, &g[0], &entries, weights)
        })?;
        let Ok(values) = found else { return Ok(None) };
        let shape = [n, n, rank, rank];
        Ok(Some(array(py, values, if weights.is_some() { &shape[2..] } else { &shape })?))
    }

    /// Variance `(m,)` over `sigma^2` of sums z'g given the data, beta known, and z'G Z'W^-1 X,
    /// `(m, rank)`; per level the unit of each row (negative: not in the data) and its columns of z
    /// in the reduction's basis, `(m, q)`.
    fn prediction_error<'py>(
        &self,
        py: Python<'py>,
        g: Vec<PyReadonlyArrayDyn<'py, f64>>,
        fit: usize,
        codes: Vec<PyReadonlyArray1<'py, i32>>,
        z: Vec<PyReadonlyArrayDyn<'py, f64>>,
    ) -> PyResult<Option<(Floats<'py>, Floats<'py>)>> {
        let g = self.covariances(&g, 1)?;
        self.check_fits(&[fit])?;
        if codes.len() != self.0.n_levels() || z.len() != codes.len() {
            return Err(PyValueError::new_err("codes and z need one array for each level"));
        }
        let m = codes[0].as_array().len();
        let codes: Vec<&[i32]> =
            codes.iter().map(|c| vector("codes", c, m)).collect::<PyResult<_>>()?;
        let z: Vec<&[f64]> = z
            .iter()
            .enumerate()
            .map(|(l, z)| c_slice("z", z, &[m, self.0.q(l)]))
            .collect::<PyResult<_>>()?;
        for (l, codes) in codes.iter().enumerate() {
            let n_units = self.0.n_units(l) as i32;
            if codes.iter().any(|&c| c >= n_units) {
                return Err(PyIndexError::new_err("no such unit"));
            }
        }
        let found = without_gil(py, || {
            Factorisation::new(&self.0, fit, &g[0]).map(|f| f.prediction(&codes, &z))
        })?;
        let Ok((variance, shift)) = found else { return Ok(None) };
        Ok(Some((array(py, variance, &[m])?, array(py, shift, &[m, self.0.rank()])?)))
    }

    /// Of the fixed level's effects: generalised least squares of each column of X and of y on its
    /// indicators, `(n_units, rank + 1)`; beta known, their variances over `sigma^2`, `(n_units,)`, and
    /// columns of their covariance, those of `units`, `(n_units, m)`; and (X'P X)^-1, `(rank, rank)`.
    /// `None` as `solve`. Without `variances` those are not formed.
    #[pyo3(signature = (g, fit, units, variances=true))]
    #[allow(clippy::type_complexity)]
    fn fixed_moments<'py>(
        &self,
        py: Python<'py>,
        g: Vec<PyReadonlyArrayDyn<'py, f64>>,
        fit: usize,
        units: Vec<usize>,
        variances: bool,
    ) -> PyResult<Option<(Floats<'py>, Floats<'py>, Floats<'py>, Floats<'py>)>> {
        let g = self.covariances(&g, 1)?;
        self.check_fits(&[fit])?;
        let n = self.0.rest.fixed.map_or(0, |level| self.0.n_units(level));
        if units.iter().any(|&u| u >= n) {
            return Err(PyIndexError::new_err("no such unit"));
        }
        let (rank, m) = (self.0.rank(), units.len());
        let found = without_gil(py, || {
            let factorisation = Factorisation::new(&self.0, fit, &g[0])?;
            let solution = Solution::new(&factorisation.gram, factorisation.logdet, rank)?;
            Ok::<_, NotPositiveDefinite>((
                factorisation.fixed_moments(&units, variances),
                solution.c,
            ))
        })?;
        let Ok((moments, c)) = found else { return Ok(None) };
        Ok(Some((
            array(py, moments.effects, &[n, rank + 1])?,
            array(py, moments.variances, &[if variances { n } else { 0 }])?,
            array(py, moments.columns, &[n, m])?,
            array(py, c, &[rank, rank])?,
        )))
    }

    /// By level, conditional means `(n_units, q)` and covariances `(n_units, q, q)` over `sigma^2`
    /// of the random effects, in unit order.
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
            without_gil(py, || Factorisation::new(&self.0, fit, &g[0]).map(|f| f.conditional(&e)))?;
        let Ok(levels) = levels else { return Ok(None) };
        let parts = levels.into_iter().enumerate().map(|(l, conditional)| {
            let q = self.0.q(l);
            let n = conditional.mean.len() / q;
            let mean = array(py, conditional.mean, &[n, q])?;
            Ok((mean, array(py, conditional.covariance, &[n, q, q])?))
        });
        Ok(Some(parts.collect::<PyResult<_>>()?))
    }
}

/// At G = 0 the exact information costs no more than a pass over the cells.
fn at_zero(g: &[Vec<Vec<f64>>]) -> bool {
    g.iter().flatten().flatten().all(|v| *v == 0.0)
}

impl CrossedReduction {
    /// One result a fit; large problems use their threads inside each fit.
    fn map_fits<T: Send>(&self, n_fits: usize, one: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
        if self.0.operations() > LARGE {
            (0..n_fits).map(one).collect()
        } else {
            map_fits(n_fits, one)
        }
    }

    /// G of each fit and level from one `(a, q, q)` array a level.
    fn covariances(
        &self,
        g: &[PyReadonlyArrayDyn<'_, f64>],
        a: usize,
    ) -> PyResult<Vec<Vec<Vec<f64>>>> {
        if g.len() != self.0.n_levels() {
            return Err(PyValueError::new_err("g needs one array for each level"));
        }
        let mut slices = Vec::with_capacity(g.len());
        for (l, array) in g.iter().enumerate() {
            let q = self.0.q(l);
            slices.push((c_slice("g", array, &[a, q, q])?, q * q));
        }
        Ok((0..a)
            .map(|f| slices.iter().map(|(s, size)| s[f * size..(f + 1) * size].to_vec()).collect())
            .collect())
    }

    fn entries(&self, entries: &[(usize, usize, usize)]) -> PyResult<Vec<Entry>> {
        let sorted = entries.windows(2).all(|pair| pair[0].0 <= pair[1].0);
        let inside = entries.iter().all(|&(level, a, b)| {
            level < self.0.n_levels() && a < self.0.q(level) && b < self.0.q(level)
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
