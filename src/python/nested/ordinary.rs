//! Ordinary Newton steps of nested designs as Python sees them.

use numpy::{PyReadonlyArray1, PyReadonlyArrayDyn};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::super::arrays::{Floats, array, c_slice, vector};
use super::super::gateway::{require, without_gil};
use crate::criterion::asked::{Asked, Request};
use crate::criterion::engine::{At, Engine, Wanted};
use crate::criterion::sums::Entry;
use crate::nested::elimination::{is_lower, is_small, small_results};
use crate::nested::reduction::Reduction;
use crate::newton::blocks::Block;
use crate::newton::from_zero::{Ends, whole_fit};
use crate::newton::ordinary::{Fits, Found, Model, Settings, ordinary_steps, width};
use crate::newton::{MOST, unstructured};

/// theta `(a, t)`; criteria there, `(a,)`, `(a, t)`, `(a, t, t)` twice, or `None`; the last step
/// `(a, t)`, how many went that way `(a,)`, how far to go along the next scoring step `(a,)` and how
/// many steps are left `(a,)`.
pub type Start<'py> = (
    PyReadonlyArrayDyn<'py, f64>,
    Option<[PyReadonlyArrayDyn<'py, f64>; 4]>,
    PyReadonlyArrayDyn<'py, f64>,
    PyReadonlyArray1<'py, i64>,
    PyReadonlyArray1<'py, f64>,
    PyReadonlyArray1<'py, i64>,
);

/// Level, first row and order of unstructured covariances.
pub type Blocks = Vec<(usize, usize, usize)>;

/// See [`Designs::whole_fit`].
pub type EndsArgument = (usize, f64, f64, f64, i64);

/// Numbers of each fit, a row a fit, as `newton::ordinary::Outcomes` has them; how each stands.
pub type Outcomes<'py> = (Floats<'py>, Vec<u8>);

/// Reductions of one structure, and where each fit stands among them.
pub struct Designs<'a, F> {
    /// One of them.
    pub first: &'a Reduction,
    /// The reduction of a fit, and its response there.
    pub place: F,
    /// The restricted likelihood?
    pub reml: bool,
}

impl<'a, F: Fn(usize) -> (&'a Reduction, usize) + Sync + Send> Designs<'a, F> {
    /// Steps of some fits; `settings` are tolerance, floor, near and flat. `None` for a residual
    /// covariance.
    pub fn steps<'py>(
        &self,
        py: Python<'py>,
        blocks: &Blocks,
        fits: &[usize],
        start: &Start<'py>,
        (tolerance, floor, near, flat): (f64, f64, f64, f64),
    ) -> PyResult<Option<Outcomes<'py>>> {
        if self.first.levels.iter().any(|level| level.is_residual || level.series.is_some()) {
            return Ok(None);
        }
        let levels: Vec<usize> = self.first.levels.iter().map(|level| level.q).collect();
        let blocks = self::blocks(blocks, &levels)?;
        let t = blocks.iter().map(|block| block.order * (block.order + 1) / 2).sum();
        let from = self::fits(fits, start, t)?;
        let entries = entries(&blocks);
        let criteria = |fits: &[usize], g: &[Vec<f64>]| self.criteria(fits, g, &entries);
        let model = Model { blocks: &blocks, levels: &levels, criteria };
        let settings = Settings { tolerance, floor, near, flat };
        let found = without_gil(py, || ordinary_steps(&model, &from, settings))?;
        let stands = found.stands.iter().map(|&stand| stand as u8).collect();
        Ok(Some((array(py, found.numbers, &[fits.len(), width(t)])?, stands)))
    }

    /// Numbers of a whole fit; `ends` are levels of the factor with fewest, the share of information
    /// worth a look, the start's lift, small eigenvalues of the end, and the most steps. `None` where
    /// anything but ordinary steps is asked for.
    pub fn whole_fit<'py>(
        &self,
        py: Python<'py>,
        blocks: &Blocks,
        fit: usize,
        (tolerance, floor, near, flat): (f64, f64, f64, f64),
        (n_levels, suspect, lift, small, most): EndsArgument,
    ) -> PyResult<Option<Floats<'py>>> {
        if self.first.levels.iter().any(|level| level.is_residual || level.series.is_some()) {
            return Ok(None);
        }
        let levels: Vec<usize> = self.first.levels.iter().map(|level| level.q).collect();
        let blocks = self::blocks(blocks, &levels)?;
        let entries = entries(&blocks);
        let criteria = |fits: &[usize], g: &[Vec<f64>]| self.criteria(fits, g, &entries);
        let model = Model { blocks: &blocks, levels: &levels, criteria };
        let settings = Settings { tolerance, floor, near, flat };
        let found = without_gil(py, || {
            let (reduction, place) = (self.place)(fit);
            let (rss, degrees) = reduction.within();
            // Few degrees of freedom tell little.
            let few = degrees < 3;
            let within = if few { 0.5 } else { (rss[place] / degrees as f64).max(1e-300) };
            let ends = Ends { n_levels, suspect, within, lift, small, most };
            whole_fit(&model, fit, settings, ends)
        })?;
        let width = width(blocks.iter().map(|block| block.order * (block.order + 1) / 2).sum());
        found.map(|numbers| array(py, numbers, &[1, width])).transpose()
    }

    /// Criteria of some fits at G by level.
    fn criteria(&self, fits: &[usize], g: &[Vec<f64>], entries: &[Entry]) -> Found {
        let all: Vec<(&Reduction, usize)> = fits.iter().map(|&fit| (self.place)(fit)).collect();
        if is_small(self.first) && is_lower(entries, self.first.levels[0].q) {
            let (asked, reml) = (Asked::Criteria, self.reml);
            let found = small_results(&all, Request { asked, g: &g[0], weights: &[], reml });
            return found.try_into().unwrap_or_else(|_| unreachable!("four were asked for"));
        }
        let wanted = Wanted { reml: self.reml, derivatives: true, exact: true };
        let mut out: Found = Default::default();
        for (k, (reduction, fit)) in all.into_iter().enumerate() {
            let size = |g: &Vec<f64>| g.len() / fits.len();
            let own: Vec<Vec<f64>> =
                g.iter().map(|g| g[k * size(g)..(k + 1) * size(g)].to_vec()).collect();
            let at = At { fit, g: &own, shapes: &[] };
            let Ok(found) = reduction.evaluate(at, entries, wanted) else {
                unreachable!("nested elimination has an answer")
            };
            out[0].push(found.value);
            out[1].extend(found.gradient);
            out[2].extend(found.hessian);
            out[3].extend(found.expected);
        }
        out
    }
}

