//! `Engine` as Python sees it: one class over every engine, of which each has a subclass that
//! constructs it and holds what it alone offers.

use std::sync::Arc;

use numpy::{PyReadonlyArray1, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::{PyIndexError, PyNotImplementedError, PyValueError};
use pyo3::prelude::*;

use super::arguments::{
    CovariancesArgument, EntriesArgument, OF_A_FIT, Points, check_fits, entries,
};
use super::arrays::{Floats, array, c_slice, vector};
use super::gateway::{require, without_gil};
use super::gather::{self, Effects, Evaluation, Solutions, definite, map_fits};
use crate::criterion::asked::{Asked, MOST_EFFECTS, Request};
use crate::criterion::engine::{self, At, OPTIONAL, Unsolved, Wanted};
use crate::criterion::sums::{Entry, RootWeight};

/// A reduced design; see the trait of this name in the crate's `criterion` module.
#[pyclass(frozen, subclass, module = "mlmfast._core")]
pub struct Engine(Arc<dyn engine::Engine>);

#[pymethods]
impl Engine {
    /// "nested", "crossed", "dense" or "iterative".
    #[getter]
    fn name(&self) -> &'static str {
        self.0.name()
    }

    /// Does a method that not all engines have answer here?
    fn offers(&self, name: &str) -> PyResult<bool> {
        if !OPTIONAL.contains(&name) {
            return Err(PyValueError::new_err(format!("{name} is none of {OPTIONAL:?}")));
        }
        Ok(!self.0.lacks().contains(&name))
    }

    /// Positions of the columns of X that were kept.
    #[getter]
    fn kept(&self) -> Vec<usize> {
        self.0.fixed().kept.clone()
    }

    /// Upper triangular R with X = Q R, `(rank, rank)`.
    #[getter]
    fn x_factor<'py>(&self, py: Python<'py>) -> PyResult<Floats<'py>> {
        let rank = self.0.fixed().rank();
        array(py, self.0.fixed().factor.clone(), &[rank, rank])
    }

    /// Q'y, `(n_fits, rank)`.
    #[getter]
    fn ols<'py>(&self, py: Python<'py>) -> PyResult<Floats<'py>> {
        array(py, self.0.fixed().ols.clone(), &[self.n_fits(), self.0.fixed().rank()])
    }

    /// Root mean square of the least squares residual, `(n_fits,)`.
    #[getter]
    fn y_scale<'py>(&self, py: Python<'py>) -> PyResult<Floats<'py>> {
        array(py, self.0.fixed().y_scale.clone(), &[self.n_fits()])
    }

    /// Residual sum of squares `(n_fits,)` outside the span of X and of random effects (in units of
    /// `y_scale`), and its degrees of freedom: all of them where factors are nested, else those of the
    /// factor with most.
    #[getter]
    fn within<'py>(&self, py: Python<'py>) -> PyResult<(Floats<'py>, usize)> {
        self.check_offered("within")?;
        let (rss, df) = gather::answered(self.0.within())?;
        Ok((array(py, rss, &[self.n_fits()])?, df))
    }

    /// Sums of products of least squares residuals (in units of `y_scale`) by pairs of visits, and
    /// the number of units that have both, `(n_visits, n_visits)` each.
    fn visit_moments<'py>(
        &self,
        py: Python<'py>,
        fit: usize,
    ) -> PyResult<(Floats<'py>, Floats<'py>)> {
        self.check_offered("visit_moments")?;
        check_fits(&[fit], self.n_fits())?;
        let (sums, counts) = gather::answered(self.0.visit_moments(fit))?;
        let k = (sums.len() as f64).sqrt() as usize;
        Ok((array(py, sums, &[k, k])?, array(py, counts, &[k, k])?))
    }

    /// By level, upper triangular B with z = (transformed z) B.
    #[getter]
    fn bases<'py>(&self, py: Python<'py>) -> PyResult<Vec<Floats<'py>>> {
        let levels = self.0.levels().into_iter();
        levels.map(|(q, basis)| array(py, basis.to_vec(), &[q, q])).collect()
    }

    /// Two numbers that the cost grows with. Nested: distinct patterns, and blocks an iteration
    /// visits; crossed, iterative: units of the leading factor, and effects of the others; dense:
    /// components, and rows of the largest.
    #[getter]
    fn size(&self) -> (usize, usize) {
        self.0.size()
    }

    /// -2 log-likelihood `(a,)`; with `derivatives` its gradient, Hessian and expected Hessian too.
    ///
    /// Both Hessians are the average information where exact ones would cost far more than a
    /// factorisation, unless `exact` asks for them, and always where traces are estimated.
    #[pyo3(signature = (g, fits, entries, reml, derivatives, exact=false))]
    #[allow(clippy::too_many_arguments)] // a point and what is wanted there
    fn evaluate<'py>(
        &self,
        py: Python<'py>,
        g: CovariancesArgument<'py>,
        fits: Vec<usize>,
        entries: EntriesArgument,
        reml: bool,
        derivatives: bool,
        exact: bool,
    ) -> PyResult<Evaluation<'py>> {
        let entries = self::entries(&*self.0, &entries)?;
        if derivatives {
            let asked = (Asked::Criteria, None, reml);
            if let Some(found) = self.small(py, &g, &fits, Some(&entries), asked)? {
                return gather::small_criteria(py, found, fits.len(), entries.len());
            }
        }
        let points = self.points(&g, &fits)?;
        if derivatives {
            self.check_derivatives(&points, &entries)?;
        }
        let (a, n) = (fits.len(), entries.len());
        require(a * (OF_A_FIT + n + 2 * n * n))?;
        let wanted = Wanted { reml, derivatives, exact: self.0.is_exact(&points.g, exact) };
        let all = self.run(py, &points, &fits, |at| self.0.evaluate(at, &entries, wanted))?;
        gather::criteria(py, all, n)
    }

    /// -2 log-likelihood `(a,)` and its gradient `(a, n)` by entries, without second derivatives.
    fn gradient<'py>(
        &self,
        py: Python<'py>,
        g: CovariancesArgument<'py>,
        fits: Vec<usize>,
        entries: EntriesArgument,
        reml: bool,
    ) -> PyResult<(Floats<'py>, Floats<'py>)> {
        let entries = self::entries(&*self.0, &entries)?;
        let points = self.points(&g, &fits)?;
        self.check_derivatives(&points, &entries)?;
        let all = self.run(py, &points, &fits, |at| self.0.gradient(at, &entries, reml))?;
        gather::gradients(py, all, entries.len())
    }

    /// Generalised least squares of each fit: beta `(a, rank)`, C `(a, rank, rank)` and, `(a, 3)`, rss,
    /// log|W| and log|X'W^-1 X|; NaN where W is not positive definite.
    fn solve<'py>(
        &self,
        py: Python<'py>,
        g: CovariancesArgument<'py>,
        fits: Vec<usize>,
    ) -> PyResult<Solutions<'py>> {
        let rank = self.0.fixed().rank();
        if let Some(found) = self.small(py, &g, &fits, None, (Asked::Solutions, None, false))? {
            return gather::small_solutions(py, found, fits.len(), rank);
        }
        let points = self.points(&g, &fits)?;
        gather::solutions(py, self.run(py, &points, &fits, |at| self.0.solve(at))?, rank)
    }

    /// log|V| (with log|X'V^-1 X| for REML) and y'Py at `sigma^2` = 1: first derivatives `(a, n)` and
    /// second derivatives `(a, n, n)` of each by entries, in the order log-determinants, y'Py; then
    /// the derivatives of X'V^-1 X, `(a, n, rank, rank)`, its inverse `(a, rank, rank)` and y'Py
    /// `(a,)`; NaN where V is not positive definite. Without `exact` second derivatives of the
    /// log-determinants that cost far more than a factorisation are not formed.
    #[pyo3(signature = (g, fits, entries, reml, exact=true))]
    fn likelihood_derivatives<'py>(
        &self,
        py: Python<'py>,
        g: CovariancesArgument<'py>,
        fits: Vec<usize>,
        entries: EntriesArgument,
        reml: bool,
        exact: bool,
    ) -> PyResult<Vec<Floats<'py>>> {
        self.check_offered("likelihood_derivatives")?;
        let entries = self::entries(&*self.0, &entries)?;
        let (n, rank) = (entries.len(), self.0.fixed().rank());
        let asked = (Asked::Likelihood, None, reml);
        if let Some(found) = self.small(py, &g, &fits, Some(&entries), asked)? {
            return gather::small_likelihood(py, found, fits.len(), n, rank);
        }
        let points = self.points(&g, &fits)?;
        self.check_derivatives(&points, &entries)?;
        require(2 * fits.len() * (OF_A_FIT + 2 * n * n + (n + 1) * rank * rank))?;
        let wanted = Wanted { reml, derivatives: true, exact };
        let one = |at: At| self.0.likelihood_derivatives(at, &entries, wanted);
        gather::likelihood(py, self.run(py, &points, &fits, one)?, n, rank)
    }

    /// Derivatives of X'W^-1 X by entries, `(n_entries, rank, rank)`; `None` where W is not positive
    /// definite.
    fn information_derivatives<'py>(
        &self,
        py: Python<'py>,
        g: CovariancesArgument<'py>,
        fit: usize,
        entries: EntriesArgument,
    ) -> PyResult<Option<Floats<'py>>> {
        let (points, entries) = (self.points(&g, &[fit])?, self::entries(&*self.0, &entries)?);
        let one = || self.0.information_derivatives(points.at(0, fit), &entries);
        let Some(values) = definite(without_gil(py, one)?)? else { return Ok(None) };
        let rank = self.0.fixed().rank();
        Ok(Some(array(py, values, &[entries.len(), rank, rank])?))
    }

    /// Second derivatives of X'V^-1 X by entries, `(n_entries, n_entries, rank, rank)`; with
    /// `weights`, `(n_entries, n_entries)` and symmetric, their weighted sum `(rank, rank)` instead,
    /// which costs much less. `None` where V is not positive definite.
    #[pyo3(signature = (g, fit, entries, weights=None))]
    fn information_second_derivatives<'py>(
        &self,
        py: Python<'py>,
        g: CovariancesArgument<'py>,
        fit: usize,
        entries: EntriesArgument,
        weights: Option<PyReadonlyArrayDyn<'py, f64>>,
    ) -> PyResult<Option<Floats<'py>>> {
        self.check_offered("information_second_derivatives")?;
        let (points, entries) = (self.points(&g, &[fit])?, self::entries(&*self.0, &entries)?);
        self.check_derivatives(&points, &entries)?;
        let (rank, n) = (self.0.fixed().rank(), entries.len());
        let weights = weights.as_ref().map(|w| c_slice("weights", w, &[n, n])).transpose()?;
        let one = || self.0.information_second_derivatives(points.at(0, fit), &entries, weights);
        let Some(values) = definite(without_gil(py, one)?)? else { return Ok(None) };
        let shape = [n, n, rank, rank];
        Ok(Some(array(py, values, if weights.is_some() { &shape[2..] } else { &shape })?))
    }

    /// Of each fit the weighted sum of second derivatives of X'V^-1 X, `(a, rank, rank)`, with
    /// `weights` `(a, n_entries, n_entries)`, symmetric; NaN where V is not positive definite.
    fn information_second_sums<'py>(
        &self,
        py: Python<'py>,
        g: CovariancesArgument<'py>,
        fits: Vec<usize>,
        entries: EntriesArgument,
        weights: PyReadonlyArrayDyn<'py, f64>,
    ) -> PyResult<Floats<'py>> {
        self.check_offered("information_second_derivatives")?;
        let entries = self::entries(&*self.0, &entries)?;
        let (rank, n) = (self.0.fixed().rank(), entries.len());
        let weights = c_slice("weights", &weights, &[fits.len(), n, n])?;
        let asked = (Asked::SecondSums, Some(weights), false);
        if let Some(mut found) = self.small(py, &g, &fits, Some(&entries), asked)? {
            return array(py, found.remove(0), &[fits.len(), rank, rank]);
        }
        let points = self.points(&g, &fits)?;
        self.check_derivatives(&points, &entries)?;
        let one = |k: usize| {
            let own = &weights[k * n * n..(k + 1) * n * n];
            self.0.information_second_derivatives(points.at(k, fits[k]), &entries, Some(own))
        };
        gather::second_sums(py, without_gil(py, || map_fits(fits.len(), one))?, rank)
    }

    /// What the rows of a part add to the sums over all of them: [X y]'V^-1 [X y] `(w, w)`, lower
    /// triangle, w = rank + 1, and log|V| `(1,)`. `None` where V is not positive definite.
    fn part_values<'py>(
        &self,
        py: Python<'py>,
        g: CovariancesArgument<'py>,
        fit: usize,
    ) -> PyResult<Option<Vec<Floats<'py>>>> {
        let points = self.points(&g, &[fit])?;
        let one = || self.0.sums(points.at(0, fit), &[], None);
        let Some(sums) = definite(without_gil(py, one)?)? else { return Ok(None) };
        let w = self.0.fixed().rank() + 1;
        Ok(Some(vec![array(py, sums.gram, &[w, w])?, array(py, vec![sums.logdet], &[1])?]))
    }

    /// What the rows of a part add to derivatives by entries: those of [X y]'V^-1 [X y]
    /// `(n, w, w)` and of log|V| `(n,)`, and second ones `(n, n)`, of log|V| + tr(C X'V^-1 X) and of
    /// e'[X y]'V^-1 [X y] e; lower triangles. C `(rank, rank)` is `None` for ML. `None` where V is not
    /// positive definite.
    fn part_derivatives<'py>(
        &self,
        py: Python<'py>,
        g: CovariancesArgument<'py>,
        fit: usize,
        entries: EntriesArgument,
        e: PyReadonlyArray1<'py, f64>,
        c: Option<PyReadonlyArrayDyn<'py, f64>>,
    ) -> PyResult<Option<Vec<Floats<'py>>>> {
        let (points, entries) = (self.points(&g, &[fit])?, self::entries(&*self.0, &entries)?);
        self.check_derivatives(&points, &entries)?;
        let (n, rank) = (entries.len(), self.0.fixed().rank());
        let w = rank + 1;
        let c = c.as_ref().map(|c| c_slice("c", c, &[rank, rank])).transpose()?;
        let root = RootWeight { c: c.map(<[f64]>::to_vec), e: vector("e", &e, w)?.to_vec() };
        let one = || self.0.sums(points.at(0, fit), &entries, Some(&root));
        let Some(sums) = definite(without_gil(py, one)?)? else { return Ok(None) };
        Ok(Some(vec![
            array(py, sums.gram_by, &[n, w, w])?,
            array(py, sums.logdet_by, &[n])?,
            array(py, sums.hessian, &[n, n])?,
            array(py, sums.hessian_rss, &[n, n])?,
        ]))
    }

    /// By level, conditional means `(n_units, q)` and covariances `(n_units, q, q)` over `sigma^2`
    /// of the random effects: of the units in their order, then of those that relationships add. A
    /// nested design needs `share=False`. `None` where V is not positive definite.
    fn conditional<'py>(
        &self,
        py: Python<'py>,
        g: CovariancesArgument<'py>,
        fit: usize,
        beta: PyReadonlyArray1<'py, f64>,
    ) -> PyResult<Option<Effects<'py>>> {
        self.check_offered("conditional")?;
        let points = self.points(&g, &[fit])?;
        let beta = vector("beta", &beta, self.0.fixed().rank())?;
        let e: Vec<f64> = beta.iter().map(|b| -b).chain([1.0]).collect();
        let one = || self.0.conditional(points.at(0, fit), &e);
        let Some(levels) = definite(without_gil(py, one)?)? else { return Ok(None) };
        Ok(Some(gather::effects(py, levels, &self.0.levels())?))
    }

    /// Variance `(m,)` over `sigma^2` of sums z'g given the data, beta known, and z'G Z'W^-1 X,
    /// `(m, rank)`; per level of random effects the unit of each row (negative: not in the data) and
    /// its columns of z in the reduction's basis, `(m, q)`.
    fn prediction_error<'py>(
        &self,
        py: Python<'py>,
        g: CovariancesArgument<'py>,
        fit: usize,
        codes: Vec<PyReadonlyArray1<'py, i32>>,
        z: Vec<PyReadonlyArrayDyn<'py, f64>>,
    ) -> PyResult<Option<(Floats<'py>, Floats<'py>)>> {
        self.check_offered("prediction_error")?;
        let (points, n_units) = (self.points(&g, &[fit])?, self.0.n_units());
        if codes.is_empty() || codes.len() != n_units.len() || z.len() != codes.len() {
            return Err(PyValueError::new_err("codes and z need one array for each level"));
        }
        let m = codes[0].len();
        let codes: Vec<&[i32]> =
            codes.iter().map(|c| vector("codes", c, m)).collect::<PyResult<_>>()?;
        let levels = self.0.levels();
        let columns = |(z, level): (_, &(usize, _))| c_slice("z", z, &[m, level.0]);
        let z: Vec<&[f64]> = z.iter().zip(&levels).map(columns).collect::<PyResult<_>>()?;
        let beyond = |(codes, &n): (&&[i32], &usize)| codes.iter().any(|&c| c >= n as i32);
        if codes.iter().zip(&n_units).any(beyond) {
            return Err(PyIndexError::new_err("no such unit"));
        }
        let one = || self.0.prediction_error(points.at(0, fit), &codes, &z);
        let Some((variance, shift)) = definite(without_gil(py, one)?)? else { return Ok(None) };
        Ok(Some((array(py, variance, &[m])?, array(py, shift, &[m, self.0.fixed().rank()])?)))
    }
}

