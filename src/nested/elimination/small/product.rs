//! Logarithms of determinants: one for the pivots of many units.

use crate::linalg::lanes::Lane;

/// A product of positive numbers that may be too large, or too small, for one number: a logarithm
/// costs as much as all else of a small unit, so there is one for many.
pub(super) struct Product<V> {
    mantissas: V,
    exponents: V,
    n: usize,
}

impl<V: Lane> Product<V> {
    /// Mantissas, each less than 2, whose product is a number.
    const MOST: usize = 1000;

    #[inline(always)]
    pub(super) fn one() -> Self {
        Self { mantissas: V::splat(1.0), exponents: V::splat(0.0), n: 0 }
    }

    #[inline(always)]
    pub(super) fn times(&mut self, factor: V) {
        let (mantissa, exponent) = factor.split();
        self.mantissas *= mantissa;
        self.exponents += exponent;
        self.n += 1;
        if self.n == Self::MOST {
            self.settle();
        }
    }

    #[cold]
    #[inline(never)]
    fn settle(&mut self) {
        let (mantissas, exponents) = self.mantissas.split();
        self.mantissas = mantissas;
        self.exponents += exponents;
        self.n = 1;
    }

    /// The logarithm of the product.
    #[inline(always)]
    pub(super) fn log(self) -> V {
        self.exponents * V::splat(std::f64::consts::LN_2) + self.mantissas.log()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::lanes::{Four, LANES};

    /// Pivots of which the product is far beyond doubles in some lanes, and 1 in another; more of them
    /// than mantissas are multiplied at a time.
    fn pivot(lane: usize, k: usize) -> f64 {
        let size = (k as f64 * 0.7).sin();
        [1.0 + size * size, 1e90 * (1.5 + size), 1e-120 * (1.5 + size), 1.0][lane]
    }

    #[test]
    fn logarithms_of_products_are_sums_of_logarithms_in_every_lane() {
        let mut all = Product::<Four>::one();
        let mut alone = [(); LANES].map(|()| Product::<f64>::one());
        let mut sums = [0.0; LANES];
        for k in 0..2500 {
            all.times(Four::from_lanes(|lane| pivot(lane, k)));
            for (lane, own) in alone.iter_mut().enumerate() {
                own.times(pivot(lane, k));
                sums[lane] += pivot(lane, k).ln();
            }
        }
        let all = all.log();
        for (lane, own) in alone.into_iter().enumerate() {
            let found = own.log();
            assert_eq!(all.lane(lane).to_bits(), found.to_bits());
            assert!((found - sums[lane]).abs() <= 1e-12 * sums[lane].abs(), "{lane}");
        }
    }
}
