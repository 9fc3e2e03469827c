//! What fits of a batch ask of small matrices before each step, one fit in each lane.

use super::blocks::{Block, Point, axes, led, moved};
use super::steps::{Step, definite_step, newton_step};
use crate::linalg::dense::{Kernel, vectorised};
use crate::linalg::eigen::Square;
use crate::linalg::lanes::{Four, LANES, Lane};

/// What derivatives at a point tell of the next step.
#[derive(Clone, Copy)]
pub(super) struct Look<const T: usize> {
    /// Diagonal of the Hessian.
    pub(super) diagonal: [f64; T],
    /// Newton's step, where it leads and the scaled Hessian, where this is not flat.
    pub(super) definite: Option<(Step<T>, [f64; T], Square<T>)>,
}

/// Looks at some fits, one in each lane; a Hessian is not flat with scaled eigenvalues above `least`.
pub(super) fn looks<const T: usize>(
    blocks: &[Block],
    least: f64,
    points: &[&Point<T>],
) -> Vec<Look<T>> {
    vectorised(Looks { blocks, least, points })
}

struct Looks<'a, const T: usize> {
    blocks: &'a [Block],
    least: f64,
    points: &'a [&'a Point<T>],
}

impl<const T: usize> Kernel for Looks<'_, T> {
    type Output = Vec<Look<T>>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        let mut out = Vec::with_capacity(self.points.len());
        for some in self.points.chunks(LANES) {
            if some.len() > 1 {
                self.look::<Four>(some, &mut out);
            } else {
                self.look::<f64>(some, &mut out);
            }
        }
        out
    }
}

impl<const T: usize> Looks<'_, T> {
    #[inline(always)]
    fn look<V: Lane>(&self, some: &[&Point<T>], out: &mut Vec<Look<T>>) {
        let zero = V::splat(0.0);
        // Lanes without a fit have the last one's numbers.
        let at = |lane: usize| some[lane.min(some.len() - 1)];
        let (mut theta, mut gradient) = ([zero; T], [zero; T]);
        let (mut hessian, mut expected) = ([[zero; T]; T], [[zero; T]; T]);
        for i in 0..T {
            theta[i] = V::from_lanes(|lane| at(lane).theta[i]);
            gradient[i] = V::from_lanes(|lane| at(lane).gradient[i]);
            for j in 0..T {
                hessian[i][j] = V::from_lanes(|lane| at(lane).hessian[i][j]);
                expected[i][j] = V::from_lanes(|lane| at(lane).expected[i][j]);
            }
        }
        let axes = axes(self.blocks, &theta);
        let (gradient, hessian, expected) = led(self.blocks, &axes, &(gradient, hessian, expected));
        let found = definite_step(&gradient, &hessian, &expected, self.least);
        let target = moved(self.blocks, &axes, &found.step);
        for lane in 0..some.len() {
            let of = |numbers: &[V; T]| numbers.each_ref().map(|own| own.lane(lane));
            let mut diagonal = [0.0; T];
            for i in 0..T {
                diagonal[i] = hessian[i][i].lane(lane);
            }
            let (step, slope) = (of(&found.step), found.slope.lane(lane));
            let step = Step { step, slope, smallest: self.least };
            let definite = (step, of(&target), found.scaled.each_ref().map(of));
            out.push(Look {
                diagonal,
                definite: (found.told.lane(lane) > 0.0).then_some(definite),
            });
        }
    }
}

/// Newton's step by the eigenvalues of the Hessian, and where it leads.
pub(super) fn by_values<const T: usize>(
    blocks: &[Block],
    at: &Point<T>,
    floor: f64,
) -> (Step<T>, [f64; T]) {
    let axes = axes(blocks, &at.theta);
    let (gradient, hessian, expected) = led(blocks, &axes, &(at.gradient, at.hessian, at.expected));
    let step = newton_step(&gradient, &hessian, &expected, floor);
    (step, moved(blocks, &axes, &step.step))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points of which some have a flat Hessian, G = 0, or no number.
    fn points() -> Vec<Point<4>> {
        let value = |k: usize| (k as f64 * 0.73).sin();
        let mut out = Vec::new();
        for k in 0..11 {
            let mut at = Point {
                theta: [1.0 + value(k), value(k + 1), 0.5, 2.0 + value(k + 2)],
                value: 0.0,
                gradient: [value(k + 3), value(k + 4), value(k + 5), value(k + 6)],
                hessian: [[0.0; 4]; 4],
                expected: [[0.0; 4]; 4],
            };
            for i in 0..4 {
                for j in 0..4 {
                    at.hessian[i][j] = 0.3 * value(k + i * j) + if i == j { 2.0 } else { 0.0 };
                }
                at.expected[i][i] = 2.5;
            }
            out.push(at);
        }
        out[3].theta = [0.0; 4];
        out[5].hessian[1][1] = -3.0;
        out[6].gradient[0] = f64::NAN;
        out
    }

    #[test]
    fn a_look_at_a_fit_has_the_bits_that_it_has_alone() {
        let order = |first: usize, order: usize| Block { level: 0, first, order };
        let (all, blocks) = (points(), [order(0, 2), order(2, 1)]);
        let each: Vec<&Point<4>> = all.iter().collect();
        let bits = |look: &Look<4>| {
            let numbers = |x: &[f64]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            let (step, target, scaled) = look.definite?;
            let step = [numbers(&step.step), vec![step.slope.to_bits()]];
            Some((step, numbers(&target), numbers(scaled.as_flattened()), numbers(&look.diagonal)))
        };
        let found = looks(&blocks, 0.05, &each);
        for (k, (look, own)) in found.iter().zip(&each).enumerate() {
            let alone = looks(&blocks, 0.05, &[*own]);
            assert_eq!(bits(look), bits(&alone[0]), "{k}");
            assert_eq!(look.definite.is_some(), !matches!(k, 3 | 5 | 6), "{k}");
            // The target is that of a step by eigenvalues.
            if let Some((_, target, _)) = look.definite {
                let other = by_values(&blocks, own, 1e-9).1;
                assert!(target.iter().zip(&other).all(|(x, y)| (x - y).abs() < 1e-12), "{k}");
            }
        }
    }
}
