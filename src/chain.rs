//! Markov chains whose parameters belong to visits: coefficients of steps, by those parameters.
//!
//! A step from visit j to the next visit l that a subject has, with standard deviations `s_j`, `s_l`
//! and correlation f, adds `u^2` to y'R^-1 y, and the first row of a subject, at visit j, adds
//! `(a y_j)^2` with a = 1 / `s_j` (the modified Cholesky factor of Pourahmadi 1999, Biometrika 86,
//! 677, for a chain):
//!
//! ```text
//! u = a y_l - b y_j     a = 1 / (s_l sqrt(1 - f^2))     b = f / (s_j sqrt(1 - f^2))
//! log|R| = -2 sum of log a
//! ```
//!
//! Nothing cancels however near f is to -1 or 1. The elimination takes derivatives by the distinct a
//! and b (its coordinates); this module leads them to the parameters theta: log standard deviations
//! and the parameters that the correlations f depend on.

use crate::dense::{axpy, dot, symmetrise};
use crate::elimination::{RootWeight, Sums};
use crate::reduction::block;

/// Which parameters the coefficients of each class of rows depend on.
///
/// Coordinates are those of the classes in [`crate::series`]: a of the e-th class of starts at e, a
/// and b of the c-th class of steps at `n_starts + 2 c` and the next.
#[derive(Clone, Debug, Default)]
pub struct ChainParameters {
    /// Number of parameters.
    pub n_theta: usize,
    /// By class of starts, the log standard deviation of its visit.
    pub starts: Vec<usize>,
    /// By class of steps, those of the visit before and of the visit.
    pub steps: Vec<[usize; 2]>,
    /// Correlation parameters of step c: `offsets[c]..offsets[c + 1]`.
    pub offsets: Vec<usize>,
    /// The correlation parameters, those of one step after the other.
    pub parameters: Vec<usize>,
}

/// A step's coefficients with their derivatives by its correlation f.
struct Step {
    a: [f64; 3],
    b: [f64; 3],
}

/// What is known of the steps at one theta: the values that [`ChainParameters`] takes.
struct Steps<'a> {
    theta: &'a [f64],
    /// Correlation of each step.
    f: &'a [f64],
    /// 1 - f^2, to full precision.
    room: &'a [f64],
    /// Derivatives of f by its parameters; second ones by the pairs (0, 0), (1, 0), (1, 1), ...
    first: &'a [f64],
    second: &'a [f64],
}

impl ChainParameters {
    /// Coefficients a and b.
    #[must_use]
    pub fn n_coordinates(&self) -> usize {
        self.starts.len() + 2 * self.steps.len()
    }

    /// Numbers that describe the chain at one theta: theta, f and 1 - f^2 of each step and, with
    /// `derivatives`, the first and second derivatives of each f.
    #[must_use]
    pub fn n_values(&self, derivatives: bool) -> usize {
        let pairs = |c: usize| {
            let n = self.offsets[c + 1] - self.offsets[c];
            n * (n + 1) / 2
        };
        let more = if derivatives {
            self.parameters.len() + (0..self.steps.len()).map(pairs).sum::<usize>()
        } else {
            0
        };
        self.n_theta + 2 * self.steps.len() + more
    }

