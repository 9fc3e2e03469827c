//! The dense engine as Python sees it.

use std::sync::Arc;

use numpy::{PyReadonlyArray1, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::arguments::{
    ColumnArgument, RelationshipArgument, TermsArgument, relationship, rows, terms, unit_codes,
};
use super::arrays::vector;
use super::engine::Engine;
use super::gateway::{CollinearRandomEffects, without_gil};
use crate::dense;
use crate::rows::columns::RowColumns;

/// Rows by component, V held dense over each; see the crate's `dense` module.
#[pyclass(frozen, extends = Engine, module = "mlmfast._core")]
pub struct DenseReduction;

#[pymethods]
impl DenseReduction {
    #[new]
    #[allow(clippy::too_many_arguments)] // one call carries a whole design across
    #[pyo3(signature = (
        codes, n_units, components, n_components, relationships, *, z, x, y, noise, terms,
        sqrt_weights=None, visits=None, n_visits=0, n_obs=None
    ))]
    fn new(
        py: Python<'_>,
        codes: Vec<PyReadonlyArray1<'_, i32>>,
        n_units: Vec<usize>,
        components: PyReadonlyArray1<'_, i32>,
        n_components: usize,
        relationships: Vec<Option<RelationshipArgument<'_>>>,
        z: Vec<Vec<ColumnArgument<'_>>>,
        x: Vec<ColumnArgument<'_>>,
        y: Vec<ColumnArgument<'_>>,
        noise: Vec<f64>,
        terms: TermsArgument,
        sqrt_weights: Option<PyReadonlyArray1<'_, f64>>,
        visits: Option<PyReadonlyArray1<'_, i32>>,
        n_visits: usize,
        n_obs: Option<usize>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let n = components.len();
        let n_random = relationships.len();
        let n_levels = n_random + usize::from(visits.is_some());
        let lengths = [codes.len(), n_units.len()];
        if lengths.iter().any(|&l| l != n_levels)
            || terms.len() != n_random
            || z.len() != n_random
            || noise.len() != x.len()
        {
            return Err(PyValueError::new_err(
                "codes, n_units, z, terms or noise do not match the design",
            ));
        }
        let terms = self::terms(&terms, z.iter().map(Vec::len), false)?;
        let codes = unit_codes(&codes, &n_units, n)?;
        let within = |name: &str, values: &[i32], end: usize| {
            if values.iter().any(|&c| c < 0 || c as usize >= end) {
                return Err(PyValueError::new_err(format!("{name} lie outside their range")));
            }
            Ok(())
        };
        let components = vector("components", &components, n)?;
        within("components", components, n_components)?;
        let visits = visits.as_ref().map(|v| vector("visits", v, n)).transpose()?;
        within("visits", visits.unwrap_or(&[]), n_visits)?;
        let related = relationships
            .iter()
            .zip(&n_units)
            .map(|(argument, &n)| argument.as_ref().map(|a| relationship(a, n)).transpose())
            .collect::<PyResult<Vec<_>>>()?;
        let rows = RowColumns {
            visits: visits.map(|v| (v, n_visits)),
            n_obs,
            ..rows(n, &z, &x, &y, sqrt_weights.as_ref())?
        };
        let grouping = dense::Grouping {
            n_rows: n,
            codes,
            n_units,
            components: (components, n_components),
            relationships: related,
        };
        let reduced = without_gil(py, || dense::Reduction::new(grouping, &rows, &noise, &terms))?;
        let core = Arc::new(
            reduced
                .map_err(|error| CollinearRandomEffects::new_err((error.level, error.column)))?,
        );
        Ok(PyClassInitializer::from(Engine::of(&core)).add_subclass(Self))
    }
}
