//! Short units rotated four at a time, a unit in each lane: the steps of one alone, to the same bits.

use std::ops::Range;

use super::gather::{Places, four_by_four, together};
use crate::linalg::beside::read;
use crate::linalg::dense::{Kernel, SMALLEST_SQUARE, block, vectorised};
use crate::linalg::lanes::{Four, LANES, Lane, sum_of, transposed};
use crate::rows::columns::{Column, RowColumns, Values};
use crate::rows::nesting::Nesting;

/// Numbers of four units that stay in the cache nearest to the processor.
const MOST_NUMBERS: usize = 4096;

/// Four units of as many rows each, one column after the other.
pub(super) struct FourUnits {
    /// Row i of column c at `c * n + i`.
    pub(super) numbers: Vec<Four>,
    /// Rows of each.
    pub(super) n: usize,
}

impl FourUnits {
    pub(super) fn new() -> Self {
        Self { numbers: Vec::new(), n: 0 }
    }

    /// Have the next four units as many rows, few enough to stand side by side?
    pub(super) fn fits(
        children: impl Fn(usize) -> Range<usize>,
        first: usize,
        width: usize,
    ) -> bool {
        let n = children(first).len();
        n > 0
            && n * width * LANES <= MOST_NUMBERS
            && (1..LANES).all(|lane| children(first + lane).len() == n)
    }

    /// Reads the rows from position `first` on, `n` of each unit, centred, scaled and weighted.
    pub(super) fn gather(
        &mut self,
        nesting: &Nesting,
        places: &Places,
        columns: &RowColumns,
        order: &[Column],
        first: usize,
        n: usize,
    ) {
        self.n = n;
        self.numbers.clear();
        self.numbers.resize(n * order.len(), Four::splat(0.0));
        let sorted = places.of(nesting, first..first + LANES * n);
        let is_staged = matches!(places, Places::Staged { .. });
        vectorised(Gather { order, first, n, sorted, is_staged, out: &mut self.numbers });
        if let Some(weights) = columns.sqrt_weights {
            let place = |i: usize, lane: usize| nesting.row_at(first + lane * n + i);
            let all: Vec<Four> =
                (0..n).map(|i| Four::from_lanes(|lane| weights[place(i, lane)])).collect();
            for out in self.numbers.chunks_exact_mut(n) {
                out.iter_mut().zip(&all).for_each(|(o, &w)| *o *= w);
            }
        }
    }

    /// Triangularises the first `q` columns by reflections of all.
    pub(super) fn reflect(&mut self, q: usize) {
        vectorised(Reflect { columns: &mut self.numbers, n: self.n, q: q.min(self.n) });
    }
}

struct Gather<'a> {
    order: &'a [Column<'a>],
    first: usize,
    n: usize,
    /// The rows that stand at the positions, unless they are the same.
    sorted: Option<&'a [u32]>,
    is_staged: bool,
    out: &'a mut [Four],
}

impl Kernel for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn call(mut self) {
        let (n, mut c) = (self.n, 0);
        while let Some(&Column { values, center, scale }) = self.order.get(c) {
            match (values, self.sorted) {
                (Some(values), Some(sorted)) if self.is_staged => {
                    c += self.side_by_side(c, values, sorted);
                    continue;
                }
                (Some(values), Some(sorted)) => {
                    let row = |i: usize, lane: usize| sorted[lane * n + i] as usize;
                    self.put(c, 0, |i| Four::from_lanes(|lane| values.row(row(i, lane))));
                }
                (Some(values), None) if values.stride == 1 => self.contiguous(c, values),
                (Some(values), None) => {
                    let first = self.first;
                    let row = |i: usize, lane: usize| first + lane * n + i;
                    self.put(c, 0, |i| Four::from_lanes(|lane| values.row(row(i, lane))));
                }
                (None, _) => self.out[block(c, n)].fill(Four::splat((1.0 - center) * scale)),
            }
            c += 1;
        }
    }
}

