//! The Cholesky factor of a matrix in panels.
//!
//! Left-looking: every panel takes its updates in ascending order of the panels they come from, and
//! is cut into tiles by its structure alone, so results have the same bits for any number of
//! threads. Subtrees of the elimination tree are factored side by side, the panels above them one
//! after the other, each on all threads.

use std::sync::Arc;

use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{MatMut, MatRef, Par};

use super::panels::Panels;
use super::structure::{Structure, Update};
use super::tiles::{FEW, for_each_tile, multiply, multiply_add, split_groups, split_tiles};
use crate::linalg::dense::{NotPositiveDefinite, cholesky, dot};
use crate::running::memory::zeros;
use crate::running::threads;

/// Columns of a panel that plain loops factor.
const NARROW: usize = 12;

impl Panels {
    /// A <- L with A = L L'; what stands above the diagonal becomes zero.
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] at the first pivot that is not positive.
    pub fn cholesky(&mut self) -> Result<(), NotPositiveDefinite> {
        let structure = Arc::clone(&self.structure);
        let pieces = split_groups(&structure, &mut self.values).0;
        let group = |(range, piece): (std::ops::Range<usize>, &mut [f64])| {
            let base = structure.offset[range.start];
            let mut places = vec![0; structure.unit_of.len()];
            for s in range {
                let (done, rest) = piece.split_at_mut(structure.offset[s] - base);
                let own = &mut rest[..structure.values(s).len()];
                factor_panel(&structure, s, (done, base), own, &mut places, false)?;
            }
            Ok(())
        };
        let done: Vec<Result<(), NotPositiveDefinite>> = threads::map(pieces, group);
        done.into_iter().collect::<Result<(), _>>()?;
        let mut places = vec![0; structure.unit_of.len()];
        for &s in &structure.top {
            let (done, rest) = self.values.split_at_mut(structure.offset[s]);
            let own = &mut rest[..structure.values(s).len()];
            factor_panel(&structure, s, (done, 0), own, &mut places, true)?;
        }
        Ok(())
    }
}

/// The panel of a Cholesky factor from that of A; `done` holds the panels before it from offset
/// `base` on.
fn factor_panel(
    structure: &Structure,
    s: usize,
    done: (&[f64], usize),
    own: &mut [f64],
    places: &mut [u32],
    parallel: bool,
) -> Result<(), NotPositiveDefinite> {
    let n = structure.width(s);
    structure.place_rows(s, places);
    let updates = &structure.updates[structure.first_update[s]..structure.first_update[s + 1]];
    let mut tiles = split_tiles(structure, s, own, parallel);
    let places = &*places;
    let update = |(first, tile): &mut (usize, &mut [f64])| {
        let mut work = Work::default();
        for update in updates {
            apply_update(structure, update, done, (*first, &mut **tile), n, places, &mut work);
        }
    };
    for_each_tile(&mut tiles, update);
    let (first, below) = tiles.split_at_mut(1);
    let diagonal = &mut *first[0].1;
    let root = factor_diagonal(&mut diagonal[..n * n], n)
        .map_err(|e| NotPositiveDefinite { pivot: structure.columns(s).start + e.pivot })?;
    solve_rows(&root, n, &mut diagonal[n * n..]);
    for_each_tile(below, |(_, tile)| solve_rows(&root, n, tile));
    Ok(())
}

/// Buffers of the updates of one tile.
#[derive(Default)]
struct Work {
    product: Vec<f64>,
    rows: Vec<u32>,
    columns: Vec<u32>,
}

