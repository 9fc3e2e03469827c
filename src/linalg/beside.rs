//! Vectors that stand side by side: a row of one number of each, then the next row.
//!
//! Four are taken at a time, with the steps that `dense` has for one alone, to the same bits.

use std::ops::Range;

use super::dense::{Kernel, vectorised};
use super::lanes::{Four, LANES, Lane, sum_of};

/// A reflection I - tau [1 v]'[1 v] of some numbers and of as many rows as v has numbers.
#[derive(Clone, Copy)]
pub struct Reflection<'a> {
    /// v.
    pub v: &'a [f64],
    /// tau; 0 where nothing is reflected.
    pub tau: f64,
}

/// Reflects `first` and the `rows` after it, as many numbers a row as `first` has.
pub fn reflect(by: Reflection, first: &mut [f64], rows: &mut [f64]) {
    if by.tau != 0.0 {
        vectorised(Reflect { by, first, rows });
    }
}

struct Reflect<'a> {
    by: Reflection<'a>,
    first: &'a mut [f64],
    rows: &'a mut [f64],
}

impl Kernel for Reflect<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { by, first, rows } = self;
        let width = first.len();
        let whole = width - width % LANES;
        for at in (0..whole).step_by(LANES) {
            reflect_some::<Four>(by, first, rows, at);
        }
        for at in whole..width {
            reflect_some::<f64>(by, first, rows, at);
        }
    }
}

/// Reflects the vectors from the `at`-th on, one in each lane.
#[inline(always)]
fn reflect_some<V: Lane>(by: Reflection, first: &mut [f64], rows: &mut [f64], at: usize) {
    let (width, head) = (first.len(), read::<V>(first, at));
    let along = sum_of::<V>(by.v.len(), |i| V::splat(by.v[i]) * read(rows, i * width + at));
    let s = V::splat(by.tau) * (head + along);
    write(first, at, head - s);
    let back = -s;
    for (i, &v) in by.v.iter().enumerate() {
        let own = read::<V>(rows, i * width + at);
        write(rows, i * width + at, own + back * V::splat(v));
    }
}

/// Reflects `first(j)`, a stretch of `factor`, and the rows of `width` numbers by each reflection in
/// turn, and adds what is left of the squares of rows to `squares`: what is at hand stays so.
pub fn reflect_into(
    all: &[Reflection],
    factor: &mut [f64],
    first: impl Fn(usize) -> Range<usize>,
    rows: &mut [f64],
    squares: &mut [f64],
) {
    vectorised(ReflectInto { all, factor, first, rows, squares });
}

struct ReflectInto<'a, F> {
    all: &'a [Reflection<'a>],
    factor: &'a mut [f64],
    first: F,
    rows: &'a mut [f64],
    squares: &'a mut [f64],
}

impl<F: Fn(usize) -> Range<usize>> Kernel for ReflectInto<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(mut self) {
        let width = self.squares.len();
        let whole = width - width % LANES;
        for at in (0..whole).step_by(LANES) {
            self.some::<Four>(at);
        }
        for at in whole..width {
            self.some::<f64>(at);
        }
    }
}

impl<F: Fn(usize) -> Range<usize>> ReflectInto<'_, F> {
    #[inline(always)]
    fn some<V: Lane>(&mut self, at: usize) {
        let width = self.squares.len();
        for (j, &by) in self.all.iter().enumerate() {
            if by.tau != 0.0 {
                let first = &mut self.factor[(self.first)(j)];
                reflect_some::<V>(by, first, self.rows, at);
            }
        }
        let n = self.rows.len() / width;
        let own = |i: usize| read::<V>(self.rows, i * width + at);
        let left = sum_of::<V>(n, |i| own(i) * own(i));
        let before = read::<V>(self.squares, at);
        write(self.squares, at, before + left);
    }
}

/// The numbers of a row from the `at`-th on, one in each lane.
#[inline(always)]
#[must_use]
pub fn read<V: Lane>(values: &[f64], at: usize) -> V {
    let own = &values[at..at + V::COUNT];
    V::from_lanes(|lane| own[lane])
}

/// Puts them back.
#[inline(always)]
pub fn write<V: Lane>(values: &mut [f64], at: usize, value: V) {
    for (lane, to) in values[at..at + V::COUNT].iter_mut().enumerate() {
        *to = value.lane(lane);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::dense::{axpy, dot};

    #[test]
    fn vectors_side_by_side_have_the_bits_of_each_alone() {
        let value = |k: usize| (k as f64 * 0.61).sin();
        for (n, width) in [(0, 3), (1, 5), (8, 4), (9, 7), (64, 9)] {
            let v: Vec<f64> = (0..n).map(|i| value(3 * i + 1)).collect();
            let w: Vec<f64> = (0..n).map(|i| value(5 * i + 2)).collect();
            let all = [Reflection { v: &v, tau: 1.3 }, Reflection { v: &w, tau: 0.7 }];
            let start: Vec<f64> = (0..n * width).map(|k| value(k + 11)).collect();
            let factor: Vec<f64> = (0..2 * width).map(|k| value(k + 5)).collect();
            let mut squares: Vec<f64> = (0..width).map(value).collect();
            let (mut rows, mut own) = (start.clone(), factor.clone());
            let first = |j: usize| j * width..(j + 1) * width;
            reflect_into(&all, &mut own, first, &mut rows, &mut squares);
            let (mut again, mut one_by_one) = (start.clone(), factor.clone());
            for (by, first) in all.into_iter().zip(one_by_one.chunks_exact_mut(width)) {
                reflect(by, first, &mut again);
            }
            for f in 0..width {
                let mut column: Vec<f64> = (0..n).map(|i| start[i * width + f]).collect();
                let mut head = [factor[f], factor[width + f]];
                for (by, head) in all.iter().zip(&mut head) {
                    let s = by.tau * (*head + dot(by.v, &column));
                    *head -= s;
                    axpy(-s, by.v, &mut column);
                }
                let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                for (rows, factor) in [(&rows, &own), (&again, &one_by_one)] {
                    let found: Vec<f64> = (0..n).map(|i| rows[i * width + f]).collect();
                    assert_eq!(bits(&found), bits(&column), "{n} {width} {f}");
                    assert_eq!(bits(&[factor[f], factor[width + f]]), bits(&head));
                }
                let alone = value(f) + dot(&column, &column);
                assert_eq!(squares[f].to_bits(), alone.to_bits());
            }
        }
    }
}
