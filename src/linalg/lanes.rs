//! Arithmetic on one number, or on several side by side that stand for several fits.
//!
//! Each lane has the operations of the one number in the same order, so the same bits.

use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

/// A number in each of some lanes.
pub trait Lane:
    Copy
    + Send
    + Sync
    + Neg<Output = Self>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
{
    /// Number of lanes.
    const COUNT: usize;

    /// The same number in every lane.
    fn splat(value: f64) -> Self;

    /// A number by lane.
    fn from_lanes(number: impl Fn(usize) -> f64) -> Self;

    /// The number in a lane.
    fn lane(&self, lane: usize) -> f64;

    /// Puts a number into a lane.
    fn set(&mut self, lane: usize, value: f64);

    /// Square roots.
    #[must_use]
    fn root(self) -> Self;

    /// Natural logarithms.
    #[must_use]
    fn log(self) -> Self;

    /// The smaller number in each lane; the first where one is NaN.
    #[must_use]
    fn least(self, other: Self) -> Self;

    /// The larger number in each lane; the other where one is NaN.
    #[must_use]
    fn most(self, other: Self) -> Self;

    /// Numbers without their signs.
    #[must_use]
    fn size(self) -> Self;

    /// In each lane `yes` where the number is above another, `no` elsewhere, as where one is NaN.
    #[must_use]
    fn where_above(self, other: Self, yes: Self, no: Self) -> Self;

    /// Is it in any lane?
    fn is_above_in_any(self, other: Self) -> bool;

    /// Mantissas, from 1 to 2, and exponents of positive normal numbers.
    #[must_use]
    fn split(self) -> (Self, Self);

    /// Is every lane positive and finite? Not where one is NaN.
    fn is_positive(self) -> bool;
}

impl Lane for f64 {
    const COUNT: usize = 1;

    #[inline(always)]
    fn splat(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn from_lanes(number: impl Fn(usize) -> f64) -> Self {
        number(0)
    }

    #[inline(always)]
    fn lane(&self, _: usize) -> f64 {
        *self
    }

    #[inline(always)]
    fn set(&mut self, _: usize, value: f64) {
        *self = value;
    }

    #[inline(always)]
    fn root(self) -> Self {
        self.sqrt()
    }

    #[inline(always)]
    fn log(self) -> Self {
        self.ln()
    }

    #[inline(always)]
    fn least(self, other: Self) -> Self {
        if other < self { other } else { self }
    }

    #[inline(always)]
    fn most(self, other: Self) -> Self {
        self.max(other)
    }

    #[inline(always)]
    fn size(self) -> Self {
        self.abs()
    }

    #[inline(always)]
    fn where_above(self, other: Self, yes: Self, no: Self) -> Self {
        if self > other { yes } else { no }
    }

    #[inline(always)]
    fn is_above_in_any(self, other: Self) -> bool {
        self > other
    }

    #[inline(always)]
    fn split(self) -> (Self, Self) {
        let bits = self.to_bits();
        let exponent = f64::from_bits(bits >> 52 | LARGE.to_bits()) - (LARGE + 1023.0);
        (f64::from_bits(bits & MANTISSA | 1_f64.to_bits()), exponent)
    }

    #[inline(always)]
    fn is_positive(self) -> bool {
        self > 0.0 && self.is_finite()
    }
}

/// 2^52: the last bits of numbers from here on are those of whole numbers.
const LARGE: f64 = 4_503_599_627_370_496.0;
/// Bits of a number's mantissa.
const MANTISSA: u64 = (1 << 52) - 1;

/// Lanes of [`Four`].
pub const LANES: usize = 4;

/// Four numbers.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub struct Four([f64; LANES]);

macro_rules! by_lane {
    ($trait:ident, $method:ident, $assign:ident, $assigned:ident, $operator:tt, $assigns:tt) => {
        impl $trait for Four {
            type Output = Self;

            #[inline(always)]
            fn $method(mut self, other: Self) -> Self {
                for k in 0..LANES {
                    self.0[k] $assigns other.0[k];
                }
                self
            }
        }

        impl $assign for Four {
            #[inline(always)]
            fn $assigned(&mut self, other: Self) {
                *self = *self $operator other;
            }
        }
    };
}

by_lane!(Add, add, AddAssign, add_assign, +, +=);
by_lane!(Sub, sub, SubAssign, sub_assign, -, -=);
by_lane!(Mul, mul, MulAssign, mul_assign, *, *=);
by_lane!(Div, div, DivAssign, div_assign, /, /=);

impl Neg for Four {
    type Output = Self;

