//! Estimates in the user's units, of many fits: see `fitted/estimates.py`.

use crate::linalg::small::{product, transpose};
use crate::newton::by_fit;

/// Columns as the core has them, of one design or of each.
#[derive(Clone, Copy)]
pub struct Scaled<'a> {
    /// Upper triangles R with (centred and scaled columns) = (orthonormal ones) R, `p` squared each.
    pub factor: &'a [f64],
    /// What was subtracted, `p` numbers each; 0 where there is no constant column.
    pub center: &'a [f64],
    /// What the rest was multiplied by, `p` numbers each.
    pub scale: &'a [f64],
    /// The constant column.
    pub constant: Option<usize>,
}

/// K of `n` designs: coefficients of the user's columns are K times those of the orthonormal ones.
///
/// K R = S, S what centring and scaling do to coefficients.
#[must_use]
pub fn maps(p: usize, n: usize, of: Scaled) -> Vec<f64> {
    let [maps] = by_fit(n, [p * p], |k, [out]| {
        let own = |all: &'_ [f64], size: usize| all[k * size..(k + 1) * size].to_vec();
        let (factor, center, scale) = (own(of.factor, p * p), own(of.center, p), own(of.scale, p));
        for j in 0..p {
            out[j * p + j] = scale[j];
        }
        if let Some(constant) = of.constant {
            for j in (0..p).filter(|&j| center[j] != 0.0) {
                out[constant * p + j] -= scale[j] * center[j];
            }
        }
        for row in out.chunks_exact_mut(p.max(1)) {
            for j in 0..p {
                row[j] /= factor[j * p + j];
                let (done, rest) = row.split_at_mut(j + 1);
                let above = &factor[j * p + j + 1..(j + 1) * p];
                rest.iter_mut().zip(above).for_each(|(to, r)| *to -= done[j] * r);
            }
        }
    });
    maps
}

/// What generalised least squares says of some fits.
#[derive(Clone, Copy)]
pub struct Solved<'a> {
    /// K of one design or of each, see [`maps`].
    pub maps: &'a [f64],
    /// Coefficients of ordinary least squares, and what is added to them in units of `unit`.
    pub coefficients: [&'a [f64]; 2],
    /// Their covariance over `sigma^2`.
    pub c: &'a [f64],
    /// By what responses were multiplied, and the unit of the rest.
    pub scale: [&'a [f64]; 2],
    /// What was subtracted from responses.
    pub center: &'a [f64],
    /// `sigma^2`.
    pub sigma2: &'a [f64],
}

/// Coefficients, `p` numbers a fit, and their covariances; `constant` takes up what was subtracted.
#[must_use]
pub fn coefficients(p: usize, constant: Option<usize>, at: Solved) -> [Vec<f64>; 2] {
    by_fit(at.sigma2.len(), [p, p * p], |k, [beta, vcov]| {
        let map = one_of(at.maps, p * p, k);
        let [ols, more] = at.coefficients.map(|all| &all[k * p..(k + 1) * p]);
        let [scale, unit] = at.scale.map(|all| all[k]);
        let core: Vec<f64> = ols.iter().zip(more).map(|(a, b)| a / scale + unit * b).collect();
        beta.copy_from_slice(&product(map, &core, p, p, 1));
        if let Some(constant) = constant {
            beta[constant] += at.center[k];
        }
        turned(p, map, one_of(at.c, p * p, k), at.sigma2[k], vcov);
    })
}

/// G of some fits, of order `q`, from the core's coordinates: `sigma^2` K G K', as symmetric as G.
#[must_use]
pub fn covariances(q: usize, maps: &[f64], g: &[f64], sigma2: &[f64]) -> Vec<f64> {
    let [found] = by_fit(sigma2.len(), [q * q], |k, [out]| {
        turned(q, one_of(maps, q * q, k), &g[k * q * q..(k + 1) * q * q], sigma2[k], out);
    });
    found
}

/// The k-th of some matrices, or the only one.
fn one_of(all: &[f64], size: usize, k: usize) -> &[f64] {
    if all.len() == size { all } else { &all[k * size..(k + 1) * size] }
}

/// s K A K', symmetric, for a symmetric A.
fn turned(p: usize, map: &[f64], a: &[f64], s: f64, out: &mut [f64]) {
    let half = product(map, a, p, p, p);
    let whole = product(&half, &transpose(map, p, p), p, p, p);
    for i in 0..p {
        for j in 0..p {
            out[i * p + j] = s * (0.5 * (whole[i * p + j] + whole[j * p + i]));
        }
    }
}
