//! Autocorrelations of a stationary sequence as functions of its partial ones, with derivatives.
//!
//! The Levinson-Durbin recursion: before lag h + 1 the best prediction has the coefficients w of
//! the last h steps and the error e, and
//!
//! `r_(h+1) = sum_j w_j r_(h+1-j) + u e,  w_j <- w_j - u w_(h+1-j),  w_(h+1) = u,  e <- e (1 - u^2)`
//!
//! with u the next partial autocorrelation. Second derivatives of a weighted sum of r come by
//! walking the recursion back (adjoints), first derivatives of the walk with it: 2 n^3 operations,
//! where those of every r would take n^4.
//!
//! References: Durbin (1960), Review of the International Statistical Institute 28, 233-244;
//! Griewank and Walther (2008), Evaluating Derivatives, section 5.3 (second-order adjoints).

use super::by_fit;
use crate::running::memory::require;

/// Autocorrelations `r_1`, ... of `n_fits` rows of n partial ones.
#[must_use]
pub fn autocorrelations(n: usize, n_fits: usize, partial: &[f64]) -> Vec<f64> {
    let [out] = by_fit(n_fits, [n], |k, [r]| {
        let mut weights = vec![0.0; n];
        let mut before = vec![0.0; n];
        let mut error = 1.0;
        for (h, &u) in partial[k * n..(k + 1) * n].iter().enumerate() {
            r[h] = predicted(&weights[..h], r) + u * error;
            before[..h].copy_from_slice(&weights[..h]);
            for j in 0..h {
                weights[j] = before[j] - u * before[h - 1 - j];
            }
            weights[h] = u;
            error *= 1.0 - u * u;
        }
    });
    out
}

/// They, their first derivatives `(n, n)` and second derivatives of their sum with weights.
#[must_use]
pub fn chart(n: usize, n_fits: usize, partial: &[f64], weight: &[f64]) -> [Vec<f64>; 3] {
    // What the walk forward leaves for the walk back: the derivatives of all coefficients.
    require::<f64>(n_fits.saturating_mul(n.saturating_mul(n).saturating_mul(n) / 3));
    by_fit(n_fits, [n, n * n, n * n], |k, [r, first, second]| {
        let own = k * n..(k + 1) * n;
        let (u, sums) = (&partial[own.clone()], &weight[own]);
        let steps = Steps::forward(u, r, first);
        steps.back(u, r, first, sums, second);
    })
}

fn predicted(weights: &[f64], r: &[f64]) -> f64 {
    let h = weights.len();
    weights.iter().zip(r[..h].iter().rev()).fold(0.0, |sum, (w, r)| sum + w * r)
}

/// What the recursion knew before each lag.
struct Steps {
    /// Coefficients before lag h, h of them, and their derivatives by the first h u, h x h.
    weights: Vec<Vec<f64>>,
    slopes: Vec<Vec<f64>>,
    /// Error of the prediction before lag h, and its derivatives by the first h u.
    error: Vec<f64>,
    error_slopes: Vec<Vec<f64>>,
}

impl Steps {
    /// Walk the recursion, writing r and its first derivatives, row by row.
    fn forward(u: &[f64], r: &mut [f64], first: &mut [f64]) -> Self {
        let n = u.len();
        let mut steps = Self {
            weights: vec![Vec::new()],
            slopes: vec![Vec::new()],
            error: vec![1.0],
            error_slopes: vec![Vec::new()],
        };
        for h in 0..n {
            steps.autocorrelation(u[h], h, r, first);
            if h + 1 < n {
                steps.go_on(u[h], h);
            }
        }
        steps
    }

    /// r of lag h (from 0 on) and its derivatives by the u up to its own.
    fn autocorrelation(&self, u: f64, h: usize, r: &mut [f64], first: &mut [f64]) {
        let n = r.len();
        let (weights, slopes) = (&self.weights[h], &self.slopes[h]);
        r[h] = predicted(weights, r) + u * self.error[h];
        let (known, own) = first.split_at_mut(h * n);
        for (to, from) in own.iter_mut().zip(&self.error_slopes[h]) {
            *to = u * from;
        }
        own[h] = self.error[h];
        for j in 0..h {
            let k = h - 1 - j;
            add(&mut own[..h], r[k], &slopes[j * h..(j + 1) * h]);
            add(&mut own[..=k], weights[j], &known[k * n..=k * n + k]);
        }
    }

    /// Coefficients and error before the lag after h.
    fn go_on(&mut self, u: f64, h: usize) {
        let (old, slopes) = (&self.weights[h], &self.slopes[h]);
        let m = h + 1;
        let (mut weights, mut by) = (vec![u; m], vec![0.0; m * m]);
        for j in 0..h {
            let turned = h - 1 - j;
            weights[j] = old[j] - u * old[turned];
            let row = &mut by[j * m..(j + 1) * m];
            row[..h].copy_from_slice(&slopes[j * h..(j + 1) * h]);
            add(&mut row[..h], -u, &slopes[turned * h..(turned + 1) * h]);
            row[h] = -old[turned];
        }
        by[m * m - 1] = 1.0;
        let mut error_slopes: Vec<f64> =
            self.error_slopes[h].iter().map(|e| e * (1.0 - u * u)).collect();
        error_slopes.push(-2.0 * u * self.error[h]);
        self.error.push(self.error[h] * (1.0 - u * u));
        self.weights.push(weights);
        self.slopes.push(by);
        self.error_slopes.push(error_slopes);
    }

