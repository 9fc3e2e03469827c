//! A fit in each lane, and where it is looked at.

use std::ops::Range;

use super::super::passes::CHUNK_BLOCKS;
use super::units::{ByLane, Units};
use crate::criterion::asked::Request;
use crate::criterion::engine::Engine;
use crate::linalg::dense::NotPositiveDefinite;
use crate::linalg::lanes::{LANES, Lane};
use crate::nested::patterns::Pattern;
use crate::nested::reduction::Reduction;
use crate::running::threads;

/// Floating-point operations below which one fit stays in the calling thread.
const PARALLEL_WORK: usize = 3_000_000;

/// Numbers that stay in the second-level cache from the values to the derivatives.
const MOST_KEPT: usize = 32_768;

/// What could not be done side by side, or at all.
pub(super) struct Failed;

impl From<NotPositiveDefinite> for Failed {
    fn from(_: NotPositiveDefinite) -> Self {
        Self
    }
}

/// A fit in each lane, and where it is looked at.
pub(super) struct At<'a> {
    pub(super) units: Units<'a>,
    /// Units in chunks, whose boundaries depend on the data only.
    chunks: Vec<Range<usize>>,
    /// Degrees of freedom of `sigma^2`, by lane.
    pub(super) degrees: [f64; LANES],
    pub(super) q: usize,
    pub(super) w: usize,
    /// By lane.
    pub(super) g: ByLane<'a>,
    pub(super) weights: ByLane<'a>,
    pub(super) remainder: ByLane<'a>,
    pub(super) reml: bool,
}

impl<'a> At<'a> {
    pub(super) fn of(
        fits: &[(&'a Reduction, usize)],
        some: Range<usize>,
        request: Request<'a>,
    ) -> Result<Self, Failed> {
        let own = &fits[some.clone()];
        let units = Units::of(own).ok_or(Failed)?;
        let (first, _) = own[0];
        let (q, w) = (first.levels[0].q, first.rank() + 1);
        let n = q * (q + 1) / 2;
        let part = |all: &'a [f64], size: usize| -> ByLane<'a> {
            let fits = if all.is_empty() { 0..0 } else { some.clone() };
            ByLane::of(fits.map(|k| &all[k * size..(k + 1) * size]))
        };
        let degrees = std::array::from_fn(|lane| {
            own[lane.min(own.len() - 1)].0.shape().degrees(request.reml)
        });
        let remainder = |&(reduction, fit): &(&'a Reduction, usize)| {
            &reduction.remainder[fit * w * w..(fit + 1) * w * w]
        };
        Ok(Self {
            chunks: chunks(units.patterns),
            units,
            degrees,
            q,
            w,
            g: part(request.g, q * q),
            weights: part(request.weights, n * n),
            remainder: ByLane::of(own.iter().map(remainder)),
            reml: request.reml,
        })
    }

    /// All units, where they are one chunk.
    pub(super) fn only_chunk(&self) -> Option<Range<usize>> {
        if let [chunk] = &self.chunks[..] { Some(chunk.clone()) } else { None }
    }

    /// What `task` finds of each chunk, by its number, in order; side by side where there is much to do.
    pub(super) fn by_chunk<T: Send>(
        &self,
        work: usize,
        task: impl Fn(usize, Range<usize>) -> Result<T, NotPositiveDefinite> + Sync + Send,
    ) -> Result<Vec<T>, NotPositiveDefinite> {
        let numbered = self.chunks.iter().cloned().enumerate();
        let task = |(k, chunk)| task(k, chunk);
        if self.chunks.len() > 1 && self.units.patterns.len() * work > PARALLEL_WORK {
            return threads::map(numbered, task).into_iter().collect();
        }
        numbered.map(task).collect()
    }

    /// Is there room for H and U of every block between the values and the derivatives?
    pub(super) fn keeps<V: Lane>(&self) -> bool {
        let n_blocks: usize = self.units.patterns.iter().map(|pattern| pattern.n_blocks).sum();
        n_blocks * V::COUNT * self.q * (self.q + self.w) <= MOST_KEPT
    }
}

fn chunks(patterns: &[Pattern]) -> Vec<Range<usize>> {
    let (mut out, mut first, mut blocks) = (Vec::new(), 0, 0);
    for (item, pattern) in patterns.iter().enumerate() {
        blocks += pattern.n_blocks;
        if blocks >= CHUNK_BLOCKS || item + 1 == patterns.len() {
            out.push(first..item + 1);
            (first, blocks) = (item + 1, 0);
        }
    }
    out
}
