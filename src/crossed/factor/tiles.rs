//! Panels cut into stretches of values that are worked on side by side.

use faer::{Accum, MatMut, MatRef, Par};

use super::panels::below_rows;
use super::structure::Structure;
use crate::running::threads;

/// Rows of a tile of a panel.
const TILE_ROWS: usize = 160;
/// Multiplications below which plain loops beat a matrix product's preparations.
pub const FEW: usize = 2048;

/// Stretches of values that are worked on side by side.
pub type Pieces<'v> = Vec<(std::ops::Range<usize>, &'v mut [f64])>;

/// The values of each group, and the panels of the others by supernode.
pub fn split_groups<'v>(
    structure: &Structure,
    values: &'v mut [f64],
) -> (Pieces<'v>, Vec<(usize, &'v mut [f64])>) {
    let (mut pieces, mut others) = (Vec::new(), Vec::new());
    let mut top = structure.top.iter().peekable();
    let mut rest = values;
    for group in &structure.groups {
        while let Some(&&s) = top.peek().filter(|s| ***s < group.start) {
            let (own, after) = rest.split_at_mut(structure.values(s).len());
            others.push((s, own));
            rest = after;
            top.next();
        }
        let size = structure.offset[group.end] - structure.offset[group.start];
        let (own, after) = rest.split_at_mut(size);
        pieces.push((group.clone(), own));
        rest = after;
    }
    for &s in top {
        let (own, after) = rest.split_at_mut(structure.values(s).len());
        others.push((s, own));
        rest = after;
    }
    (pieces, others)
}

/// A panel's rows in tiles that cut no block, with the first row of each; where panels hold the whole
/// lower triangle, a tile has the rows of one panel's columns.
pub fn split_tiles<'v>(
    structure: &Structure,
    s: usize,
    own: &'v mut [f64],
    parallel: bool,
) -> Vec<(usize, &'v mut [f64])> {
    let n = structure.width(s);
    if !parallel || structure.height[s] <= n + TILE_ROWS {
        return vec![(0, own)];
    }
    let mut bounds = vec![0];
    if structure.is_dense {
        let start = structure.columns(s).start;
        bounds
            .extend((s + 1..structure.n_supernodes()).map(|t| structure.columns(t).start - start));
    } else {
        let mut next = n;
        for (_, at) in below_rows(structure, s) {
            if at >= next {
                bounds.push(at);
                next = at + TILE_ROWS;
            }
        }
    }
    bounds.push(structure.height[s]);
    let mut rest = own;
    let mut out = Vec::with_capacity(bounds.len());
    for pair in bounds.windows(2) {
        let (tile, after) = rest.split_at_mut((pair[1] - pair[0]) * n);
        out.push((pair[0], tile));
        rest = after;
    }
    out
}

/// Runs a task for each tile, on several threads where there are several.
pub fn for_each_tile<T: Send>(tiles: &mut [T], task: impl Fn(&mut T) + Sync + Send) {
    threads::each(tiles, task);
}

/// out <- out + alpha A B in this thread.
pub fn multiply_add(out: MatMut<'_, f64>, a: MatRef<'_, f64>, b: MatRef<'_, f64>, alpha: f64) {
    faer::linalg::matmul::matmul(out, Accum::Add, a, b, alpha, Par::Seq);
}

/// out <- A B in this thread.
pub fn multiply(out: MatMut<'_, f64>, a: MatRef<'_, f64>, b: MatRef<'_, f64>) {
    faer::linalg::matmul::matmul(out, Accum::Replace, a, b, 1.0, Par::Seq);
}
