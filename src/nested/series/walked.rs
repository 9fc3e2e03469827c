//! Series whose covariance needs a recursion along the rows: rank-one quasi-separable matrices.
//!
//! Off the diagonal corr(i, j) = `a_i` (product of b over the steps between) with 1 on it, where a
//! and b belong to the step that leads to a row. Its factor L D L' follows from scalars S, D, k, and
//! L^-1 y from a vector F that a series carries along (the innovations of a state-space model;
//! Foreman-Mackey et al. 2017, Astronomical Journal 154, 220, section 5, with one term):
//!
//! ```text
//! D = 1 - a^2 S     k = (1 - a b S) / D     S <- b^2 S + k^2 D
//! z = y - a F       F <- b F + k z          log|C| = sum of log D,  y'C^-1 y = sum of z^2 / D
//! ```
//!
//! Derivatives by the parameters of a and b are carried through every line (jets): exact.

use super::items::Series;
use crate::linalg::dense::{NotPositiveDefinite, axpy, vectorised};

/// A function with its derivatives by at most two parameters: value, first derivatives, second
/// derivatives by the pairs (0, 0), (1, 0), (1, 1).
pub(crate) type Jet = [f64; 6];

/// Places in a [`Jet`] of the components that are used: the value; with one parameter; with two.
pub(crate) fn places(n_components: usize) -> &'static [usize] {
    match n_components {
        1 => &[0],
        3 => &[0, 1, 3],
        _ => &[0, 1, 2, 3, 4, 5],
    }
}

#[inline(always)]
fn product(x: &Jet, y: &Jet) -> Jet {
    [
        x[0] * y[0],
        x[0] * y[1] + x[1] * y[0],
        x[0] * y[2] + x[2] * y[0],
        x[0] * y[3] + 2.0 * (x[1] * y[1]) + x[3] * y[0],
        x[0] * y[4] + (x[1] * y[2] + x[2] * y[1]) + x[4] * y[0],
        x[0] * y[5] + 2.0 * (x[2] * y[2]) + x[5] * y[0],
    ]
}

/// A function of x from its value and two derivatives there.
#[inline(always)]
fn through(x: &Jet, [value, slope, bend]: [f64; 3]) -> Jet {
    [
        value,
        slope * x[1],
        slope * x[2],
        slope * x[3] + bend * x[1] * x[1],
        slope * x[4] + bend * x[1] * x[2],
        slope * x[5] + bend * x[2] * x[2],
    ]
}

#[inline(always)]
fn difference(x: &Jet, y: &Jet) -> Jet {
    std::array::from_fn(|c| x[c] - y[c])
}

/// What a series carries from row to row: S and F, F one vector a component.
struct State {
    s: Jet,
    f: Vec<f64>,
    z: Vec<f64>,
    half: Vec<f64>,
}

/// Walks along the series of a bundle, adding to `parts` the cross-product of each jet component and
/// to `logdets` log|C|.
///
/// `generators(item)` gives the first component of the bundle's arm, and a and b with their jets,
/// `None` where a series begins; `load` the row.
pub(crate) fn walk(
    series: &Series,
    bundle: usize,
    n_components: usize,
    generators: impl Fn(usize) -> (usize, Option<(Jet, Jet)>),
    load: impl Fn(usize, &mut [f64]),
    parts: &mut [f64],
    logdets: &mut [f64],
) -> Result<(), NotPositiveDefinite> {
    const ONE: Jet = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let w = series.n_columns + 1;
    let used = places(n_components);
    let mut state =
        State { s: [0.0; 6], f: vec![0.0; 6 * w], z: vec![0.0; 6 * w], half: vec![0.0; w] };
    for item in series.row_offsets[bundle]..series.row_offsets[bundle + 1] {
        let (first, step) = generators(item);
        let (mut d, mut k, mut b) = (ONE, ONE, [0.0; 6]);
        load(item, &mut state.z[..w]);
        if let Some((a, step_b)) = step {
            b = step_b;
            let a_s = product(&a, &state.s);
            d = difference(&ONE, &product(&a, &a_s));
            if d[0].is_nan() || d[0] <= 0.0 {
                return Err(NotPositiveDefinite { pivot: item });
            }
            k = product(&difference(&ONE, &product(&b, &a_s)), &through(&d, reciprocal(d[0])));
            vectorised(
                #[inline(always)]
                || surprise(&a, &mut state, w, used.len()),
            );
        } else {
            state.s = [0.0; 6];
            state.f.fill(0.0);
            state.z[w..].fill(0.0);
        }
        let kept = product(&product(&b, &b), &state.s);
        let gained = product(&product(&k, &k), &d);
        state.s = std::array::from_fn(|c| kept[c] + gained[c]);
        let u = through(&d, reciprocal(d[0]));
        let parts = &mut parts[first * w * w..(first + used.len()) * w * w];
        vectorised(
            #[inline(always)]
            || {
                carry(&b, &k, &mut state, w, used.len());
                add_products(&u, &state.z, w, &mut state.half, used, parts);
            },
        );
        let log = through(&d, [d[0].ln(), 1.0 / d[0], -1.0 / (d[0] * d[0])]);
        for (l, &place) in logdets[first..].iter_mut().zip(used) {
            *l += log[place];
        }
    }
    Ok(())
}

