//! The crossed engine as Python sees it.

use std::sync::Arc;

use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;

use super::arguments::{
    ColumnArgument, CovariancesArgument, RelationshipArgument, TermsArgument, relationship, rows,
    terms, unit_codes,
};
use super::arrays::array;
use super::engine::Engine;
use super::gateway::{CollinearRandomEffects, without_gil};
use super::gather::Evaluation;
use crate::crossed::{self, Factorisation, Rest, Schur, Structure, Unusable};
use crate::linalg::dense::NotPositiveDefinite;
use crate::rows::relationship::Relationship;

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
        let wish = match schur {
            "cheaper" => Schur::Cheaper,
            "dense" => Schur::Dense,
            "sparse" => Schur::Sparse,
            _ => return Err(PyValueError::new_err("schur is 'cheaper', 'dense' or 'sparse'")),
        };
        let codes: Vec<Vec<i32>> =
            unit_codes(&codes, &n_units, n_rows)?.into_iter().map(<[i32]>::to_vec).collect();
        let given = precisions.unwrap_or_default();
        if !given.is_empty() && given.len() != n_units.len() {
            return Err(PyValueError::new_err("precisions and n_units differ in length"));
        }
        let precisions = (given.iter().zip(&n_units))
            .map(|(k, &n)| k.as_ref().map(|k| relationship(k, n)).transpose())
            .collect::<PyResult<Vec<_>>>()?;
        let other = |(k, &n): (&Option<Relationship>, &usize)| {
            k.as_ref().is_some_and(|k| k.is_empty() || k.len() != n)
        };
        if precisions.iter().zip(&n_units).any(other) {
            return Err(PyValueError::new_err("a precision has another order than its level"));
        }
        let found = Self { n_rows, codes, n_units, order: 0, precisions, fixed, structure: None };
        let (order, structure) = without_gil(py, || {
            let design = found.design();
            let rest = Rest::new(&design, &effects);
            (rest.order(), Structure::sparse(&design, &rest, wish).map(Arc::new))
        })?;
        Ok(Self { order, structure, ..found })
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

impl Crossing {
    fn design(&self) -> crossed::Crossing<'_> {
        crossed::Crossing {
            n_rows: self.n_rows,
            codes: self.codes.iter().map(Vec::as_slice).collect(),
            n_units: self.n_units.clone(),
            precisions: &self.precisions,
            fixed: self.fixed,
        }
    }
}

/// Rows of a crossed design reduced once; see the crate's `crossed` module.
#[pyclass(frozen, extends = Engine, module = "mlmfast._core")]
pub struct CrossedReduction(Arc<crossed::Reduction>);

#[pymethods]
impl CrossedReduction {
    #[new]
    #[allow(clippy::too_many_arguments)] // one call carries a whole design across
    #[pyo3(signature = (crossing, *, z, x, y, noise, terms, sqrt_weights=None, n_obs=None))]
    fn new(
        py: Python<'_>,
        crossing: &Crossing,
        z: Vec<Vec<ColumnArgument<'_>>>,
        x: Vec<ColumnArgument<'_>>,
        y: Vec<ColumnArgument<'_>>,
        noise: Vec<f64>,
        terms: TermsArgument,
        sqrt_weights: Option<PyReadonlyArray1<'_, f64>>,
        n_obs: Option<usize>,
    ) -> PyResult<PyClassInitializer<Self>> {
        if z.len() != crossing.codes.len() || terms.len() != z.len() || noise.len() != x.len() {
            return Err(PyValueError::new_err("z, terms or noise do not match the design"));
        }
        let terms = self::terms(&terms, z.iter().map(Vec::len), false)?;
        let mut rows = rows(crossing.n_rows, &z, &x, &y, sqrt_weights.as_ref())?;
        rows.n_obs = n_obs;
        let reduced = without_gil(py, || {
            let structure = crossing.structure.clone();
            crossed::Reduction::new(&crossing.design(), &rows, &noise, &terms, structure)
        })?;
        let core = Arc::new(reduced.map_err(|error| match error {
            Unusable::Collinear { level, column } => {
                CollinearRandomEffects::new_err((level, column))
            }
            Unusable::Indefinite => PyValueError::new_err("a precision is not positive definite"),
        })?);
        Ok(PyClassInitializer::from(Engine::of(&core)).add_subclass(Self(core)))
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

    /// Of the fixed level's effects: generalised least squares of each column of X and of y on its
    /// indicators, `(n_units, rank + 1)`; beta known, their variances over `sigma^2`, `(n_units,)`, and
    /// columns of their covariance, those of `units`, `(n_units, m)`; and (X'P X)^-1, `(rank, rank)`.
    /// `None` as `solve`. Without `variances` those are not formed.
    #[pyo3(signature = (g, fit, units, variances=true))]
    fn fixed_moments<'py>(
        &self,
        py: Python<'py>,
        g: CovariancesArgument<'py>,
        fit: usize,
        units: Vec<usize>,
        variances: bool,
    ) -> PyResult<Option<Evaluation<'py>>> {
        let points = Engine::of(&self.0).points(&g, &[fit])?;
        let n = self.0.rest.fixed.map_or(0, |level| self.0.n_units(level));
        if units.iter().any(|&u| u >= n) {
            return Err(PyIndexError::new_err("no such unit"));
        }
        let (rank, m) = (self.0.rank(), units.len());
        let found = without_gil(py, || {
            let factorisation = Factorisation::new(&self.0, fit, &points.g[0])?;
            let solution = factorisation.least_squares()?;
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
}
