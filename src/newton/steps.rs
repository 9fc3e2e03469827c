//! Steps of Newton's method and of scoring, and derivatives led from one set of coordinates to another.

use super::{by_fit, matrix, vector, with_order};
use crate::linalg::eigen::{Square, symmetric};
use crate::linalg::lanes::Lane;

/// Derivatives of a criterion at some points: gradients, Hessians and expected Hessians.
#[derive(Clone, Copy)]
pub struct Derivatives<'a, V = f64> {
    /// Gradients.
    pub gradient: &'a [V],
    /// Hessians.
    pub hessian: &'a [V],
    /// Expected Hessians.
    pub expected: &'a [V],
}

/// Newton steps -|H|^-1 g of `n` fits, with their slopes and the smallest eigenvalues of the scaled
/// Hessians.
///
/// The Hessian is scaled by the roots of the larger of its own and the expected diagonal; eigenvalues
/// count by their size, `floor` at least. Where derivatives are not finite there is no step, and the
/// eigenvalue is -inf.
#[must_use]
pub fn newton_steps(order: usize, n: usize, at: Derivatives, floor: f64) -> [Vec<f64>; 3] {
    with_order!(order, newton_of(n, at, floor))
}

fn newton_of<const K: usize>(n: usize, at: Derivatives, floor: f64) -> [Vec<f64>; 3] {
    by_fit(n, [K, 1, 1], |k, [step, slope, smallest]| {
        let gradient = vector::<K>(at.gradient, k);
        let (hessian, expected) = (matrix::<K>(at.hessian, k), matrix::<K>(at.expected, k));
        let found = newton_step(&gradient, &hessian, &expected, floor);
        step.copy_from_slice(&found.step);
        (slope[0], smallest[0]) = (found.slope, found.smallest);
    })
}

/// A step of one fit, its slope, and the smallest eigenvalue of the scaled Hessian.
#[derive(Clone, Copy)]
pub struct Step<const K: usize> {
    /// The step.
    pub step: [f64; K],
    /// The gradient along it.
    pub slope: f64,
    /// The smallest eigenvalue.
    pub smallest: f64,
}

/// See [`newton_steps`].
#[inline(always)]
#[must_use]
pub fn newton_step<const K: usize>(
    gradient: &[f64; K],
    hessian: &Square<K>,
    expected: &Square<K>,
    floor: f64,
) -> Step<K> {
    let (scale, scaled) = scaled(hessian, expected);
    let finite = scaled.iter().flatten().chain(gradient).all(|value| value.is_finite());
    if !finite {
        return Step { step: [0.0; K], slope: f64::NEG_INFINITY, smallest: f64::NEG_INFINITY };
    }
    let (values, vectors) = symmetric(&scaled);
    let inverse = values.map(|value| 1.0 / value.abs().max(floor));
    let step = solved(gradient, &scale, &inverse, &vectors);
    let slope = (0..K).fold(0.0, |s, i| s + gradient[i] * step[i]);
    Step { step, slope, smallest: values[0] }
}

/// What [`definite_step`] finds: the step, its slope and the scaled Hessian, where `told` is 1.
#[derive(Clone, Copy)]
pub struct Definite<V, const K: usize> {
    /// The step.
    pub step: [V; K],
    /// The gradient along it.
    pub slope: V,
    /// The Hessian in scaled coordinates.
    pub scaled: Square<K, V>,
    /// 1 where all eigenvalues of that are above what was asked for, else 0.
    pub told: V,
}

