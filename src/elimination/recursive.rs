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

use crate::dense::{NotPositiveDefinite, vectorised};
use crate::series::Series;

/// Products of functions with their first and second derivatives by p parameters.
///
/// A jet lists the value, p first derivatives, and second derivatives by pairs (k, j), j <= k.
pub(super) struct Jets {
    p: usize,
    pairs: Vec<(usize, usize)>,
}

impl Jets {
    /// Jets of `n` components; values alone for 1.
    pub(super) fn new(n: usize) -> Self {
        let p = (0..n).find(|p| 1 + p + p * (p + 1) / 2 == n).unwrap_or(0);
        Self { p, pairs: (0..p).flat_map(|k| (0..=k).map(move |j| (k, j))).collect() }
    }

    fn len(&self) -> usize {
        1 + self.p + self.pairs.len()
    }

    fn times(&self, x: &[f64], y: &[f64]) -> Vec<f64> {
        let mut out = vec![x[0] * y[0]];
        out.extend((1..=self.p).map(|k| x[0] * y[k] + x[k] * y[0]));
        for (pair, &(k, j)) in self.pairs.iter().enumerate() {
            let at = 1 + self.p + pair;
            let cross = x[1 + k] * y[1 + j] + x[1 + j] * y[1 + k];
            out.push(x[0] * y[at] + x[at] * y[0] + cross);
        }
        out
    }

    /// A function of x from its value and two derivatives there.
    fn through(&self, x: &[f64], [value, slope, bend]: [f64; 3]) -> Vec<f64> {
        let mut out = vec![value];
        out.extend((1..=self.p).map(|k| slope * x[k]));
        for (pair, &(k, j)) in self.pairs.iter().enumerate() {
            out.push(slope * x[1 + self.p + pair] + bend * x[1 + k] * x[1 + j]);
        }
        out
    }

    /// Adds alpha x y to the vector jet `out`, for the scalar jet x and the vector jet y.
    #[inline(always)]
    fn add_scaled(&self, alpha: f64, x: &[f64], y: &[f64], w: usize, out: &mut [f64]) {
        let mut add = |factor: f64, from: usize, into: usize| {
            if factor != 0.0 {
                for (o, v) in out[into * w..][..w].iter_mut().zip(&y[from * w..][..w]) {
                    *o += alpha * factor * v;
                }
            }
        };
        add(x[0], 0, 0);
        for k in 1..=self.p {
            add(x[0], k, k);
            add(x[k], 0, k);
        }
        for (pair, &(k, j)) in self.pairs.iter().enumerate() {
            let at = 1 + self.p + pair;
            add(x[0], at, at);
            add(x[at], 0, at);
            add(x[1 + k], 1 + j, at);
            add(x[1 + j], 1 + k, at);
        }
    }
}

/// Scalars that a series carries from row to row.
struct State {
    s: Vec<f64>,
    f: Vec<f64>,
}

