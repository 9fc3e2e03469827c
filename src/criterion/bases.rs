//! What Satterthwaite's degrees of freedom go by, of many fits: see `stacked_bases.py`.

use crate::linalg::dense::{cholesky, invert_lower};
use crate::linalg::eigen::symmetric;
use crate::linalg::small::{add_product, product};
use crate::newton::{MOST, by_fit, matrix, with_order};

/// Smallest eigenvalue of the scaled information at which nothing is near to not identified.
const IDENTIFIED: f64 = 1e-6;

/// Derivatives of fits at their estimates, `sigma^2` = 1, by `n` entries of G; X of rank `rank`.
#[derive(Clone, Copy)]
pub struct At<'a> {
    /// First and second derivatives of the log-determinants, `n` and `n` squared numbers a fit.
    pub logdet: [&'a [f64]; 2],
    /// First and second derivatives of y'Py.
    pub rss: [&'a [f64]; 2],
    /// Derivatives of X'V^-1 X, `n` times `rank` squared.
    pub information: &'a [f64],
    /// Its inverse, `rank` squared.
    pub c: &'a [f64],
    /// y'Py, a number.
    pub total: &'a [f64],
    /// The entries of G over `sigma^2`, `n`.
    pub gamma: &'a [f64],
    /// Coefficients from the core's coordinates to the user's, `rank` squared.
    pub maps: &'a [f64],
    /// Degrees of freedom of `sigma^2`, a number.
    pub degrees: &'a [f64],
}

/// Derivatives of Phi by the entries of G and `sigma^2`, the covariance of these, and 1 where they are
/// identified beyond doubt.
#[must_use]
pub fn bases(n: usize, rank: usize, at: At) -> [Vec<f64>; 3] {
    let (m, square) = (n + 1, rank * rank);
    by_fit(at.total.len(), [m * square, m * m, 1], |k, [gradient, covariance, usable]| {
        let fit = One::of(n, square, &at, k);
        let mut information = [0.0; MOST * MOST];
        let information = &mut information[..m * m];
        fit.information(at.degrees[k], information);
        let identified = with_order!(m, inverse(information, covariance));
        let known = fit.gradient(rank, gradient).is_some();
        usable[0] = f64::from(u8::from(identified && known));
    })
}

/// The same numbers of one fit.
struct One<'a> {
    n: usize,
    logdet: [&'a [f64]; 2],
    rss: [&'a [f64]; 2],
    information: &'a [f64],
    c: &'a [f64],
    total: f64,
    /// `sigma^2`.
    s: f64,
    gamma: &'a [f64],
    maps: &'a [f64],
}

impl<'a> One<'a> {
    fn of(n: usize, square: usize, at: &At<'a>, k: usize) -> Self {
        let part = |all: &'a [f64], size: usize| &all[k * size..(k + 1) * size];
        Self {
            n,
            logdet: [part(at.logdet[0], n), part(at.logdet[1], n * n)],
            rss: [part(at.rss[0], n), part(at.rss[1], n * n)],
            information: part(at.information, n * square),
            c: part(at.c, square),
            total: at.total[k],
            s: at.total[k] / at.degrees[k],
            gamma: part(at.gamma, n),
            maps: part(at.maps, square),
        }
    }

    /// Observed information of the entries of G and `sigma^2`: from gamma = E / s to (E, s).
    fn information(&self, degrees: f64, out: &mut [f64]) {
        let (n, m, s, gamma) = (self.n, self.n + 1, self.s, self.gamma);
        let along = |second: &[f64]| product(second, gamma, n, n, 1);
        let (by, rss_by) = (along(self.logdet[1]), along(self.rss[1]));
        let corner = dot(gamma, &by) + 2.0 * dot(gamma, self.logdet[0]) - degrees;
        let rss_corner = dot(gamma, &rss_by) + 4.0 * dot(gamma, self.rss[0]) + 2.0 * self.total;
        let (squared, cubed) = (s * s, s * s * s);
        for i in 0..n {
            for j in 0..n {
                let sum = |part: &[f64]| part[i * n + j] + part[j * n + i];
                let whole = sum(self.logdet[1]) / squared + sum(self.rss[1]) / cubed;
                out[i * m + j] = 0.25 * whole;
            }
            let border =
                -(self.logdet[0][i] + by[i]) / squared - (2.0 * self.rss[0][i] + rss_by[i]) / cubed;
            (out[i * m + n], out[n * m + i]) = (0.5 * border, 0.5 * border);
        }
        out[n * m + n] = 0.5 * (corner / squared + rss_corner / cubed);
    }

    /// -Phi P Phi by each of them, P the derivative of X'V^-1 X; `None` where it is not finite.
    fn gradient(&self, rank: usize, out: &mut [f64]) -> Option<()> {
        let (n, square, s) = (self.n, rank * rank, self.s);
        let sizes = (rank, rank, rank);
        // One piece of memory for all.
        let mut memory = vec![0.0; 6 * square];
        let (l, rest) = memory.split_at_mut(square);
        let (root, rest) = rest.split_at_mut(square);
        let (turned, rest) = rest.split_at_mut(square);
        let (last, rest) = rest.split_at_mut(square);
        let (half, found) = rest.split_at_mut(square);
        l.copy_from_slice(self.c);
        if !self.c.iter().all(|value| value.is_finite()) || cholesky(l, rank).is_err() {
            out.fill(f64::NAN);
            return None;
        }
        invert_lower(l, rank, root);
        turn(root, rank, turned);
        add_product(turned, root, sizes, last);
        for (gamma, part) in self.gamma.iter().zip(self.information.chunks_exact(square.max(1))) {
            last.iter_mut().zip(part).for_each(|(to, x)| *to += gamma * x);
        }
        add_product(self.maps, self.c, sizes, half);
        half.iter_mut().for_each(|x| *x *= s);
        turn(half, rank, turned);
        for (k, out) in out.chunks_exact_mut(square.max(1)).enumerate() {
            // By the entries of G with `sigma^2`, then by `sigma^2`.
            let sign = if k < n { -1.0 } else { 1.0 };
            let by = if k < n { &self.information[k * square..(k + 1) * square] } else { &*last };
            found.fill(0.0);
            add_product(half, by, sizes, found);
            out.fill(0.0);
            add_product(found, turned, sizes, out);
            out.iter_mut().for_each(|x| *x = sign * *x / (s * s));
        }
        out.iter().all(|value| value.is_finite()).then_some(())
    }
}

/// out = A'.
fn turn(a: &[f64], n: usize, out: &mut [f64]) {
    for (at, to) in out.iter_mut().enumerate() {
        *to = a[(at % n) * n + at / n];
    }
}

/// The inverse of an information matrix, and whether it is clearly positive definite.
fn inverse<const M: usize>(information: &[f64], out: &mut [f64]) -> bool {
    let given = matrix::<M>(information, 0);
    let sound =
        information.iter().all(|value| value.is_finite()) && (0..M).all(|i| given[i][i] > 0.0);
    if !sound {
        return false;
    }
    let mut scale = [0.0; M];
    for i in 0..M {
        scale[i] = 1.0 / given[i][i].sqrt();
    }
    let mut scaled = given;
    for i in 0..M {
        for j in 0..M {
            scaled[i][j] *= scale[i] * scale[j];
        }
    }
    let (values, vectors) = symmetric(&scaled);
    let mut root = vectors;
    for i in 0..M {
        for k in 0..M {
            root[i][k] *= scale[i] / values[k].max(IDENTIFIED).sqrt();
        }
    }
    for i in 0..M {
        for j in 0..M {
            out[i * M + j] = (0..M).fold(0.0, |sum, k| sum + root[i][k] * root[j][k]);
        }
    }
    values[0] > IDENTIFIED
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).fold(0.0, |sum, (x, y)| sum + x * y)
}
