//! `MarginalReduction` as Python sees it.

use numpy::{PyReadonlyArray1, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;

use super::arrays::{array, c_slice, vector};
use super::errors::CollinearRandomEffects;
use super::gateway::without_gil;
use super::nested::{
    ColumnArgument, Evaluation, Floats, basis, columns, fixed_blocks, gather_criteria,
    gather_likelihood, gather_solutions, map_fits, pair_weights,
};
use crate::criterion::sums::Entry;
use crate::dense::{Grouping, Reduction, Template};
use crate::linalg::dense::NotPositiveDefinite;
use crate::rows::columns::RowColumns;
use crate::rows::relationship::Relationship;

/// Rows of a component below which the fits of a batch run side by side.
const SMALL: usize = 256;

/// Row offsets, columns and values of the relationships of a level's units.
pub(super) type RelationshipArgument<'py> =
    (PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, i32>, PyReadonlyArray1<'py, f64>);

/// Rows by component, V held dense over each; see the crate's `dense` module.
#[pyclass(frozen, module = "mlmfast._core")]
pub struct MarginalReduction(Reduction);

pub(super) fn relationship(
    argument: &RelationshipArgument<'_>,
    n_units: usize,
) -> PyResult<Relationship> {
    let (first, columns, values) = argument;
    let first = vector("relationship", first, first.len())?;
    let n = columns.len();
    let (columns, values) = (vector("columns", columns, n)?, vector("values", values, n)?);
    let size = first.len().saturating_sub(1);
    let is_sound = size >= n_units
        && first[0] == 0
        && first[size] as usize == n
        && first.windows(2).all(|pair| pair[0] <= pair[1])
        && columns.iter().all(|&c| c >= 0 && (c as usize) < size);
    if !is_sound {
        return Err(PyValueError::new_err("a relationship is no matrix over the units"));
    }
    Ok(Relationship {
        first: first.iter().map(|&at| at as usize).collect(),
        columns: columns.iter().map(|&c| c as u32).collect(),
        values: values.to_vec(),
    })
}

#[pymethods]
impl MarginalReduction {
    #[new]
    #[allow(clippy::too_many_arguments)] // one call carries a whole design across
    #[pyo3(signature = (
        codes, n_units, components, n_components, relationships, *, z, x, y, noise, terms,
        sqrt_weights=None, visits=None, n_visits=0
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
        terms: Vec<Vec<(usize, String)>>,
        sqrt_weights: Option<PyReadonlyArray1<'_, f64>>,
        visits: Option<PyReadonlyArray1<'_, i32>>,
        n_visits: usize,
    ) -> PyResult<Self> {
        let n = components.len();
        let n_random = relationships.len();
        let n_levels = n_random + usize::from(visits.is_some());
        let lengths = [codes.len(), n_units.len()];
        if lengths.iter().any(|&l| l != n_levels) || terms.len() != n_random || z.len() != n_random
        {
            return Err(PyValueError::new_err(
                "codes, n_units, z or terms do not match the design",
            ));
        }
        if noise.len() != x.len() || n > u32::MAX as usize {
            return Err(PyValueError::new_err("noise does not match the design"));
        }
        for (z, terms) in z.iter().zip(&terms) {
            if z.is_empty() || z.len() != terms.iter().map(|t| t.0).sum::<usize>() {
                return Err(PyValueError::new_err("terms do not add up to the columns of z"));
            }
        }
        let within = |name: &str, values: &[i32], end: usize| {
            if values.iter().any(|&c| c < 0 || c as usize >= end) {
                return Err(PyValueError::new_err(format!("{name} lie outside their range")));
            }
            Ok(())
        };
        let codes: Vec<&[i32]> =
            codes.iter().map(|c| vector("codes", c, n)).collect::<PyResult<_>>()?;
        for (codes, &end) in codes.iter().zip(&n_units) {
            within("codes", codes, end)?;
        }
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
            z: z.iter().map(|z| columns("z", z, n)).collect::<PyResult<_>>()?,
            x: columns("x", &x, n)?,
            y: columns("y", &y, n)?,
            sqrt_weights: sqrt_weights.as_ref().map(|w| vector("weights", w, n)).transpose()?,
            visits: visits.map(|v| (v, n_visits)),
            series: None,
        };
        let terms = terms
            .iter()
            .map(|level| level.iter().map(|(size, name)| Ok((*size, basis(name)?))).collect())
            .collect::<PyResult<Vec<Vec<_>>>>()?;
        let grouping = Grouping {
            n_rows: n,
            codes,
            n_units,
            components: (components, n_components),
            relationships: related,
        };
        let reduced = without_gil(py, || Reduction::new(grouping, &rows, &noise, &terms))?;
        reduced
            .map(Self)
            .map_err(|error| CollinearRandomEffects::new_err((error.level, error.column)))
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

    /// Residual sum of squares `(n_fits,)` outside the span of X and the level with most random
    /// effects (in units of `y_scale`), and its degrees of freedom.
    #[getter]
    fn within<'py>(&self, py: Python<'py>) -> PyResult<(Floats<'py>, usize)> {
        let (rss, df) = &self.0.within;
        Ok((array(py, rss.clone(), &[self.0.n_fits])?, *df))
    }

    /// As `Reduction.visit_moments`.
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

    /// By level, upper triangular B with z = (transformed z) B.
    #[getter]
    fn bases<'py>(&self, py: Python<'py>) -> PyResult<Vec<Floats<'py>>> {
        let levels = self.0.bases.iter().zip(&self.0.q);
        levels.map(|(basis, &q)| array(py, basis.clone(), &[q, q])).collect()
    }

    /// Components, and rows of the largest.
    #[getter]
    fn size(&self) -> (usize, usize) {
        (self.0.components.len(), self.0.largest())
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
        let g = self.templates(&g, fits.len())?;
        let entries = self.entries(&entries, &g, derivatives)?;
        self.check_fits(&fits)?;
        let criteria = self.run(py, fits.len(), |a| {
            Ok(self.0.evaluate(fits[a], &g[a], &entries, (reml, derivatives)))
        })?;
        let n = entries.len();
        let criteria: Vec<_> = criteria.into_iter().flatten().collect();
        gather_criteria(py, criteria, n)
    }

    /// As `Reduction.solve`.
    fn solve<'py>(
        &self,
        py: Python<'py>,
        g: Vec<PyReadonlyArrayDyn<'py, f64>>,
        fits: Vec<usize>,
    ) -> PyResult<(Floats<'py>, Floats<'py>, Floats<'py>)> {
        let g = self.templates(&g, fits.len())?;
        self.check_fits(&fits)?;
        let solutions = self.run(py, fits.len(), |a| self.0.solve(fits[a], &g[a]))?;
        gather_solutions(py, solutions, self.0.rank())
    }

    /// Derivatives of X'V^-1 X by entries, `(n_entries, rank, rank)`; `None` where V is not positive
    /// definite.
    fn information_derivatives<'py>(
        &self,
        py: Python<'py>,
        g: Vec<PyReadonlyArrayDyn<'py, f64>>,
        fit: usize,
        entries: Vec<(usize, usize, usize)>,
    ) -> PyResult<Option<Floats<'py>>> {
        let g = self.templates(&g, 1)?;
        let entries = self.entries(&entries, &g, true)?;
        self.check_fits(&[fit])?;
        let found = self.run(py, 1, |_| self.0.gram_derivatives(fit, &g[0], &entries))?;
        let Some(Some(grams)) = found.into_iter().next() else { return Ok(None) };
        Ok(Some(fixed_blocks(py, &grams, entries.len(), self.0.rank())?))
    }

    /// As `Reduction.likelihood_derivatives`.
    fn likelihood_derivatives<'py>(
        &self,
        py: Python<'py>,
        g: Vec<PyReadonlyArrayDyn<'py, f64>>,
        fits: Vec<usize>,
        entries: Vec<(usize, usize, usize)>,
        reml: bool,
    ) -> PyResult<Vec<Floats<'py>>> {
        let g = self.templates(&g, fits.len())?;
        let entries = self.entries(&entries, &g, true)?;
        self.check_fits(&fits)?;
        let all = self.run(py, fits.len(), |a| {
            self.0.likelihood_derivatives(fits[a], &g[a], &entries, reml)
        })?;
        let all = all.into_iter().map(|parts| parts.ok_or(())).collect();
        gather_likelihood(py, all, entries.len(), self.0.rank())
    }

    /// As `Reduction.information_second_derivatives`.
    #[pyo3(signature = (g, fit, entries, weights=None))]
    fn information_second_derivatives<'py>(
        &self,
        py: Python<'py>,
        g: Vec<PyReadonlyArrayDyn<'py, f64>>,
        fit: usize,
        entries: Vec<(usize, usize, usize)>,
        weights: Option<PyReadonlyArrayDyn<'py, f64>>,
    ) -> PyResult<Option<Floats<'py>>> {
        let g = self.templates(&g, 1)?;
        let entries = self.entries(&entries, &g, true)?;
        self.check_fits(&[fit])?;
        let (rank, n) = (self.0.rank(), entries.len());
        let sets = match &weights {
            Some(weights) => vec![c_slice("weights", weights, &[n, n])?.to_vec()],
            None => pair_weights(n),
        };
        let found =
            self.run(py, 1, |_| self.0.gram_second_derivatives(fit, &g[0], &entries, &sets))?;
        let Some(Some(sums)) = found.into_iter().next() else { return Ok(None) };
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

    /// By level of random effects, conditional means `(n, q)` and covariances `(n, q, q)` over
    /// `sigma^2`: of the units in code order, then of those that relationships add.
    #[allow(clippy::type_complexity)]
    fn conditional<'py>(
        &self,
        py: Python<'py>,
        g: Vec<PyReadonlyArrayDyn<'py, f64>>,
        fit: usize,
        beta: PyReadonlyArray1<'py, f64>,
    ) -> PyResult<Option<Vec<(Floats<'py>, Floats<'py>)>>> {
        let g = self.templates(&g, 1)?;
        self.check_fits(&[fit])?;
        let beta = vector("beta", &beta, self.0.rank())?;
        let e: Vec<f64> = beta.iter().map(|b| -b).chain([1.0]).collect();
        let found = self.run(py, 1, |_| self.0.conditional(fit, &g[0], &e))?;
        let Some(Some(levels)) = found.into_iter().next() else { return Ok(None) };
        let parts = levels.into_iter().enumerate().map(|(l, conditional)| {
            let (n, q) = (self.0.n_effects(l), self.0.q[l]);
            let mean = array(py, conditional.mean, &[n, q])?;
            Ok((mean, array(py, conditional.covariance, &[n, q, q])?))
        });
        Ok(Some(parts.collect::<PyResult<_>>()?))
    }

    /// As `CrossedReduction.prediction_error`, by level of random effects.
    fn prediction_error<'py>(
        &self,
        py: Python<'py>,
        g: Vec<PyReadonlyArrayDyn<'py, f64>>,
        fit: usize,
        codes: Vec<PyReadonlyArray1<'py, i32>>,
        z: Vec<PyReadonlyArrayDyn<'py, f64>>,
    ) -> PyResult<Option<(Floats<'py>, Floats<'py>)>> {
        let g = self.templates(&g, 1)?;
        self.check_fits(&[fit])?;
        if codes.len() != self.0.n_random() || z.len() != codes.len() || codes.is_empty() {
            return Err(PyValueError::new_err("codes and z need one array for each level"));
        }
        let m = codes[0].len();
        let codes: Vec<&[i32]> =
            codes.iter().map(|c| vector("codes", c, m)).collect::<PyResult<_>>()?;
        let z: Vec<&[f64]> = z
            .iter()
            .enumerate()
            .map(|(l, z)| c_slice("z", z, &[m, self.0.q[l]]))
            .collect::<PyResult<_>>()?;
        for (l, codes) in codes.iter().enumerate() {
            if codes.iter().any(|&c| c >= self.0.n_effects(l) as i32) {
                return Err(PyIndexError::new_err("no such unit"));
            }
        }
        let found = self.run(py, 1, |_| self.0.prediction(fit, &g[0], &codes, &z))?;
        let Some(Some((variance, shift))) = found.into_iter().next() else { return Ok(None) };
        Ok(Some((array(py, variance, &[m])?, array(py, shift, &[m, self.0.rank()])?)))
    }
}

