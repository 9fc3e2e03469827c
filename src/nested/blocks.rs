//! Rows of [T | outer Z | X] by unit.

use std::ops::Range;

use super::series::items::Series;
use crate::linalg::dense::{block, solve_row_upper};
use crate::linalg::lanes::{Four, LANES, Lane};
use crate::linalg::small;
use crate::rows::basis::FixedBasis;
use crate::rows::level_rows::LevelRows;
use crate::rows::nesting::Nesting;
use crate::running::memory::zeros;
use crate::running::threads::{self, PARALLEL_SIZE};

/// Units per task.
const CHUNK_UNITS: usize = 4096;

/// Blocks of one level.
#[derive(Clone, Debug)]
pub struct Blocks {
    /// Random effects of the level.
    pub q: usize,
    /// Random effects of all outer levels.
    pub n_outer: usize,
    /// Children of each unit; empty at the innermost level.
    pub first_child: Vec<usize>,
    /// Per block `q` rows of [T | outer Z | X], `q + n_outer + rank` columns.
    pub design: Vec<f64>,
    /// Per fit, per block, `q` responses.
    pub response: Vec<f64>,
    /// Upper triangular B with z = (transformed z) B, `q` x `q`.
    pub basis: Vec<f64>,
    /// Is this the residual's level, whose W is T R T' and not I + T G T'?
    pub is_residual: bool,
    /// The residual's level where its units are series; `q` is then 0, and blocks stand in here.
    pub series: Option<Series>,
}

/// Blocks of the rotated rows of level `l` in the coordinates of the iterations.
pub(super) fn change_basis(
    level: &LevelRows,
    l: usize,
    nesting: &Nesting,
    fixed: &FixedBasis,
    bases: &[Vec<f64>],
    n_fits: usize,
) -> Blocks {
    let q = level.q;
    let rank = fixed.kept.len();
    let q_of = |j: usize| (bases[j].len() as f64).sqrt() as usize;
    let n_outer: usize = (0..l).map(q_of).sum();
    let columns = q + n_outer + rank;
    let n_rows = level.design.len() / level.n_columns.max(1);
    let mut design = zeros(n_rows * columns);
    let mut response = zeros(n_fits * n_rows);
    let step =
        if n_rows * columns > PARALLEL_SIZE { q.max(1) * CHUNK_UNITS } else { n_rows.max(1) };
    let mut pieces = Vec::new();
    let mut rest = &mut design[..];
    for first in (0..n_rows).step_by(step) {
        let (own, others) = rest.split_at_mut(step.min(n_rows - first) * columns);
        pieces.push((first, own, Vec::with_capacity(n_fits)));
        rest = others;
    }
    for of_fit in response.chunks_mut(n_rows.max(1)) {
        for ((.., responses), own) in pieces.iter_mut().zip(of_fit.chunks_mut(step)) {
            responses.push(own);
        }
    }
    let identity = |j: usize| bases[j] == small::identity(q_of(j));
    let given: Vec<bool> = (0..=l).map(identity).collect();
    threads::each(pieces, |(first, design, mut responses)| {
        let last = (first + step).min(n_rows);
        map_fixed(level, fixed, first..last, q + n_outer, design);
        let mut signs = Vec::with_capacity(last - first);
        for r in first..last {
            let k = r - first;
            let out = &mut design[block(k, columns)];
            let row = &level.design[block(r, level.n_columns)];
            let out_z = &mut out[..q + n_outer];
            out_z.copy_from_slice(&row[..q + n_outer]);
            let mut at = 0;
            for j in (0..=l).rev() {
                let size = q_of(j);
                if !given[j] {
                    solve_row_upper(&bases[j], size, &mut out_z[at..at + size]);
                }
                at += size;
            }
            // The sign of a rotated row is arbitrary; a positive diagonal lets equal units be found.
            let sign = if q > 0 && out_z[r % q] < 0.0 { -1.0 } else { 1.0 };
            signs.push(sign);
            // Adding zero turns -0 into 0, whose bits differ.
            out.iter_mut().for_each(|value| *value = sign * *value + 0.0);
        }
        for fit in (0..n_fits).step_by(LANES) {
            let x = (0..signs.len()).map(|k| &design[block(k, columns)][q + n_outer..]);
            let y = |k: usize, fit: usize| signs[k] * level.response[(first + k) * n_fits + fit];
            fixed.map_responses(fit, x, y, |k, fit, value| responses[fit][k] = value);
        }
    });
    Blocks {
        q,
        n_outer,
        first_child: if l + 1 < bases.len() {
            nesting.levels[l].first_child.clone()
        } else {
            Vec::new()
        },
        design,
        response,
        basis: bases[l].clone(),
        is_residual: false,
        series: None,
    }
}

/// X of rows in the coordinates of the iterations, into `design` behind `skip` columns; four rows side
/// by side, to the bits of each alone.
fn map_fixed(
    level: &LevelRows,
    fixed: &FixedBasis,
    rows: Range<usize>,
    skip: usize,
    design: &mut [f64],
) {
    // Series have no columns of their own: without any of X there is nothing to write.
    if fixed.rank() == 0 {
        return;
    }
    let columns = skip + fixed.rank();
    let x = |row: usize| &level.design[block(row, level.n_columns)][skip..];
    let mut four = vec![Four::splat(0.0); fixed.rank()];
    let mut outs = design.chunks_exact_mut(LANES * columns);
    let mut row = rows.start;
    for outs in &mut outs {
        let lanes = [x(row), x(row + 1), x(row + 2), x(row + 3)];
        for (value, &j) in four.iter_mut().zip(&fixed.kept) {
            *value = Four::from_lanes(|lane| lanes[lane][j]);
        }
        fixed.map_four(&mut four);
        for (lane, out) in outs.chunks_exact_mut(columns).enumerate() {
            out[skip..].iter_mut().zip(&four).for_each(|(o, value)| *o = value.lane(lane));
        }
        row += LANES;
    }
    for (out, row) in outs.into_remainder().chunks_exact_mut(columns).zip(row..rows.end) {
        fixed.map_row(x(row), &mut out[skip..]);
    }
}
