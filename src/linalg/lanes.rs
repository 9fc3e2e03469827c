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

    /// Is every lane positive and finite? Not where one is NaN.
    fn is_positive(self) -> bool;

    /// Is every lane above one number and below another? Not where one is NaN.
    fn is_between(self, least: f64, most: f64) -> bool;
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
    fn is_positive(self) -> bool {
        self > 0.0 && self.is_finite()
    }

    #[inline(always)]
    fn is_between(self, least: f64, most: f64) -> bool {
        self > least && self < most
    }
}

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
    fn is_positive(self) -> bool {
        self.is_between(0.0, f64::INFINITY)
    }

    #[inline(always)]
    fn is_between(self, least: f64, most: f64) -> bool {
        // Counted, not looked at one by one: comparisons of all lanes are one instruction then.
        let mut inside = 0_u64;
        for value in self.0 {
            inside += u64::from(value > least) & u64::from(value < most);
        }
        inside == LANES as u64
    }
}