impl MarginalReduction {
    /// One result a fit, `None` where V is not positive definite; large components
    /// use their threads inside each fit.
    fn run<T: Send>(
        &self,
        py: Python<'_>,
        n_fits: usize,
        one: impl Fn(usize) -> Result<T, NotPositiveDefinite> + Sync + Send,
    ) -> PyResult<Vec<Option<T>>> {
        without_gil(py, || {
            if n_fits > 1 && self.0.largest() < SMALL {
                return map_fits(n_fits, |a| one(a).ok());
            }
            (0..n_fits).map(|a| one(a).ok()).collect()
        })
    }

    /// G of each fit and level: `(a, q, q)`, or `(a, matrices, units or 1, q, q)` for the residual's.
    fn templates(
        &self,
        g: &[PyReadonlyArrayDyn<'_, f64>],
        a: usize,
    ) -> PyResult<Vec<Vec<Template>>> {
        if g.len() != self.0.q.len() {
            return Err(PyValueError::new_err("g needs one array for each level"));
        }
        let mut out: Vec<Vec<Template>> = (0..a).map(|_| Vec::with_capacity(g.len())).collect();
        for (l, array) in g.iter().enumerate() {
            let (q, shape) = (self.0.q[l], array.shape().to_vec());
            let units = [1, self.0.n_units[l]];
            let by_unit = l >= self.0.n_random() && shape.len() == 5 && units.contains(&shape[2]);
            let (kinds, blocks) = if by_unit { (shape[1], shape[2]) } else { (1, 1) };
            let wanted = if by_unit { vec![a, kinds, blocks, q, q] } else { vec![a, q, q] };
            let values = c_slice("g", array, &wanted)?;
            let size = kinds * blocks * q * q;
            for (f, levels) in out.iter_mut().enumerate() {
                let values = values[f * size..(f + 1) * size].to_vec();
                levels.push(Template { values, q, kinds, blocks });
            }
        }
        Ok(out)
    }

    fn entries(
        &self,
        entries: &[(usize, usize, usize)],
        g: &[Vec<Template>],
        derivatives: bool,
    ) -> PyResult<Vec<Entry>> {
        let sorted = entries.windows(2).all(|pair| pair[0].0 <= pair[1].0);
        let inside = |&(level, a, b): &(usize, usize, usize)| {
            self.0.q.get(level).is_some_and(|&q| a < q && b < q)
        };
        if !sorted || !entries.iter().all(inside) {
            return Err(PyValueError::new_err("entries must lie inside G, sorted by level"));
        }
        for template in g.iter().filter_map(|levels| levels.last()) {
            let t = entries.iter().filter(|e| e.0 + 1 == self.0.q.len()).count();
            let lacks = template.has_derivatives() && template.kinds != 1 + t + t * (t + 1) / 2;
            if derivatives && lacks {
                return Err(PyValueError::new_err("g lacks derivatives of the units' covariances"));
            }
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