/// Walks along the series of a bundle, adding to `parts` the cross-product of each jet component and
/// to `logdets` log|C|.
///
/// `generators(item)` gives the first component of the bundle's arm, and a and b with their jets,
/// `None` where a series begins; `load` the row.
pub(super) fn walk(
    series: &Series,
    bundle: usize,
    jets: &Jets,
    generators: impl Fn(usize) -> (usize, Option<(Vec<f64>, Vec<f64>)>),
    load: impl Fn(usize, &mut [f64]),
    parts: &mut [f64],
    logdets: &mut [f64],
) -> Result<(), NotPositiveDefinite> {
    let (w, n) = (series.n_columns + 1, jets.len());
    let mut state = State { s: vec![0.0; n], f: vec![0.0; n * w] };
    let mut z = vec![0.0; n * w];
    let mut next = vec![0.0; n * w];
    let mut half = vec![0.0; w];
    for item in series.row_offsets[bundle]..series.row_offsets[bundle + 1] {
        let (first, step) = generators(item);
        z.fill(0.0);
        load(item, &mut z[..w]);
        let (mut d, mut k) = (vec![0.0; n], vec![0.0; n]);
        (d[0], k[0]) = (1.0, 1.0);
        next.fill(0.0);
        if let Some((a, b)) = &step {
            let a_s = jets.times(a, &state.s);
            for (d, v) in d.iter_mut().zip(jets.times(a, &a_s)) {
                *d -= v;
            }
            if d[0].is_nan() || d[0] <= 0.0 {
                return Err(NotPositiveDefinite { pivot: item });
            }
            for (k, v) in k.iter_mut().zip(jets.times(b, &a_s)) {
                *k -= v;
            }
            let inverse = jets.through(&d, reciprocal(d[0]));
            k = jets.times(&k, &inverse);
            let kept = jets.times(b, &state.s);
            state.s = jets.times(b, &kept);
            jets.add_scaled(-1.0, a, &state.f, w, &mut z);
            jets.add_scaled(1.0, b, &state.f, w, &mut next);
        } else {
            state.s.fill(0.0);
        }
        let k_d = jets.times(&k, &d);
        for (s, v) in state.s.iter_mut().zip(jets.times(&k, &k_d)) {
            *s += v;
        }
        jets.add_scaled(1.0, &k, &z, w, &mut next);
        std::mem::swap(&mut state.f, &mut next);
        let u = jets.through(&d, reciprocal(d[0]));
        let parts = &mut parts[first * w * w..(first + n) * w * w];
        vectorised(
            #[inline(always)]
            || add_products(jets, &u, &z, w, &mut half, parts),
        );
        let log = jets.through(&d, [d[0].ln(), 1.0 / d[0], -1.0 / (d[0] * d[0])]);
        for (l, v) in logdets[first..first + n].iter_mut().zip(log) {
            *l += v;
        }
    }
    Ok(())
}

fn reciprocal(x: f64) -> [f64; 3] {
    let inverse = 1.0 / x;
    [inverse, -inverse * inverse, 2.0 * inverse * inverse * inverse]
}

/// Adds the components of u z z' (lower triangles).
#[inline(always)]
fn add_products(jets: &Jets, u: &[f64], z: &[f64], w: usize, half: &mut [f64], parts: &mut [f64]) {
    let row = |component: usize| &z[component * w..(component + 1) * w];
    let part = |component: usize| component * w * w..(component + 1) * w * w;
    add_outer(u[0], row(0), row(0), &mut parts[part(0)]);
    for k in 1..=jets.p {
        // z (u_k z / 2 + u z_k)' and its mirror image.
        for ((h, v), v_k) in half.iter_mut().zip(row(0)).zip(row(k)) {
            *h = 0.5 * u[k] * v + u[0] * v_k;
        }
        add_both(row(0), half, &mut parts[part(k)]);
    }
    for (pair, &(k, j)) in jets.pairs.iter().enumerate() {
        let at = 1 + jets.p + pair;
        for (i, h) in half.iter_mut().enumerate() {
            *h = 0.5 * u[at] * row(0)[i]
                + u[1 + k] * row(1 + j)[i]
                + u[1 + j] * row(1 + k)[i]
                + u[0] * row(at)[i];
        }
        add_both(row(0), half, &mut parts[part(at)]);
        if k == j {
            add_outer(2.0 * u[0], row(1 + k), row(1 + k), &mut parts[part(at)]);
        } else {
            for (h, v) in half.iter_mut().zip(row(1 + k)) {
                *h = u[0] * v;
            }
            add_both(row(1 + j), half, &mut parts[part(at)]);
        }
    }
}

/// Adds alpha x y' (lower triangle).
#[inline(always)]
fn add_outer(alpha: f64, x: &[f64], y: &[f64], target: &mut [f64]) {
    let w = x.len();
    for i in 0..w {
        crate::dense::axpy(alpha * x[i], &y[..i + 1], &mut target[i * w..i * w + i + 1]);
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