    /// Second derivatives of the sum of r with weights: back from the last lag.
    fn back(&self, u: &[f64], r: &[f64], first: &[f64], sums: &[f64], second: &mut [f64]) {
        let n = u.len();
        let mut at = Adjoint::new(sums);
        for h in (0..n).rev() {
            let own = at.second_derivatives(self, u[h], h);
            for (p, value) in own.into_iter().enumerate() {
                second[h * n + p] = value;
                second[p * n + h] = value;
            }
            at.go_back(self, u[h], h, r, first);
        }
    }
}

/// Derivatives of the weighted sum by what the recursion knows, and theirs by the u before.
struct Adjoint {
    /// By each r, and by each coefficient.
    r: Vec<f64>,
    weights: Vec<f64>,
    error: f64,
    /// Derivatives of these, n x n.
    r_slopes: Vec<f64>,
    weight_slopes: Vec<f64>,
    error_slopes: Vec<f64>,
    /// The coefficients' before a step.
    last: (Vec<f64>, Vec<f64>),
}

impl Adjoint {
    fn new(sums: &[f64]) -> Self {
        let n = sums.len();
        Self {
            r: sums.to_vec(),
            weights: vec![0.0; n],
            error: 0.0,
            r_slopes: vec![0.0; n * n],
            weight_slopes: vec![0.0; n * n],
            error_slopes: vec![0.0; n],
            last: (vec![0.0; n], vec![0.0; n * n]),
        }
    }

    /// Those by u of lag h and by each u up to it.
    fn second_derivatives(&self, steps: &Steps, u: f64, h: usize) -> Vec<f64> {
        let n = self.r.len();
        let (weights, slopes) = (&steps.weights[h], &steps.slopes[h]);
        let (error, error_slopes) = (steps.error[h], &steps.error_slopes[h]);
        let mut out = self.weight_slopes[h * n..=h * n + h].to_vec();
        for j in 0..h {
            let turned = h - 1 - j;
            add(&mut out, -weights[turned], &self.weight_slopes[j * n..=j * n + h]);
            add(&mut out[..h], -self.weights[j], &slopes[turned * h..(turned + 1) * h]);
        }
        add(&mut out, -2.0 * u * error, &self.error_slopes[..=h]);
        add(&mut out, error, &self.r_slopes[h * n..=h * n + h]);
        add(&mut out[..h], self.r[h] - 2.0 * u * self.error, error_slopes);
        out[h] -= 2.0 * error * self.error;
        out
    }

    /// From what is known after lag h to what was before it; derivatives by the u before h.
    fn go_back(&mut self, steps: &Steps, u: f64, h: usize, r: &[f64], first: &[f64]) {
        let n = self.r.len();
        let (weights, slopes) = (&steps.weights[h], &steps.slopes[h]);
        let (head, rest) = self.r_slopes.split_at_mut(h * n);
        let (own, own_slopes) = (self.r[h], &rest[..h]);
        self.last.0[..h].copy_from_slice(&self.weights[..h]);
        self.last.1[..h * n].copy_from_slice(&self.weight_slopes[..h * n]);
        for j in 0..h {
            let k = h - 1 - j;
            self.weights[j] = self.last.0[j] - u * self.last.0[k] + own * r[k];
            let row = &mut self.weight_slopes[j * n..j * n + h];
            add(row, -u, &self.last.1[k * n..k * n + h]);
            add(row, r[k], own_slopes);
            add(&mut row[..=k], own, &first[k * n..=k * n + k]);
            self.r[k] += own * weights[j];
            let row = &mut head[k * n..k * n + h];
            add(row, weights[j], own_slopes);
            add(row, own, &slopes[j * h..(j + 1) * h]);
        }
        for (p, to) in self.error_slopes[..h].iter_mut().enumerate() {
            *to = *to * (1.0 - u * u) + own_slopes[p] * u;
        }
        self.error = self.error * (1.0 - u * u) + own * u;
    }
}

/// `to` plus a multiple of `from`.
fn add(to: &mut [f64], times: f64, from: &[f64]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += times * from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Central differences of `chart` at numbers that are nothing special.
    #[test]
    fn derivatives_are_those_of_the_autocorrelations() {
        let u = [0.5, -0.3, 0.8, 0.1, -0.6];
        let weight = [1.0, -2.0, 0.5, 3.0, -1.5];
        let n = u.len();
        let [r, first, second] = chart(n, 1, &u, &weight);
        assert_eq!(r, autocorrelations(n, 1, &u));
        let step = 1e-5;
        for p in 0..n {
            let (mut up, mut down) = (u, u);
            up[p] += step;
            down[p] -= step;
            let [r_up, first_up, _] = chart(n, 1, &up, &weight);
            let [r_down, first_down, _] = chart(n, 1, &down, &weight);
            for h in 0..n {
                let slope = (r_up[h] - r_down[h]) / (2.0 * step);
                assert!((slope - first[h * n + p]).abs() < 1e-8);
            }
            for q in 0..n {
                let bend: f64 =
                    (0..n).map(|h| weight[h] * (first_up[h * n + q] - first_down[h * n + q])).sum();
                assert!((bend / (2.0 * step) - second[p * n + q]).abs() < 1e-8);
            }
        }
    }
}