/// The step and the slope of [`newton_step`] with the scaled Hessian, by a Cholesky factor, where all
/// eigenvalues of that are above `least`, as most often: finding them costs ten times as much.
#[inline(always)]
#[must_use]
pub fn definite_step<V: Lane, const K: usize>(
    gradient: &[V; K],
    hessian: &Square<K, V>,
    expected: &Square<K, V>,
    least: f64,
) -> Definite<V, K> {
    let zero = V::splat(0.0);
    let (scale, scaled) = scaled(hessian, expected);
    let (_, above) = factor(&scaled, least);
    let (l, told) = factor(&scaled, 0.0);
    let mut step = [zero; K];
    for i in 0..K {
        let sum = (0..i).fold(gradient[i] / scale[i], |s, j| s - l[i][j] * step[j]);
        step[i] = sum / l[i][i];
    }
    for i in (0..K).rev() {
        let sum = (i + 1..K).fold(step[i], |s, j| s - l[j][i] * step[j]);
        step[i] = sum / l[i][i];
    }
    for i in 0..K {
        step[i] = -step[i] / scale[i];
    }
    let slope = (0..K).fold(zero, |s, i| s + gradient[i] * step[i]);
    let told = V::splat(f64::INFINITY).where_above(slope.size(), told, zero);
    Definite { step, slope, scaled, told: above.where_above(zero, told, zero) }
}

/// Are all eigenvalues of a symmetric matrix above `least`?
#[inline(always)]
#[must_use]
pub fn is_above<const K: usize>(matrix: &Square<K>, least: f64) -> bool {
    factor(matrix, least).1 > 0.0
}

/// Cholesky factor of A - shift I, and 1 where that is positive definite, else 0.
#[inline(always)]
fn factor<V: Lane, const K: usize>(a: &Square<K, V>, shift: f64) -> (Square<K, V>, V) {
    let zero = V::splat(0.0);
    let (mut l, mut told) = ([[zero; K]; K], V::splat(1.0));
    for i in 0..K {
        for j in 0..i {
            l[i][j] = (0..j).fold(a[i][j], |s, k| s - l[i][k] * l[j][k]) / l[j][j];
        }
        let own = a[i][i] - V::splat(shift);
        let pivot = (0..i).fold(own, |s, k| s - l[i][k] * l[i][k]);
        told = pivot.where_above(zero, told, zero);
        told = V::splat(f64::INFINITY).where_above(pivot, told, zero);
        l[i][i] = pivot.root();
    }
    (l, told)
}

/// Scales of the coordinates, and the Hessian in these.
#[inline(always)]
fn scaled<V: Lane, const K: usize>(
    hessian: &Square<K, V>,
    expected: &Square<K, V>,
) -> ([V; K], Square<K, V>) {
    let mut own = [V::splat(0.0); K];
    let mut largest = V::splat(1e-300);
    for i in 0..K {
        own[i] = expected[i][i].most(hessian[i][i].size());
        largest = largest.most(own[i]);
    }
    let mut scale = own;
    for i in 0..K {
        scale[i] = own[i].most(V::splat(1e-12) * largest).root();
    }
    (scale, divided(hessian, &scale))
}

/// Scoring steps -E^-1 g of `n` fits, along the directions that the information tells something of.
#[must_use]
pub fn scoring_steps(order: usize, n: usize, gradient: &[f64], expected: &[f64]) -> Vec<f64> {
    let [steps] = with_order!(order, scoring_of(n, gradient, expected));
    steps
}

/// Eigenvalue of a scaled information that tells something.
const TOLD: f64 = 1e-9;

fn scoring_of<const K: usize>(n: usize, gradients: &[f64], expected: &[f64]) -> [Vec<f64>; 1] {
    if n == 0 {
        return [Vec::new()];
    }
    // At G = 0 responses of one design have one information.
    let first = matrix::<K>(expected, 0);
    let told_first = Told::by(&first);
    by_fit(n, [K], |k, [step]| {
        let (gradient, expected) = (vector::<K>(gradients, k), matrix::<K>(expected, k));
        let found = if has_bits(&expected, &first) {
            told_first.step(&gradient)
        } else {
            scoring_step(&gradient, &expected)
        };
        step.copy_from_slice(&found);
    })
}

/// Are two matrices the same, down to the signs of zeros?
#[inline(always)]
fn has_bits<const K: usize>(a: &Square<K>, b: &Square<K>) -> bool {
    let mut both = a.as_flattened().iter().zip(b.as_flattened());
    both.all(|(x, y)| x.to_bits() == y.to_bits())
}