fn blocks(argument: &Blocks, levels: &[usize]) -> PyResult<Vec<Block>> {
    let inside = |&(level, first, order): &(usize, usize, usize)| {
        (1..=unstructured::MOST).contains(&order)
            && levels.get(level).is_some_and(|&q| first + order <= q)
    };
    let t: usize = argument.iter().map(|block| block.2 * (block.2 + 1) / 2).sum();
    let sorted = argument.windows(2).all(|pair| pair[0].0 <= pair[1].0);
    if !argument.iter().all(inside) || !sorted || !(1..=MOST).contains(&t) {
        return Err(PyValueError::new_err("blocks are none of the design"));
    }
    Ok(argument.iter().map(|&(level, first, order)| Block { level, first, order }).collect())
}

/// Entries of the blocks, lower triangles row by row.
fn entries(blocks: &[Block]) -> Vec<Entry> {
    let of_block = |block: &Block| {
        let Block { level, first, order } = *block;
        let place = move |a, b| Entry { level, a: first + a, b: first + b };
        (0..order).flat_map(move |a| (0..=a).map(move |b| place(a, b)))
    };
    blocks.iter().flat_map(of_block).collect()
}

fn fits<'a>(fits: &'a [usize], start: &'a Start<'_>, t: usize) -> PyResult<Fits<'a>> {
    let (a, (theta, known, way, run, stretch, left)) = (fits.len(), start);
    let known = match known {
        None => None,
        Some([value, gradient, hessian, expected]) => Some([
            c_slice("value", value, &[a])?,
            c_slice("gradient", gradient, &[a, t])?,
            c_slice("hessian", hessian, &[a, t, t])?,
            c_slice("expected", expected, &[a, t, t])?,
        ]),
    };
    require(2 * a * width(t))?;
    Ok(Fits {
        fits,
        theta: c_slice("theta", theta, &[a, t])?,
        known,
        way: c_slice("way", way, &[a, t])?,
        run: counts("run", run, a)?,
        stretch: vector("stretch", stretch, a)?,
        left: counts("left", left, a)?,
    })
}

fn counts<'a>(name: &str, array: &'a PyReadonlyArray1<'_, i64>, n: usize) -> PyResult<&'a [i64]> {
    let values = vector(name, array, n)?;
    if values.iter().any(|&value| value < 0) {
        return Err(PyValueError::new_err(format!("{name} has negative numbers")));
    }
    Ok(values)
}
