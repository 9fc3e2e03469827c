//! Logarithms of determinants: one for the pivots of many units.

use crate::linalg::lanes::Lane;

/// A product of positive numbers that may be too large, or too small, for one number: a logarithm
/// costs as much as all else of a small unit, so there is one for many.
pub(super) struct Product<V> {
    product: V,
    logs: V,
}

impl<V: Lane> Product<V> {
    /// Roots of doubles leave room beside these.
    const LEAST: f64 = 1e-100;
    const MOST: f64 = 1e100;

    #[inline(always)]
    pub(super) fn one() -> Self {
        Self { product: V::splat(1.0), logs: V::splat(0.0) }
    }

    #[inline(always)]
    pub(super) fn times(&mut self, factor: V) {
        self.product *= factor;
        if !self.product.is_between(Self::LEAST, Self::MOST) {
            self.settle();
        }
    }

    /// Takes logarithms where it is time to; each lane for itself.
    #[cold]
    #[inline(never)]
    fn settle(&mut self) {
        for lane in 0..V::COUNT {
            let product = self.product.lane(lane);
            if !product.is_between(Self::LEAST, Self::MOST) {
                self.logs.set(lane, self.logs.lane(lane) + product.ln());
                self.product.set(lane, 1.0);
            }
        }
    }

    /// The logarithm of the product.
    #[inline(always)]
    pub(super) fn log(self) -> V {
        self.logs + self.product.log()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::lanes::{Four, LANES};

    /// Pivots of which the product is far beyond doubles in some lanes, and 1 in another.
    fn pivot(lane: usize, k: usize) -> f64 {
        let size = (k as f64 * 0.7).sin();
        [1.0 + size * size, 1e90 * (1.5 + size), 1e-120 * (1.5 + size), 1.0][lane]
    }

    #[test]
    fn logarithms_of_products_are_sums_of_logarithms_in_every_lane() {
        let mut all = Product::<Four>::one();
        let mut alone = [(); LANES].map(|()| Product::<f64>::one());
        let mut sums = [0.0; LANES];
        for k in 0..500 {
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