    #[inline(always)]
    fn neg(mut self) -> Self {
        for value in &mut self.0 {
            *value = -*value;
        }
        self
    }
}

/// Lane i of each of four, in the i-th.
#[inline(always)]
#[must_use]
pub fn transposed(four: [Four; LANES]) -> [Four; LANES] {
    [
        Four::from_lanes(|k| four[k].lane(0)),
        Four::from_lanes(|k| four[k].lane(1)),
        Four::from_lanes(|k| four[k].lane(2)),
        Four::from_lanes(|k| four[k].lane(3)),
    ]
}

/// The sum of `n` terms in the order of [`super::dense::dot`].
#[inline(always)]
pub fn sum_of<V: Lane>(n: usize, term: impl Fn(usize) -> V) -> V {
    let mut sums = [V::splat(0.0); 8];
    let whole = n - n % 8;
    let mut i = 0;
    while i < whole {
        for k in 0..8 {
            sums[k] += term(i + k);
        }
        i += 8;
    }
    let mut tail = V::splat(0.0);
    while i < n {
        tail += term(i);
        i += 1;
    }
    let [a, b, c, d, e, f, g, h] = sums;
    (((a + e) + (b + f)) + ((c + g) + (d + h))) + tail
}

impl Lane for Four {
    const COUNT: usize = LANES;

    #[inline(always)]
    fn splat(value: f64) -> Self {
        Self([value; LANES])
    }

    #[inline(always)]
    fn from_lanes(number: impl Fn(usize) -> f64) -> Self {
        Self([number(0), number(1), number(2), number(3)])
    }

    #[inline(always)]
    fn lane(&self, lane: usize) -> f64 {
        self.0[lane]
    }

    #[inline(always)]
    fn set(&mut self, lane: usize, value: f64) {
        self.0[lane] = value;
    }

    #[inline(always)]
    fn root(mut self) -> Self {
        for value in &mut self.0 {
            *value = value.sqrt();
        }
        self
    }

    #[inline(always)]
    fn log(mut self) -> Self {
        for value in &mut self.0 {
            *value = value.ln();
        }
        self
    }

    #[inline(always)]
    fn least(mut self, other: Self) -> Self {
        for k in 0..LANES {
            self.0[k] = self.0[k].least(other.0[k]);
        }
        self
    }

    #[inline(always)]
    fn most(mut self, other: Self) -> Self {
        for k in 0..LANES {
            self.0[k] = self.0[k].max(other.0[k]);
        }
        self
    }

    #[inline(always)]
    fn size(mut self) -> Self {
        for value in &mut self.0 {
            *value = value.abs();
        }
        self
    }

    #[inline(always)]
    fn where_above(self, other: Self, yes: Self, mut no: Self) -> Self {
        for k in 0..LANES {
            no.0[k] = if self.0[k] > other.0[k] { yes.0[k] } else { no.0[k] };
        }
        no
    }

    #[inline(always)]
    fn is_above_in_any(self, other: Self) -> bool {
        let mut any = false;
        for k in 0..LANES {
            any |= self.0[k] > other.0[k];
        }
        any
    }

    #[inline(always)]
    fn split(self) -> (Self, Self) {
        let (mut mantissa, mut exponent) = (self, self);
        for k in 0..LANES {
            (mantissa.0[k], exponent.0[k]) = self.0[k].split();
        }
        (mantissa, exponent)
    }

    #[inline(always)]
    fn is_positive(self) -> bool {
        self.0.iter().all(|value| *value > 0.0 && value.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mantissas_and_exponents_make_the_numbers_again() {
        let numbers = [1.0, 0.75e-300, 6.02e23, f64::MAX];
        let (mantissa, exponent) = Four(numbers).split();
        for (lane, number) in numbers.into_iter().enumerate() {
            assert!((1.0..2.0).contains(&mantissa.lane(lane)));
            // In two steps: 2^1023 times 2 is no number.
            let half = (exponent.lane(lane) / 2.0).floor();
            let again = mantissa.lane(lane) * half.exp2() * (exponent.lane(lane) - half).exp2();
            assert_eq!(again.to_bits(), number.to_bits());
            let (own, power) = number.split();
            assert_eq!(own.to_bits(), mantissa.lane(lane).to_bits());
            assert_eq!(power.to_bits(), exponent.lane(lane).to_bits());
        }
    }

    #[test]
    fn the_smaller_number_is_the_first_where_one_is_nan() {
        let least = Four([1.0, 2.0, f64::NAN, 3.0]).least(Four([2.0, 1.0, 1.0, f64::NAN]));
        let bits = |value: f64| value.to_bits();
        assert_eq!([0, 1, 3].map(|lane| bits(least.lane(lane))), [1.0, 1.0, 3.0].map(bits));
        assert!(least.lane(2).is_nan());
    }

    #[test]
    fn sums_have_the_bits_of_products_of_vectors() {
        for n in [0, 1, 7, 8, 9, 20] {
            let value = |k: usize, lane: usize| ((k * 7 + lane) as f64 * 0.3).sin();
            let y: Vec<Four> = (0..n).map(|k| Four::from_lanes(|lane| value(k, lane))).collect();
            let sum = sum_of(n, |k| Four::splat(value(k, 9)) * y[k]);
            for lane in 0..LANES {
                let own: Vec<f64> = (0..n).map(|k| value(k, lane)).collect();
                let by: Vec<f64> = (0..n).map(|k| value(k, 9)).collect();
                let alone = crate::linalg::dense::dot(&by, &own);
                assert_eq!(sum.lane(lane).to_bits(), alone.to_bits(), "{n}");
            }
        }
    }
}