fn reciprocal(x: f64) -> [f64; 3] {
    let inverse = 1.0 / x;
    [inverse, -inverse * inverse, 2.0 * inverse * inverse * inverse]
}

/// z <- y - a F.
#[inline(always)]
fn surprise(a: &Jet, state: &mut State, w: usize, n: usize) {
    if n == 1 {
        axpy(-a[0], &state.f[..w], &mut state.z[..w]);
        return;
    }
    for i in 0..w {
        let f: Jet = std::array::from_fn(|c| state.f[c * w + i]);
        let known = product(a, &f);
        state.z[i] -= known[0];
        for c in 1..6 {
            state.z[c * w + i] = -known[c];
        }
    }
}

/// F <- b F + k z.
#[inline(always)]
fn carry(b: &Jet, k: &Jet, state: &mut State, w: usize, n: usize) {
    if n == 1 {
        for (f, z) in state.f[..w].iter_mut().zip(&state.z[..w]) {
            *f = b[0] * *f + k[0] * z;
        }
        return;
    }
    for i in 0..w {
        let f: Jet = std::array::from_fn(|c| state.f[c * w + i]);
        let z: Jet = std::array::from_fn(|c| state.z[c * w + i]);
        let (kept, gained) = (product(b, &f), product(k, &z));
        for c in 0..6 {
            state.f[c * w + i] = kept[c] + gained[c];
        }
    }
}

/// Adds the components of u z z' (lower triangles).
#[inline(always)]
fn add_products(u: &Jet, z: &[f64], w: usize, half: &mut [f64], used: &[usize], parts: &mut [f64]) {
    // The first derivatives that a second derivative belongs to.
    const PAIRS: [(usize, usize); 6] = [(0, 0), (0, 0), (0, 0), (1, 1), (2, 1), (2, 2)];
    let row = |place: usize| &z[place * w..(place + 1) * w];
    for (&place, part) in used.iter().zip(parts.chunks_exact_mut(w * w)) {
        let (k, j) = PAIRS[place];
        match place {
            0 => add_outer(u[0], row(0), part),
            1 | 2 => {
                // z (u_k z / 2 + u z_k)' and its mirror image.
                for ((h, z), z_k) in half.iter_mut().zip(row(0)).zip(row(place)) {
                    *h = 0.5 * u[place] * z + u[0] * z_k;
                }
                add_both(row(0), half, part);
            }
            _ => {
                let (z_k, z_j, z_kj) = (row(k), row(j), row(place));
                for (i, h) in half.iter_mut().enumerate() {
                    *h = (0.5 * u[place] * z[i] + u[0] * z_kj[i]) + (u[k] * z_j[i] + u[j] * z_k[i]);
                }
                add_both(row(0), half, part);
                for (h, z_k) in half.iter_mut().zip(z_k) {
                    *h = u[0] * z_k;
                }
                add_both(z_j, half, part);
            }
        }
    }
}

/// Adds alpha x x' (lower triangle).
#[inline(always)]
fn add_outer(alpha: f64, x: &[f64], target: &mut [f64]) {
    let w = x.len();
    for i in 0..w {
        axpy(alpha * x[i], &x[..i + 1], &mut target[i * w..i * w + i + 1]);
    }
}

/// Adds x y' + y x' (lower triangle).
#[inline(always)]
fn add_both(x: &[f64], y: &[f64], target: &mut [f64]) {
    let w = x.len();
    for i in 0..w {
        let (x_i, y_i) = (x[i], y[i]);
        for ((t, x_j), y_j) in
            target[i * w..i * w + i + 1].iter_mut().zip(&x[..i + 1]).zip(&y[..i + 1])
        {
            *t += x_i * y_j + y_i * x_j;
        }
    }
}