impl Engine {
    /// The part of an engine's own class that all share.
    pub fn of(engine: &Arc<impl engine::Engine + 'static>) -> Self {
        Self(Arc::clone(engine) as Arc<dyn engine::Engine>)
    }

    /// What is asked of fits of a small design, without a buffer a fit; `None` for other designs.
    fn small(
        &self,
        py: Python<'_>,
        g: &CovariancesArgument<'_>,
        fits: &[usize],
        entries: Option<&[Entry]>,
        (asked, weights, reml): (Asked, Option<&[f64]>, bool),
    ) -> PyResult<Option<Vec<Vec<f64>>>> {
        let ([g], [(q, _)]) = (&g[..], &self.0.levels()[..]) else { return Ok(None) };
        if *q > MOST_EFFECTS || g.shape() != [fits.len(), *q, *q] || fits.is_empty() {
            return Ok(None);
        }
        check_fits(fits, self.n_fits())?;
        let g = c_slice("g", g, &[fits.len(), *q, *q])?;
        require(2 * fits.len() * asked.sizes(*q, self.0.fixed().rank()).iter().sum::<usize>())?;
        let request = Request { asked, g, weights: weights.unwrap_or(&[]), reml };
        without_gil(py, || self.0.small_results(fits, entries, request))
    }

