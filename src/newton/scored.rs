//! Scoring steps in the entries of G, where they stay within the covariances: see `scoring.py`.

use super::blocks::{Block, Point, each_block};
use super::steps::{is_above, scoring_step};
use super::unstructured::nearest_one;
use super::with_order;

/// Scaled eigenvalue of a Hessian from which on a step goes by it.
const DEFINITE: f64 = 1e-3;
/// What eigenvalues of covariances are lifted to, by the largest and by itself.
const LIFT: f64 = 1e-6;

/// Where a scoring step leads.
pub(super) enum Scored<const T: usize> {
    /// Nowhere.
    Still,
    /// Out of the covariances, back into which it is not led here.
    Outside,
    /// To a theta; the slope on the way there.
    Target([f64; T], f64),
}

/// The step by the expected information where `far`, by the exact Hessian elsewhere.
pub(super) fn scored<const T: usize>(blocks: &[Block], at: &Point<T>, far: bool) -> Scored<T> {
    let curvature = if far { at.expected } else { at.hessian };
    if !far {
        let scale: [f64; T] = std::array::from_fn(|i| 1.0 / at.expected[i][i].max(1e-300).sqrt());
        let mut scaled = at.hessian;
        for i in 0..T {
            for j in 0..T {
                scaled[i][j] *= scale[i] * scale[j];
            }
        }
        if !is_above(&scaled, DEFINITE) {
            return Scored::Still;
        }
    }
    let (entries, step) = (entries(blocks, &at.theta), scoring_step(&at.gradient, &curvature));
    let goal: [f64; T] = std::array::from_fn(|i| entries[i] + step[i]);
    let (mut target, mut outside) = ([0.0; T], false);
    each_block(blocks, |block, own| {
        let (goal, out) = (&goal[own.clone()], &mut target[own]);
        outside |= with_order!(block.order, nearest(goal, out); 1, 2, 3);
    });
    if outside && T > 1 {
        return Scored::Outside;
    }
    let reached = self::entries(blocks, &target);
    let slope = (0..T).fold(0.0, |s, i| s + at.gradient[i] * (reached[i] - entries[i]));
    if slope < 0.0 { Scored::Target(target, slope) } else { Scored::Still }
}

fn nearest<const K: usize>(goal: &[f64], out: &mut [f64]) -> bool {
    nearest_one::<K>(goal, LIFT, out)
}

/// The free entries of G.
fn entries<const T: usize>(blocks: &[Block], theta: &[f64; T]) -> [f64; T] {
    let mut out = [0.0; T];
    each_block(blocks, |block, own| {
        let (theta, out) = (&theta[own.clone()], &mut out[own]);
        block.matrix(theta, |i, j, value| {
            if j <= i {
                out[i * (i + 1) / 2 + j] = value;
            }
        });
    });
    out
}