    fn steps<'a>(&self, values: &'a [f64]) -> Steps<'a> {
        let (theta, rest) = values.split_at(self.n_theta);
        let (f, rest) = rest.split_at(self.steps.len());
        let (room, rest) = rest.split_at(self.steps.len());
        let (first, second) = rest.split_at(self.parameters.len().min(rest.len()));
        Steps { theta, f, room, first, second }
    }

    fn step(&self, values: &Steps, c: usize) -> Step {
        let [before, at] = self.steps[c];
        let (f, room) = (values.f[c], values.room[c]);
        let root = room.sqrt();
        let (a, by) = ((-values.theta[at]).exp() / root, (-values.theta[before]).exp() / root);
        Step {
            a: [a, a * f / room, a * (1.0 + 2.0 * f * f) / (room * room)],
            b: [by * f, by / room, 3.0 * by * f / (room * room)],
        }
    }

    /// The coefficients, by coordinate.
    #[must_use]
    pub fn coefficients(&self, values: &[f64]) -> Vec<f64> {
        let values = self.steps(values);
        let starts = self.starts.iter().map(|&at| (-values.theta[at]).exp());
        let steps = (0..self.steps.len()).flat_map(|c| {
            let step = self.step(&values, c);
            [step.a[0], step.b[0]]
        });
        starts.chain(steps).collect()
    }

    /// Sums with derivatives by `outer` other entries and by the coordinates, as those by the entries
    /// and theta.
    #[must_use]
    pub fn by_theta(
        &self,
        values: &[f64],
        outer: usize,
        sums: Sums,
        width: usize,
        root: &RootWeight,
    ) -> Sums {
        let values = self.steps(values);
        let jacobian = self.jacobian(&values);
        let (n, m) = (outer + self.n_coordinates(), outer + self.n_theta);
        let mut out = Sums::zero(width, m);
        out.logdet = sums.logdet;
        out.gram.copy_from_slice(&sums.gram);
        let square = width * width;
        out.logdet_by[..outer].copy_from_slice(&sums.logdet_by[..outer]);
        out.gram_by[..outer * square].copy_from_slice(&sums.gram_by[..outer * square]);
        for (k, row) in jacobian.iter().enumerate() {
            for &(t, slope) in row {
                out.logdet_by[outer + t] += slope * sums.logdet_by[outer + k];
                let by = &sums.gram_by[block(outer + k, square)];
                axpy(slope, by, &mut out.gram_by[block(outer + t, square)]);
            }
        }
        let Sums { logdet_by, mut gram_by, mut hessian, mut hessian_rss, .. } = sums;
        chain_rule(&jacobian, outer, &mut hessian, n, &mut out.hessian);
        chain_rule(&jacobian, outer, &mut hessian_rss, n, &mut out.hessian_rss);
        let weights: Vec<[f64; 2]> = (outer..n)
            .map(|k| {
                let by = &mut gram_by[block(k, square)];
                symmetrise(by, width);
                let [by_psi, by_e] = weighed(by, width, root);
                [logdet_by[k] + by_psi, by_e]
            })
            .collect();
        let of = |which: usize| weights.iter().map(|w| w[which]).collect::<Vec<_>>();
        self.add_bends(&values, outer, &of(0), &mut out.hessian, m);
        self.add_bends(&values, outer, &of(1), &mut out.hessian_rss, m);
        out
    }

    /// Derivatives of each coordinate by the parameters it depends on.
    fn jacobian(&self, values: &Steps) -> Vec<Vec<(usize, f64)>> {
        let mut out: Vec<Vec<(usize, f64)>> =
            self.starts.iter().map(|&at| vec![(at, -(-values.theta[at]).exp())]).collect();
        for c in 0..self.steps.len() {
            let Step { a, b } = self.step(values, c);
            let own = self.offsets[c]..self.offsets[c + 1];
            for (value, slope, sd) in [(a[0], a[1], self.steps[c][1]), (b[0], b[1], self.steps[c][0])]
            {
                let parameters = self.parameters[own.clone()].iter().copied();
                let by_f = values.first[own.clone()].iter().map(|d| slope * d);
                out.push(std::iter::once((sd, -value)).chain(parameters.zip(by_f)).collect());
            }
        }
        out
    }

    /// Adds the second derivatives of weight'coordinates by theta.
    fn add_bends(
        &self,
        values: &Steps,
        outer: usize,
        weight: &[f64],
        hessian: &mut [f64],
        n: usize,
    ) {
        let mut add = |i: usize, j: usize, value: f64| {
            hessian[(outer + i) * n + outer + j] += value;
            if i != j {
                hessian[(outer + j) * n + outer + i] += value;
            }
        };
        for (e, &at) in self.starts.iter().enumerate() {
            add(at, at, weight[e] * (-values.theta[at]).exp());
        }
        let mut pair = 0;
        for c in 0..self.steps.len() {
            let Step { a, b } = self.step(values, c);
            let at = self.starts.len() + 2 * c;
            let (w_a, w_b, [before, after]) = (weight[at], weight[at + 1], self.steps[c]);
            add(after, after, w_a * a[0]);
            add(before, before, w_b * b[0]);
            let first = &values.first[self.offsets[c]..self.offsets[c + 1]];
            let parameters = &self.parameters[self.offsets[c]..self.offsets[c + 1]];
            for (k, &p) in parameters.iter().enumerate() {
                add(after, p, -w_a * a[1] * first[k]);
                add(before, p, -w_b * b[1] * first[k]);
                for (l, &q) in parameters[..=k].iter().enumerate() {
                    let bend = (w_a * a[2] + w_b * b[2]) * first[k] * first[l];
                    add(p, q, bend + (w_a * a[1] + w_b * b[1]) * values.second[pair]);
                    pair += 1;
                }
            }
        }
    }
}

/// J'H J for the lower triangle of H, J the identity on the first `outer` coordinates.
fn chain_rule(
    jacobian: &[Vec<(usize, f64)>],
    outer: usize,
    hessian: &mut [f64],
    n: usize,
    out: &mut [f64],
) {
    symmetrise(hessian, n);
    let m = (out.len() as f64).sqrt() as usize;
    let mut along = vec![0.0; m];
    for k in 0..n {
        let row = &hessian[block(k, n)];
        along[..outer].copy_from_slice(&row[..outer]);
        along[outer..].fill(0.0);
        for (value, slopes) in row[outer..].iter().zip(jacobian) {
            if *value != 0.0 {
                for &(t, slope) in slopes {
                    along[outer + t] += slope * value;
                }
            }
        }
        if k < outer {
            axpy(1.0, &along, &mut out[block(k, m)]);
        } else {
            for &(t, slope) in &jacobian[k - outer] {
                axpy(slope, &along, &mut out[block(outer + t, m)]);
            }
        }
    }
}

/// A symmetric matrix over [X y] under the weights of the root: of log|X'V^-1 X|, and of y'Py.
fn weighed(matrix: &[f64], width: usize, root: &RootWeight) -> [f64; 2] {
    let rank = width - 1;
    let mut out = [0.0; 2];
    for (i, row) in matrix.chunks_exact(width).enumerate() {
        if let Some(c) = root.c.as_ref().filter(|_| i < rank) {
            out[0] += dot(&row[..rank], &c[block(i, rank)]);
        }
        out[1] += root.e[i] * dot(row, &root.e);
    }
    out
}