    fn check_offered(&self, method: &str) -> PyResult<()> {
        if self.0.lacks().contains(&method) {
            let name = self.0.name();
            return Err(PyNotImplementedError::new_err(format!(
                "the {name} engine does not offer {method} for this design"
            )));
        }
        Ok(())
    }

    fn n_fits(&self) -> usize {
        self.0.fixed().y_scale.len()
    }

    /// G of some fits.
    pub fn points(&self, g: &CovariancesArgument<'_>, fits: &[usize]) -> PyResult<Points> {
        check_fits(fits, self.n_fits())?;
        Points::new(&*self.0, g, fits.len())
    }

    fn check_derivatives(&self, points: &Points, entries: &[Entry]) -> PyResult<()> {
        if (0..points.g.len()).any(|k| !self.0.has_derivatives(points.at(k, 0), entries)) {
            return Err(PyValueError::new_err("g lacks derivatives of the units' covariances"));
        }
        Ok(())
    }

    /// One result a fit, up to one that does not converge; large designs use their threads inside each
    /// fit.
    fn run<T: Send>(
        &self,
        py: Python<'_>,
        points: &Points,
        fits: &[usize],
        one: impl Fn(At) -> Result<T, Unsolved> + Sync + Send,
    ) -> PyResult<Vec<Result<T, Unsolved>>> {
        let one = |k: usize| one(points.at(k, fits[k]));
        without_gil(py, || {
            if !self.0.is_large() {
                return map_fits(fits.len(), one);
            }
            let mut out = Vec::new();
            let is_lost = |last: Option<&_>| matches!(last, Some(Err(Unsolved::NotConverged(..))));
            while out.len() < fits.len() && !is_lost(out.last()) {
                out.push(one(out.len()));
            }
            out
        })
    }
}