/// See [`scoring_steps`].
#[inline(always)]
#[must_use]
pub fn scoring_step<const K: usize>(gradient: &[f64; K], expected: &Square<K>) -> [f64; K] {
    Told::by(expected).step(gradient)
}

/// What an information tells: scales, and in these inverse eigenvalues and eigenvectors.
struct Told<const K: usize> {
    scale: [f64; K],
    inverse: [f64; K],
    vectors: Square<K>,
}

impl<const K: usize> Told<K> {
    #[inline(always)]
    fn by(expected: &Square<K>) -> Self {
        let mut own = [0.0; K];
        for i in 0..K {
            own[i] = expected[i][i];
        }
        // An entry without information must not turn the rounding of its gradient into a step.
        let least = (1e-12 * own.iter().copied().fold(0.0, f64::max)).max(1e-300);
        let scale = own.map(|value| value.max(least).sqrt());
        let (values, vectors) = symmetric(&divided(expected, &scale));
        let inverse = values.map(|value| if value > TOLD { 1.0 / value } else { 0.0 });
        Self { scale, inverse, vectors }
    }

    #[inline(always)]
    fn step(&self, gradient: &[f64; K]) -> [f64; K] {
        solved(gradient, &self.scale, &self.inverse, &self.vectors)
    }
}

/// D^-1 A D^-1.
#[inline(always)]
fn divided<V: Lane, const K: usize>(a: &Square<K, V>, scale: &[V; K]) -> Square<K, V> {
    let mut out = *a;
    for i in 0..K {
        for j in 0..K {
            out[i][j] = a[i][j] / (scale[i] * scale[j]);
        }
    }
    out
}

/// -D^-1 Q diag(inverse) Q' D^-1 g.
#[inline(always)]
fn solved<const K: usize>(
    gradient: &[f64; K],
    scale: &[f64; K],
    inverse: &[f64; K],
    vectors: &Square<K>,
) -> [f64; K] {
    let mut along = [0.0; K];
    for i in 0..K {
        let scaled = gradient[i] / scale[i];
        for j in 0..K {
            along[j] += vectors[i][j] * scaled;
        }
    }
    let mut step = [0.0; K];
    for i in 0..K {
        let sum = (0..K).fold(0.0, |s, j| s + vectors[i][j] * (along[j] * inverse[j]));
        step[i] = -sum / scale[i];
    }
    step
}

/// J'g, J'H J + C and J'E J of `n` fits, for J of `m` rows and `t` columns.
#[must_use]
pub fn led(
    (m, t): (usize, usize),
    n: usize,
    jacobian: &[f64],
    curvature: &[f64],
    at: Derivatives,
) -> [Vec<f64>; 3] {
    by_fit(n, [t, t * t, t * t], |k, out| {
        let at = Derivatives {
            gradient: &at.gradient[k * m..(k + 1) * m],
            hessian: &at.hessian[k * m * m..(k + 1) * m * m],
            expected: &at.expected[k * m * m..(k + 1) * m * m],
        };
        let (jacobian, curvature) =
            (&jacobian[k * m * t..(k + 1) * m * t], &curvature[k * t * t..(k + 1) * t * t]);
        led_one((m, t), jacobian, curvature, at, out);
    })
}

/// See [`led`]: those of one fit, added to zeros.
#[inline(always)]
pub fn led_one<V: Lane>(
    (m, t): (usize, usize),
    jacobian: &[V],
    curvature: &[V],
    at: Derivatives<V>,
    [gradient, hessian, expected]: [&mut [V]; 3],
) {
    for i in 0..m {
        for j in 0..t {
            gradient[j] += jacobian[i * t + j] * at.gradient[i];
        }
    }
    sandwiched((m, t), jacobian, at.hessian, hessian);
    for k in 0..t * t {
        hessian[k] += curvature[k];
    }
    sandwiched((m, t), jacobian, at.expected, expected);
}

