//! The numbers of a printed summary of a small fit, from its end, in one go.
//!
//! Each step is that by which the fit's record, its tests and its residuals are made where they are
//! asked for one by one, and has the same bits, but for the sums over rows of [`row_residuals`] and
//! those over covariance parameters in degrees of freedom.
//!
//! [`row_residuals`]: super::row_residuals

use super::elimination::{is_small, small_results};
use super::reduction::Reduction;
use super::row_residuals::{Rows, quartiles};
use crate::criterion::asked::{Asked, Request};
use crate::criterion::bases::{self, bases};
use crate::criterion::estimates::{Scaled, Solved, coefficients, covariances, maps};
use crate::newton::{MOST, unstructured};
use crate::rows::columns::Column;

/// What a summary says of a fit, in the user's units.
pub struct Report {
    /// Coefficients, and their covariances `rank` squared.
    pub coefficients: [Vec<f64>; 2],
    /// Satterthwaite's degrees of freedom of each.
    pub degrees: Vec<f64>,
    /// Residual variance.
    pub sigma2: f64,
    /// G, `q` squared.
    pub covariance: Vec<f64>,
    /// y'Py over `sigma^2`, log|V|, log|X'V^-1 X|, in the core's coordinates.
    pub sums: Vec<f64>,
    /// Scale of the response, and pivots of X, by which the likelihood comes to the user's units.
    pub scales: Vec<f64>,
    /// Smallest, quartiles and largest of the residuals over their standard deviation.
    pub quartiles: [f64; 5],
    /// Number of rows of the smallest unit, of the largest, and their median.
    pub sizes: [f64; 3],
}

/// The report of a fit at theta, G = L L' with L by rows the only covariance of the design.
///
/// `None` for designs that are not small or not of one response, columns that are left out, parameters
/// that the data may not identify, and residuals that need a better way.
#[must_use]
pub fn report(reduction: &Reduction, theta: &[f64], rows: Rows, reml: bool) -> Option<Report> {
    let (n, rank) = (theta.len(), rows.x.len());
    let alone = is_small(reduction) && reduction.n_fits == 1 && reduction.rank() == rank;
    if !alone || rank == 0 || n >= MOST || rows.codes.len() != reduction.n_rows {
        return None;
    }
    let level = &reduction.levels[0];
    let q = level.q;
    if q > unstructured::MOST || n != q * (q + 1) / 2 || rows.z.len() != q {
        return None;
    }
    let g = unstructured::matrices_of(q, 1, theta);
    let ask = |asked, reml| {
        small_results(&[(reduction, 0)], Request { asked, g: &g, weights: &[], reml })
    };
    let [beta, c, sums] = take(ask(Asked::Solutions, false))?;
    let degrees = (reduction.n_rows - if reml { rank } else { 0 }) as f64;
    let unit = reduction.fixed.y_scale[0] / rows.y.scale;
    let sigma2 = sums[0] / degrees * (unit * unit);
    let fixed = map_of(&reduction.fixed.factor, rows.x);
    let constant = rows.x.iter().position(|x| x.values.is_none());
    let solved = Solved {
        maps: &fixed,
        coefficients: [&reduction.fixed.ols, &beta],
        c: &c,
        scale: [&[rows.y.scale], &[unit]],
        center: &[rows.y.center],
        sigma2: &[sigma2],
    };
    let [beta, vcov] = coefficients(rank, constant.filter(|_| rows.y.center != 0.0), solved);
    let effects = map_of(&level.basis, rows.z);
    let parts: [Vec<f64>; 7] = take(ask(Asked::Likelihood, reml))?;
    let own: Vec<f64> = fixed.iter().map(|k| unit * k).collect();
    let tests = tested(&parts, &lower(&g, q), &own, degrees, &vcov)?;
    let sigma = sigma2.sqrt();
    let mut left = rows.residuals(&beta, theta, &level.basis)?;
    left.iter_mut().for_each(|e| *e /= sigma);
    let pivots = (0..rank).map(|j| reduction.fixed.factor[j * rank + j].abs());
    let scales = std::iter::once(reduction.fixed.y_scale[0]).chain(pivots);
    let found = Report {
        coefficients: [beta, vcov],
        degrees: tests,
        sigma2,
        covariance: covariances(q, &effects, &g, &[sigma2]),
        sums,
        scales: scales.collect(),
        quartiles: quartiles(left),
        sizes: rows.sizes(),
    };
    let [beta, vcov] = &found.coefficients;
    let all = beta.iter().chain(vcov).chain(&found.covariance).chain(&found.quartiles);
    (sigma2 > 0.0 && all.chain([&sigma2]).all(|value| value.is_finite())).then_some(found)
}

/// Results of a known number.
fn take<const N: usize>(all: Vec<Vec<f64>>) -> Option<[Vec<f64>; N]> {
    all.try_into().ok()
}

/// K of some columns, see [`maps`].
fn map_of(factor: &[f64], columns: &[Column]) -> Vec<f64> {
    let of = |part: fn(&Column) -> f64| columns.iter().map(part).collect::<Vec<f64>>();
    let (center, scale) = (of(|column| column.center), of(|column| column.scale));
    let constant = columns.iter().position(|column| column.values.is_none());
    maps(columns.len(), 1, Scaled { factor, center: &center, scale: &scale, constant })
}

/// Degrees of freedom 2 v^2 / (g'W g) of the variance v of each coefficient, g its derivatives.
///
/// `None` where parameters may not be identified, and for a variance that does not move with them.
fn tested(
    [logdet, logdet2, rss, rss2, information, c, total]: &[Vec<f64>; 7],
    gamma: &[f64],
    maps: &[f64],
    degrees: f64,
    vcov: &[f64],
) -> Option<Vec<f64>> {
    let rank = (vcov.len() as f64).sqrt() as usize;
    let at = bases::At {
        logdet: [logdet, logdet2],
        rss: [rss, rss2],
        information,
        c,
        total,
        gamma,
        maps,
        degrees: &[degrees],
    };
    let [gradient, covariance, usable] = bases(gamma.len(), rank, at);
    if usable[0] == 0.0 {
        return None;
    }
    let m = gamma.len() + 1;
    let of_one = |j: usize| {
        let slope = |k: usize| gradient[k * rank * rank + j * rank + j];
        let along = |k: usize| (0..m).fold(0.0, |sum, l| sum + slope(l) * covariance[l * m + k]);
        let spread = (0..m).fold(0.0, |sum, k| sum + along(k) * slope(k));
        let v = vcov[j * rank + j];
        (spread > 0.0).then(|| 2.0 * (v * v) / spread).filter(|degrees| degrees.is_finite())
    };
    (0..rank).map(of_one).collect()
}

/// Lower triangle of a matrix of order `q`, row by row.
fn lower(g: &[f64], q: usize) -> Vec<f64> {
    (0..q).flat_map(|a| (0..=a).map(move |b| g[a * q + b])).collect()
}
