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
//! Nothing cancels however near f is to -1 or 1. theta are the log standard deviations and whatever
//! the correlations f depend on. The elimination takes first derivatives by theta, and second ones
//! by a and b, class by class; [`ChainAt::add_second`] leads these to theta.
use crate::criterion::sums::ClassSums;

/// Which parameters each class of rows depends on; classes as in [`crate::nested::series::items`].
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

/// A step's coefficients with their first and second derivatives by its correlation.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Of the row.
    pub a: [f64; 3],
    /// Of the row before.
    pub b: [f64; 3],
}

/// A chain at one theta.
#[derive(Debug)]
pub struct ChainAt<'a> {
    /// What depends on what.
    pub parameters: &'a ChainParameters,
    /// a of each class of starts.
    pub starts: Vec<f64>,
    /// Coefficients of each class of steps.
    pub steps: Vec<Step>,
    /// Derivatives of each step's correlation; second ones by the pairs (0, 0), (1, 0), (1, 1), ...
    first: &'a [f64],
    second: &'a [f64],
}

impl ChainParameters {
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
}

impl<'a> ChainAt<'a> {
    /// The chain that the numbers of [`ChainParameters::n_values`] describe.
    #[must_use]
    pub fn new(parameters: &'a ChainParameters, values: &'a [f64]) -> Self {
        let n = parameters.steps.len();
        let (theta, rest) = values.split_at(parameters.n_theta);
        let (f, rest) = rest.split_at(n);
        let (room, rest) = rest.split_at(n);
        let (first, second) = rest.split_at(parameters.parameters.len().min(rest.len()));
        let step = |c: usize| {
            let [before, at] = parameters.steps[c];
            let (f, room) = (f[c], room[c]);
            let root = room.sqrt();
            let (a, by) = ((-theta[at]).exp() / root, (-theta[before]).exp() / root);
            Step {
                a: [a, a * f / room, a * (1.0 + 2.0 * f * f) / (room * room)],
                b: [by * f, by / room, 3.0 * by * f / (room * room)],
            }
        };
        let starts = parameters.starts.iter().map(|&at| (-theta[at]).exp()).collect();
        Self { parameters, starts, steps: (0..n).map(step).collect(), first, second }
    }

    /// Parameters of the correlation of step c, each with the derivative by it.
    pub fn correlation(&self, c: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let own = self.parameters.offsets[c]..self.parameters.offsets[c + 1];
        let parameters = self.parameters.parameters[own.clone()].iter().copied();
        parameters.zip(self.first[own].iter().copied())
    }

    /// Adds what `sums` by class (starts first) are by theta to an `n` x `n` Hessian, whose first
    /// `outer` rows belong to others.
    pub fn add_second(&self, sums: &[ClassSums], outer: usize, hessian: &mut [f64], n: usize) {
        let mut add = |i: usize, j: usize, value: f64| {
            hessian[(outer + i) * n + outer + j] += value;
        };
        let (starts, steps) = sums.split_at(self.starts.len());
        for ((&at, &a), sum) in self.parameters.starts.iter().zip(&self.starts).zip(starts) {
            add(at, at, sum.first[0] * a + sum.second[0] * a * a);
        }
        let mut pair = 0;
        for (c, (Step { a, b }, sum)) in self.steps.iter().zip(steps).enumerate() {
            let [before, after] = self.parameters.steps[c];
            let [w_a, w_b] = sum.first;
            // Each parameter with the derivatives of a and b by it.
            let mut slopes = vec![(after, -a[0], 0.0), (before, 0.0, -b[0])];
            slopes.extend(self.correlation(c).map(|(p, by)| (p, a[1] * by, b[1] * by)));
            let [aa, ab, bb] = sum.second;
            for &(i, a_i, b_i) in &slopes {
                let (by_a, by_b) = (aa * a_i + ab * b_i, ab * a_i + bb * b_i);
                for &(j, a_j, b_j) in &slopes {
                    add(i, j, by_a * a_j + by_b * b_j);
                }
            }
            add(after, after, w_a * a[0]);
            add(before, before, w_b * b[0]);
            let (slope, bend) = (w_a * a[1] + w_b * b[1], w_a * a[2] + w_b * b[2]);
            for (k, (p, by_p)) in self.correlation(c).enumerate() {
                for (i, value) in [(after, -w_a * a[1] * by_p), (before, -w_b * b[1] * by_p)] {
                    add(i, p, value);
                    add(p, i, value);
                }
                for (q, by_q) in self.correlation(c).take(k + 1) {
                    let value = bend * by_p * by_q + slope * self.second[pair];
                    add(p, q, value);
                    if p != q {
                        add(q, p, value);
                    }
                    pair += 1;
                }
            }
        }
    }
}
