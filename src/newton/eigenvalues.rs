//! Eigenvalues of small symmetric matrices, one matrix in each lane.

use std::ops::Range;

use super::{side_by_side, with_order};
use crate::linalg::dense::{Kernel, vectorised};
use crate::linalg::eigen::{Square, symmetric};
use crate::linalg::lanes::{Four, LANES, Lane};

/// Eigenvalues, ascending, and eigenvectors of `n` symmetric matrices.
#[must_use]
pub fn symmetric_eigen(order: usize, n: usize, matrices: &[f64]) -> [Vec<f64>; 2] {
    with_order!(order, eigen_of(n, matrices))
}

fn eigen_of<const K: usize>(n: usize, matrices: &[f64]) -> [Vec<f64>; 2] {
    side_by_side(n, [K, K * K], LANES, |fits, own| vectorised(Eigen::<K> { matrices, fits, own }))
}

struct Eigen<'a, const K: usize> {
    matrices: &'a [f64],
    fits: Range<usize>,
    own: [&'a mut [f64]; 2],
}

impl<const K: usize> Kernel for Eigen<'_, K> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        if self.fits.len() > 1 { self.of_lanes::<Four>() } else { self.of_lanes::<f64>() }
    }
}

impl<const K: usize> Eigen<'_, K> {
    #[inline(always)]
    fn of_lanes<V: Lane>(self) {
        let Self { matrices, fits, own: [values, vectors] } = self;
        let last = fits.len() - 1;
        let mut matrix = [[V::splat(0.0); K]; K];
        for i in 0..K {
            for j in 0..K {
                let of = |lane: usize| (fits.start + lane.min(last)) * K * K + i * K + j;
                matrix[i][j] = V::from_lanes(|lane| matrices[of(lane)]);
            }
        }
        let found = symmetric(&matrix);
        for lane in 0..fits.len() {
            for i in 0..K {
                values[lane * K + i] = found.0[i].lane(lane);
                for j in 0..K {
                    vectors[(lane * K + i) * K + j] = found.1[i][j].lane(lane);
                }
            }
        }
    }
}

/// The smallest eigenvalues of some symmetric matrices.
pub(super) fn smallest_of<const T: usize>(matrices: &[Square<T>]) -> Vec<f64> {
    vectorised(Smallest { matrices })
}

struct Smallest<'a, const T: usize> {
    matrices: &'a [Square<T>],
}

impl<const T: usize> Kernel for Smallest<'_, T> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        let mut out = Vec::with_capacity(self.matrices.len());
        for some in self.matrices.chunks(LANES) {
            if some.len() > 1 {
                smallest::<Four, T>(some, &mut out);
            } else {
                smallest::<f64, T>(some, &mut out);
            }
        }
        out
    }
}

#[inline(always)]
fn smallest<V: Lane, const T: usize>(some: &[Square<T>], out: &mut Vec<f64>) {
    let mut matrix = [[V::splat(0.0); T]; T];
    for i in 0..T {
        for j in 0..T {
            matrix[i][j] = V::from_lanes(|lane| some[lane.min(some.len() - 1)][i][j]);
        }
    }
    let (values, _) = symmetric(&matrix);
    out.extend((0..some.len()).map(|lane| values[0].lane(lane)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Symmetric but for the last digits, as products of matrices are; what takes no rotation, few and
    /// many stand side by side.
    fn matrices() -> Vec<Square<6>> {
        let value = |k: usize| (k as f64 * 0.73).sin();
        let mut out = Vec::new();
        for k in 0..23 {
            let mut own = [[0.0; 6]; 6];
            for i in 0..6 {
                for j in 0..6 {
                    own[i][j] = 0.3 * value(k + i * j) * (1.0 + f64::EPSILON * (i * k) as f64);
                }
                own[i][i] += value(k);
            }
            // Blocks, of which some rotate what others leave.
            let block = k % 6;
            for i in 0..block {
                for j in block..6 {
                    (own[i][j], own[j][i]) = (0.0, 0.0);
                }
            }
            out.push(own);
        }
        out[7] = [[0.0; 6]; 6];
        out[10][0][0] = f64::NAN;
        out
    }

    fn bits(x: &[f64]) -> Vec<u64> {
        x.iter().map(|x| if x.is_nan() { 1 } else { x.to_bits() }).collect()
    }

    #[test]
    fn eigenvectors_are_those_of_each_matrix_alone() {
        let all = matrices();
        let [values, vectors] = symmetric_eigen(6, all.len(), all.as_flattened().as_flattened());
        for (k, own) in all.iter().enumerate() {
            let alone = symmetric(own);
            assert_eq!(bits(&values[6 * k..6 * k + 6]), bits(&alone.0), "{k}");
            assert_eq!(bits(&vectors[36 * k..36 * k + 36]), bits(alone.1.as_flattened()), "{k}");
        }
    }

    #[test]
    fn the_smallest_eigenvalue_has_the_bits_that_it_has_alone() {
        let all = matrices();
        for (k, (own, found)) in all.iter().zip(smallest_of(&all)).enumerate() {
            assert_eq!(bits(&[symmetric(own).0[0]]), bits(&[found]), "{k}");
        }
    }
}