/// out += J'A J.
#[inline(always)]
fn sandwiched<V: Lane>((m, t): (usize, usize), j: &[V], a: &[V], out: &mut [V]) {
    let mut row = [V::splat(0.0); super::MOST];
    for i in 0..m {
        // Row i of A J.
        row[..t].fill(V::splat(0.0));
        for k in 0..m {
            for c in 0..t {
                row[c] += a[i * m + k] * j[k * t + c];
            }
        }
        for b in 0..t {
            for c in 0..t {
                out[b * t + c] += j[i * t + b] * row[c];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(seed: u64, shift: f64) -> Square<3> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        };
        let root: Square<3> = std::array::from_fn(|_| std::array::from_fn(|_| next()));
        let mut out = [[0.0; 3]; 3];
        for i in 0..3 {
            for j in 0..3 {
                let sum = (0..3).fold(0.0, |s, k| s + root[i][k] * root[j][k]);
                // Coordinates of very different sizes.
                let size = |at: usize| 10f64.powi(3 * at as i32 - 3);
                out[i][j] = (sum + if i == j { shift } else { 0.0 }) * size(i) * size(j);
            }
        }
        out
    }

    #[test]
    fn a_definite_step_is_that_by_eigenvalues() {
        let (gradient, least) = ([1.0, -2.0, 0.3], 0.05);
        let mut n_definite = 0;
        for seed in 0..200 {
            let hessian = matrix(seed, 0.005);
            let by_values = newton_step(&gradient, &hessian, &hessian, 1e-9);
            let Definite { step, slope, scaled, told } =
                definite_step(&gradient, &hessian, &hessian, least);
            // At the border rounding decides.
            if (by_values.smallest - least).abs() > 1e-12 {
                assert_eq!(told > 0.0, by_values.smallest > least, "{seed}");
            }
            if told == 0.0 {
                continue;
            }
            n_definite += 1;
            assert!((slope - by_values.slope).abs() <= 1e-13 * slope.abs());
            for (x, y) in step.iter().zip(&by_values.step) {
                assert!((x - y).abs() <= 1e-12 * y.abs(), "{seed}: {step:?} {:?}", by_values.step);
            }
            assert_eq!(symmetric(&scaled).0[0].to_bits(), by_values.smallest.to_bits());
        }
        assert!((20..180).contains(&n_definite), "some are, some are not: {n_definite}");
    }

    #[test]
    fn scoring_steps_are_those_of_each_fit_alone() {
        // The same information as the first, another, and one that is not finite.
        let mut wrong = matrix(4, 1.0);
        wrong[0][0] = f64::NAN;
        for first in [matrix(3, 1.0), wrong] {
            let all = [first, matrix(5, 1.0), first, wrong];
            let gradients: Vec<f64> = (0..12).map(|i| f64::from(i) - 4.5).collect();
            let found = scoring_steps(3, 4, &gradients, all.as_flattened().as_flattened());
            for (k, own) in all.iter().enumerate() {
                let alone = scoring_step(&super::vector::<3>(&gradients, k), own);
                let bits =
                    |step: &[f64]| -> Vec<u64> { step.iter().map(|x| x.to_bits()).collect() };
                assert_eq!(bits(&found[3 * k..3 * k + 3]), bits(&alone), "{k}");
            }
        }
        assert!(scoring_steps(3, 0, &[], &[]).is_empty());
    }

    #[test]
    fn what_is_not_definite_or_not_finite_has_no_definite_step() {
        let gradient = [1.0, 1.0, 1.0];
        let is_definite = |gradient: &[f64; 3], hessian: &Square<3>| {
            definite_step(gradient, hessian, hessian, 0.05).told > 0.0
        };
        let mut saddle = matrix(3, 1.0);
        saddle[1][1] = -saddle[1][1];
        assert!(!is_definite(&gradient, &saddle));
        for wrong in [f64::NAN, f64::INFINITY] {
            let mut hessian = matrix(3, 1.0);
            hessian[2][0] = wrong;
            hessian[0][2] = wrong;
            assert!(!is_definite(&gradient, &hessian));
            let sound = matrix(3, 1.0);
            assert!(!is_definite(&[1.0, wrong, 1.0], &sound));
        }
    }
}