/// Subtracts L[I, :] L[J, :]' of another panel, I the rows in this tile and J those in its columns.
fn apply_update(
    structure: &Structure,
    update: &Update,
    (done, base): (&[f64], usize),
    (first, tile): (usize, &mut [f64]),
    n: usize,
    places: &[u32],
    work: &mut Work,
) {
    let (d, begin, end) = (update.from as usize, update.begin as usize, update.end as usize);
    let rows = structure.rows(d);
    let tile_rows = tile.len() / n;
    let in_tile = |b: &u32| (places[*b as usize] as usize) < first + tile_rows;
    // Rows of d ascend, and so do their places.
    let from = begin + rows[begin..].partition_point(|b| (places[*b as usize] as usize) < first);
    let to = from + rows[from..].partition_point(in_tile);
    if from == to {
        return;
    }
    let inner = structure.width(d);
    let panel = &done[structure.offset[d] - base..structure.offset[d + 1] - base];
    let (i_0, i_1) = (structure.row_start(d, from), structure.row_start(d, to));
    let (j_0, j_1) = (structure.row_start(d, begin), structure.row_start(d, end));
    let (m, k) = (i_1 - i_0, j_1 - j_0);
    let left = &panel[i_0 * inner..i_1 * inner];
    let right = &panel[j_0 * inner..j_1 * inner];
    let list = |blocks: &[u32], out: &mut Vec<u32>, skip: usize| {
        out.clear();
        for b in blocks {
            let at = places[*b as usize] - skip as u32;
            out.extend(at..at + structure.size(*b as usize) as u32);
        }
    };
    list(&rows[from..to], &mut work.rows, first);
    list(&rows[begin..end], &mut work.columns, 0);
    let (to_rows, to_columns) = (&work.rows, &work.columns);
    if m * k * inner <= FEW {
        for (row, values) in to_rows.iter().zip(left.chunks_exact(inner)) {
            let target = &mut tile[*row as usize * n..(*row as usize + 1) * n];
            for (column, other) in to_columns.iter().zip(right.chunks_exact(inner)) {
                let product = if inner == 1 { values[0] * other[0] } else { dot(values, other) };
                target[*column as usize] -= product;
            }
        }
        return;
    }
    let left = MatRef::from_row_major_slice(left, m, inner);
    let right = MatRef::from_row_major_slice(right, k, inner).transpose();
    let is_stretch = |list: &[u32]| (list[list.len() - 1] - list[0]) as usize + 1 == list.len();
    if is_stretch(to_rows) && is_stretch(to_columns) {
        let (row, column) = (to_rows[0] as usize, to_columns[0] as usize);
        let all = MatMut::from_row_major_slice_mut(tile, tile_rows, n);
        multiply_add(all.submatrix_mut(row, column, m, k), left, right, -1.0);
        return;
    }
    work.product.resize(m * k, 0.0);
    multiply(MatMut::from_row_major_slice_mut(&mut work.product, m, k), left, right);
    for (row, values) in to_rows.iter().zip(work.product.chunks_exact(k)) {
        let target = &mut tile[*row as usize * n..(*row as usize + 1) * n];
        for (column, value) in to_columns.iter().zip(values) {
            target[*column as usize] -= value;
        }
    }
}

/// Cholesky of the row-major top of a panel, its upper triangle then zero; also column-major.
fn factor_diagonal(top: &mut [f64], n: usize) -> Result<Vec<f64>, NotPositiveDefinite> {
    if n <= NARROW {
        cholesky(top, n)?;
        for i in 0..n {
            top[i * n + i + 1..(i + 1) * n].fill(0.0);
        }
        return Ok(if n == 1 { vec![top[0]] } else { top.to_vec() });
    }
    let mut root = zeros(n * n);
    for i in 0..n {
        for j in 0..=i {
            root[j * n + i] = top[i * n + j];
        }
    }
    factor_tile(&mut root, n)?;
    for i in 0..n {
        for j in 0..n {
            top[i * n + j] = root[j * n + i];
        }
    }
    Ok(root)
}

/// X <- X L'^-1 for row-major X; `root` as [`factor_diagonal`] returns it.
fn solve_rows(root: &[f64], n: usize, x: &mut [f64]) {
    if n <= NARROW {
        for row in x.chunks_exact_mut(n) {
            for j in 0..n {
                let (done, own) = row.split_at_mut(j);
                let mut value = own[0];
                for (a, b) in done.iter().zip(&root[j * n..j * n + j]) {
                    value -= a * b;
                }
                own[0] = value / root[j * n + j];
            }
        }
        return;
    }
    let rows = x.len() / n;
    let transposed = MatMut::from_column_major_slice_mut(x, n, rows);
    let root = MatRef::from_column_major_slice(root, n, n);
    solve_lower_triangular_in_place(root, transposed, Par::Seq);
}

/// Cholesky of a column-major matrix of which the lower triangle is given; its upper becomes zero.
fn factor_tile(tile: &mut [f64], n: usize) -> Result<(), NotPositiveDefinite> {
    use faer::dyn_stack::{MemBuffer, MemStack};
    use faer::linalg::cholesky::llt::factor::{cholesky_in_place, cholesky_in_place_scratch};
    let mut memory =
        MemBuffer::new(cholesky_in_place_scratch::<f64>(n, Par::Seq, faer::Spec::default()));
    let done = cholesky_in_place(
        MatMut::from_column_major_slice_mut(tile, n, n),
        faer::linalg::cholesky::llt::factor::LltRegularization::default(),
        Par::Seq,
        MemStack::new(&mut memory),
        faer::Spec::default(),
    );
    if done.is_err() || (0..n).any(|i| !tile[i * n + i].is_finite()) {
        return Err(NotPositiveDefinite { pivot: 0 });
    }
    for column in 0..n {
        tile[column * n..column * n + column].fill(0.0);
    }
    Ok(())
}