impl Gather<'_> {
    /// Puts the values of a column from the `first`-th row of each unit on.
    #[inline(always)]
    fn put(&mut self, c: usize, first: usize, value: impl Fn(usize) -> Four) {
        let Column { center, scale, .. } = self.order[c];
        let (center, scale) = (Four::splat(center), Four::splat(scale));
        let out = &mut self.out[block(c, self.n)];
        for i in first..self.n {
            out[i] = (value(i) - center) * scale;
        }
    }

    /// A column of rows in the order in which they lie: four rows of each unit at a time.
    #[inline(always)]
    fn contiguous(&mut self, c: usize, values: Values) {
        let (n, Column { center, scale, .. }) = (self.n, self.order[c]);
        let (center, scale) = (Four::splat(center), Four::splat(scale));
        let data = &values.data[values.offset + self.first..][..LANES * n];
        let (whole, out) = (n - n % LANES, &mut self.out[block(c, n)]);
        let mut i = 0;
        while i < whole {
            let unit = |lane: usize| read(data, lane * n + i);
            let four = transposed([unit(0), unit(1), unit(2), unit(3)]);
            for k in 0..LANES {
                out[i + k] = (four[k] - center) * scale;
            }
            i += LANES;
        }
        self.put(c, whole, |i| Four::from_lanes(|lane| data[lane * n + i]));
    }

    /// Up to four columns that stand side by side in memory, from column `c` on; how many.
    #[inline(always)]
    fn side_by_side(&mut self, c: usize, first: Values, sorted: &[u32]) -> usize {
        let together = together(&self.order[c..], first);
        let n = self.n;
        if first.offset + LANES > first.stride {
            let row = |i: usize, lane: usize| sorted[lane * n + i] as usize;
            self.put(c, 0, |i| Four::from_lanes(|lane| first.row(row(i, lane))));
            return 1;
        }
        for i in 0..n {
            let row = |lane: usize| sorted[lane * n + i];
            let four = four_by_four(first, [row(0), row(1), row(2), row(3)]);
            for j in 0..together {
                let Column { center, scale, .. } = self.order[c + j];
                self.out[(c + j) * n + i] = (four[j] - Four::splat(center)) * Four::splat(scale);
            }
        }
        together
    }
}

struct Reflect<'a> {
    columns: &'a mut [Four],
    n: usize,
    q: usize,
}

impl Kernel for Reflect<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { columns, n, q } = self;
        for j in 0..q {
            let (head, tail) = columns.split_at_mut((j + 1) * n);
            let (alpha, v) = head[j * n + j..].split_at_mut(1);
            if v.is_empty() {
                continue;
            }
            let (beta, tau) = householder(alpha[0], v);
            alpha[0] = beta;
            for column in tail.chunks_exact_mut(n) {
                let (first, rest) = column[j..].split_at_mut(1);
                let s = tau * (first[0] + dot(v, rest));
                first[0] -= s;
                let back = -s;
                for i in 0..v.len() {
                    rest[i] += back * v[i];
                }
            }
        }
    }
}

/// `dense::dot` of each lane.
#[inline(always)]
fn dot(x: &[Four], y: &[Four]) -> Four {
    let y = &y[..x.len()];
    sum_of(x.len(), |i| x[i] * y[i])
}

/// `dense::householder` of each lane; a lane without a reflector gets one that changes nothing.
#[inline(always)]
fn householder(alpha: Four, x: &mut [Four]) -> (Four, Four) {
    let tail = dot(x, x);
    let norm = (alpha * alpha + tail).root();
    let by_sign =
        Four::from_lanes(
            |lane| {
                if alpha.lane(lane) > 0.0 { -norm.lane(lane) } else { norm.lane(lane) }
            },
        );
    let (scales, taus) = (Four::splat(1.0) / (alpha - by_sign), (by_sign - alpha) / by_sign);
    let none = |lane: usize| tail.lane(lane) < SMALLEST_SQUARE;
    let unless = |value: Four, other: Four| {
        Four::from_lanes(|lane| if none(lane) { other.lane(lane) } else { value.lane(lane) })
    };
    let (scale, zero) = (unless(scales, Four::splat(0.0)), Four::splat(0.0));
    for value in x.iter_mut() {
        *value *= scale;
    }
    (unless(by_sign, alpha), unless(taus, zero))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns of which some are zero, or constant, in some units.
    #[test]
    fn four_units_have_the_bits_of_one_alone() {
        for (n, q) in [(1, 2), (2, 2), (3, 2), (10, 3), (19, 3)] {
            let width = q + 3;
            let value = |lane: usize, c: usize, i: usize| match (lane, c) {
                (1, 1) => 0.0,
                (2, 0) => 1.5,
                _ => ((lane * 37 + c * 11 + i * 5) as f64 * 0.7).sin(),
            };
            let mut four = FourUnits { numbers: Vec::new(), n };
            for c in 0..width {
                let row = |i| Four::from_lanes(|lane| value(lane, c, i));
                four.numbers.extend((0..n).map(row));
            }
            four.reflect(q);
            for lane in 0..LANES {
                let mut alone: Vec<f64> =
                    (0..width * n).map(|k| value(lane, k / n, k % n)).collect();
                super::super::chunk::reflect(&mut alone, n, q.min(n), &mut Vec::new());
                for c in 0..width {
                    for i in (0..n).filter(|&i| c >= q || i <= c) {
                        // Adding zero turns -0 into 0.
                        let own = alone[c * n + i] + 0.0;
                        let side = four.numbers[c * n + i].lane(lane) + 0.0;
                        assert_eq!(own.to_bits(), side.to_bits(), "{n} {q} {lane} {c} {i}");
                    }
                }
            }
        }
    }
}
