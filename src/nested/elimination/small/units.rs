//! The units of some fits side by side.
//!
//! Where each unit stands for itself, fits may have different numbers of units: those that a lane lacks
//! are units of zeros, which add nothing to any sum.

use super::matrices::Rows;
use super::sizes::MOST_COLUMNS;
use crate::linalg::lanes::{LANES, Lane};
use crate::nested::patterns::Pattern;
use crate::nested::reduction::Reduction;

/// Numbers of a unit that a lane lacks.
static NOTHING: [f64; 64] = [0.0; 64];

/// Numbers of each of some lanes: of at most [`LANES`], so none of it is on the heap.
#[derive(Clone, Copy)]
pub(super) struct ByLane<'a> {
    own: [&'a [f64]; LANES],
    n: usize,
}

impl<'a> ByLane<'a> {
    pub(super) fn of(parts: impl Iterator<Item = &'a [f64]>) -> Self {
        let mut out = Self { own: [&[]; LANES], n: 0 };
        for part in parts {
            // Lanes without a fit have the last one's numbers, and nobody reads what comes of them.
            out.own[out.n..].fill(part);
            out.n += 1;
        }
        out
    }

    /// One for each lane of V; none where there are none at all.
    pub(super) fn lanes<V: Lane>(&self) -> &[&'a [f64]] {
        &self.own[..V::COUNT.min(self.n * LANES)]
    }
}

/// The units of a fit in each lane: the same patterns in all, or each unit its own.
pub(super) struct Units<'a> {
    pub(super) patterns: &'a [Pattern],
    /// Columns of [X y].
    w: usize,
    /// By lane, rows of [T X]; one where all lanes share them.
    design: ByLane<'a>,
    response: ByLane<'a>,
}

impl<'a> Units<'a> {
    /// Of fits of reductions; `None` where their patterns differ in more than the number of units.
    pub(super) fn of(fits: &[(&'a Reduction, usize)]) -> Option<Self> {
        let (first, _) = fits[0];
        let shared = fits.iter().all(|&(reduction, _)| std::ptr::eq(reduction, first));
        let mut patterns = &first.patterns;
        if !shared && fits.iter().any(|(other, _)| other.patterns != *patterns) {
            if !fits.iter().all(|(own, _)| own.patterns.iter().enumerate().all(Pattern::is_unit)) {
                return None;
            }
            let longest = fits.iter().map(|(own, _)| &own.patterns).max_by_key(|own| own.len());
            patterns = longest.unwrap_or(patterns);
        }
        let design = |&(reduction, _): &(&'a Reduction, usize)| &reduction.levels[0].design[..];
        let response = |&(reduction, fit): &(&'a Reduction, usize)| {
            let size = reduction.levels[0].response.len() / reduction.n_fits.max(1);
            &reduction.levels[0].response[fit * size..(fit + 1) * size]
        };
        Some(Self {
            patterns,
            w: first.rank() + 1,
            design: ByLane::of(fits[..if shared { 1 } else { fits.len() }].iter().map(design)),
            response: ByLane::of(fits.iter().map(response)),
        })
    }

    /// [T X y] of a block; columns of zeros follow where W is more than there are.
    #[inline(always)]
    pub(super) fn rows<V: Lane, const Q: usize, const W: usize>(&self, b: usize) -> Rows<V, Q, W> {
        if W <= MOST_COLUMNS || self.w == W { self.exact_rows(b) } else { self.padded_rows(b) }
    }

    #[inline(always)]
    fn padded_rows<V: Lane, const Q: usize, const W: usize>(&self, b: usize) -> Rows<V, Q, W> {
        let zero = V::splat(0.0);
        let mut rows = Rows { t: [[zero; Q]; Q], a: [[zero; W]; Q] };
        let (rank, columns) = (self.w - 1, Q + self.w - 1);
        for lane in 0..V::COUNT {
            let design = self.design.own[if self.design.n == 1 { 0 } else { lane }];
            let rows_of_design = design[b * Q * columns..].chunks_exact(columns);
            for (i, row) in rows_of_design.take(Q).enumerate() {
                rows.t[i].iter_mut().zip(row).for_each(|(to, &from)| to.set(lane, from));
                let x = rows.a[i][..rank].iter_mut().zip(&row[Q..]);
                x.for_each(|(to, &from)| to.set(lane, from));
                rows.a[i][rank].set(lane, self.response.own[lane][b * Q + i]);
            }
        }
        rows
    }

    #[inline(always)]
    fn exact_rows<V: Lane, const Q: usize, const W: usize>(&self, b: usize) -> Rows<V, Q, W> {
        let size = Q * (Q + W - 1);
        let y = self.responses::<V, Q>(b);
        let response = |i: usize| V::from_lanes(|lane| y[lane][i]);
        let block = |k: usize| part(self.design.own[k], b, size);
        let first = block(0);
        if self.design.n == 1 {
            return made(|at| V::splat(first[at]), response);
        }
        let lanes: [&[f64]; LANES] =
            std::array::from_fn(|k| if k >= V::COUNT { first } else { block(k) });
        made(|at| V::from_lanes(|lane| lanes[lane][at]), response)
    }

    /// y of a block by lane.
    #[inline(always)]
    pub(super) fn responses<V: Lane, const Q: usize>(&self, b: usize) -> [&[f64]; LANES] {
        let y = |k: usize| part(self.response.own[k], b, Q);
        let own = y(0);
        std::array::from_fn(|k| if k >= V::COUNT { own } else { y(k) })
    }
}

/// [T X y] from the numbers of [T X], row by row, and those of y.
#[inline(always)]
fn made<V: Lane, const Q: usize, const W: usize>(
    design: impl Fn(usize) -> V,
    response: impl Fn(usize) -> V,
) -> Rows<V, Q, W> {
    let zero = V::splat(0.0);
    let mut rows = Rows { t: [[zero; Q]; Q], a: [[zero; W]; Q] };
    let columns = Q + W - 1;
    for i in 0..Q {
        // Bounds that are constants let loops of loops be written out, and numbers stay in registers.
        for j in 0..Q {
            if j >= i {
                rows.t[i][j] = design(i * columns + j);
            }
        }
        for j in 0..W - 1 {
            rows.a[i][j] = design(i * columns + Q + j);
        }
        rows.a[i][W - 1] = response(i);
    }
    rows
}

/// The numbers of unit `b`, `size` a unit; zeros where there is none.
#[inline(always)]
fn part(all: &[f64], b: usize, size: usize) -> &[f64] {
    all.get(b * size..(b + 1) * size).unwrap_or(&NOTHING[..size])
}
