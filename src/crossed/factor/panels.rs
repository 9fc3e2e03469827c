//! Symmetric matrices in panels: Cholesky factor, log-determinant, solutions.
//!
//! Left-looking: every panel takes its updates in ascending order of the panels they come from, and
//! is cut into tiles by its structure alone, so results have the same bits for any number of
//! threads. Subtrees of the elimination tree are factored side by side, the panels above them one
//! after the other, each on all threads.

use std::sync::Arc;

use faer::linalg::triangular_solve::{
    solve_lower_triangular_in_place, solve_upper_triangular_in_place,
};
use faer::{Accum, MatMut, MatRef, Par};

use super::incidence::pairwise;
use super::structure::{Structure, Update};
use crate::linalg::dense::{NotPositiveDefinite, axpy, dot};
use crate::running::memory::{copied, zeros};
use crate::running::threads;

/// Rows of a tile of a panel.
const TILE_ROWS: usize = 160;
/// Multiplications below which plain loops beat a matrix product's preparations.
const FEW: usize = 2048;
/// Columns of a panel that plain loops factor.
const NARROW: usize = 12;
/// Right-hand sides solved at once.
const CHUNK: usize = 64;

/// The lower triangle of a symmetric (or lower triangular) matrix.
#[derive(Debug)]
pub struct Panels {
    /// Where its values stand.
    pub structure: Arc<Structure>,
    /// Panel after panel, each row-major.
    pub values: Vec<f64>,
}

impl Panels {
    /// The zero matrix.
    #[must_use]
    pub fn zero(structure: &Arc<Structure>) -> Self {
        let n = structure.offset[structure.n_supernodes()];
        Self { structure: Arc::clone(structure), values: zeros(n) }
    }

    /// The same matrix once more.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { structure: Arc::clone(&self.structure), values: copied(&self.values) }
    }

    /// Values of a panel.
    #[must_use]
    pub fn panel(&self, s: usize) -> &[f64] {
        &self.values[self.structure.values(s)]
    }

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

    /// log|L L'| of a Cholesky factor.
    #[must_use]
    pub fn logdet(&self) -> f64 {
        let add = |s: usize, sum: &mut [f64]| {
            let (n, panel) = (self.structure.width(s), self.panel(s));
            sum[0] += (0..n).map(|i| panel[i * n + i].ln()).sum::<f64>();
        };
        2.0 * pairwise(self.structure.n_supernodes(), 1, &add)[0]
    }

    /// The rows of x, one a column of `Z_2`, in order of elimination.
    #[must_use]
    pub fn to_elimination(&self, x: &[f64], width: usize) -> Vec<f64> {
        let structure = &*self.structure;
        if structure.is_dense {
            return x.to_vec();
        }
        let mut out = Vec::with_capacity(x.len());
        for (b, first) in structure.natural.iter().enumerate() {
            let first = *first as usize;
            out.extend_from_slice(&x[first * width..(first + structure.size(b)) * width]);
        }
        out
    }

    /// The inverse of [`Self::to_elimination`].
    #[must_use]
    pub fn to_natural(&self, x: Vec<f64>, width: usize) -> Vec<f64> {
        let structure = &*self.structure;
        if structure.is_dense {
            return x;
        }
        let mut out = zeros(x.len());
        for (b, first) in structure.natural.iter().enumerate() {
            let (first, from) = (*first as usize, structure.first_column[b] as usize);
            let n = structure.size(b) * width;
            out[first * width..first * width + n].copy_from_slice(&x[from * width..][..n]);
        }
        out
    }

    /// (L L')^-1 x for the row-major x of `width` columns, a row a column of `Z_2`.
    #[must_use]
    pub fn solve(&self, x: &[f64], width: usize) -> Vec<f64> {
        self.solve_with(x, width, |factor, part, n| {
            factor.solve_lower(part, n);
            factor.solve_upper(part, n);
        })
    }

    /// What `solve` makes of the row-major x of `width` columns, a row a column of `Z_2`; it takes
    /// some of the columns at once, in order of elimination.
    #[must_use]
    pub fn solve_with(
        &self,
        x: &[f64],
        width: usize,
        solve: impl Fn(&Self, &mut [f64], usize) + Sync,
    ) -> Vec<f64> {
        let mut own = self.to_elimination(x, width);
        if width <= CHUNK {
            solve(self, &mut own, width);
            return self.to_natural(own, width);
        }
        let starts: Vec<usize> = (0..width).step_by(CHUNK).collect();
        let some = |first: &usize| -> Vec<f64> {
            let n = CHUNK.min(width - first);
            let mut part: Vec<f64> =
                own.chunks_exact(width).flat_map(|row| &row[*first..first + n]).copied().collect();
            solve(self, &mut part, n);
            part
        };
        let parts = threads::map(&starts, some);
        for (first, part) in starts.iter().zip(&parts) {
            let n = CHUNK.min(width - first);
            for (row, from) in own.chunks_exact_mut(width).zip(part.chunks_exact(n)) {
                row[*first..first + n].copy_from_slice(from);
            }
        }
        self.to_natural(own, width)
    }

    /// x <- L^-1 x for the row-major x of `width` columns, in order of elimination.
    pub fn solve_lower(&self, x: &mut [f64], width: usize) {
        let mut product = Vec::new();
        for s in 0..self.structure.n_supernodes() {
            self.eliminate(s, x, width, &mut product);
        }
    }

    /// x <- L'^-1 x for the row-major x of `width` columns, in order of elimination.
    pub fn solve_upper(&self, x: &mut [f64], width: usize) {
        let mut gathered = Vec::new();
        for s in (0..self.structure.n_supernodes()).rev() {
            self.substitute(s, x, width, &mut gathered);
        }
    }

    /// One supernode's step of [`Self::solve_lower`].
    pub fn eliminate(&self, s: usize, x: &mut [f64], width: usize, product: &mut Vec<f64>) {
        let structure = &*self.structure;
        let (columns, panel) = (structure.columns(s), self.panel(s));
        let n = columns.len();
        let (head, below) = x.split_at_mut(columns.end * width);
        let own = &mut head[columns.start * width..];
        let end = columns.end;
        let height = structure.height[s];
        if n * width * height <= FEW {
            for i in 0..n {
                let (above, row) = own.split_at_mut(i * width);
                for (k, other) in above.chunks_exact(width).enumerate() {
                    axpy(-panel[i * n + k], other, &mut row[..width]);
                }
                row[..width].iter_mut().for_each(|v| *v /= panel[i * n + i]);
            }
            for (b, at) in below_rows(structure, s) {
                for r in 0..structure.size(b) {
                    let to = structure.first_column[b] as usize + r - end;
                    let target = &mut below[to * width..(to + 1) * width];
                    for (k, other) in own.chunks_exact(width).enumerate() {
                        axpy(-panel[(at + r) * n + k], other, target);
                    }
                }
            }
            return;
        }
        let mut own = MatMut::from_row_major_slice_mut(own, n, width);
        let matrix = MatRef::from_row_major_slice(panel, height, n);
        solve_lower_triangular_in_place(matrix.subrows(0, n), own.as_mut(), Par::Seq);
        product.resize((height - n) * width, 0.0);
        multiply(
            MatMut::from_row_major_slice_mut(product, height - n, width),
            matrix.subrows(n, height - n),
            own.as_ref(),
        );
        for (b, at) in below_rows(structure, s) {
            let (to, size) = (structure.first_column[b] as usize - end, structure.size(b));
            let from = &product[(at - n) * width..(at - n + size) * width];
            axpy(-1.0, from, &mut below[to * width..(to + size) * width]);
        }
    }

    /// One supernode's step of [`Self::solve_upper`].
    pub fn substitute(&self, s: usize, x: &mut [f64], width: usize, gathered: &mut Vec<f64>) {
        let structure = &*self.structure;
        let (columns, panel) = (structure.columns(s), self.panel(s));
        let (n, height) = (columns.len(), structure.height[s]);
        let (head, below) = x.split_at_mut(columns.end * width);
        let own = &mut head[columns.start * width..];
        let end = columns.end;
        if n * width * height <= FEW {
            for (b, at) in below_rows(structure, s) {
                for r in 0..structure.size(b) {
                    let from = structure.first_column[b] as usize + r - end;
                    let source = &below[from * width..(from + 1) * width];
                    for (k, target) in own.chunks_exact_mut(width).enumerate() {
                        axpy(-panel[(at + r) * n + k], source, target);
                    }
                }
            }
            for i in (0..n).rev() {
                let (above, row) = own.split_at_mut(i * width);
                let row = &mut row[..width];
                row.iter_mut().for_each(|v| *v /= panel[i * n + i]);
                for (k, target) in above.chunks_exact_mut(width).enumerate() {
                    axpy(-panel[i * n + k], row, target);
                }
            }
            return;
        }
        gathered.clear();
        for (b, _) in below_rows(structure, s) {
            let (from, size) = (structure.first_column[b] as usize - end, structure.size(b));
            gathered.extend_from_slice(&below[from * width..(from + size) * width]);
        }
        let matrix = MatRef::from_row_major_slice(panel, height, n);
        let mut own = MatMut::from_row_major_slice_mut(own, n, width);
        multiply_add(
            own.as_mut(),
            matrix.subrows(n, height - n).transpose(),
            MatRef::from_row_major_slice(gathered, height - n, width),
            -1.0,
        );
        solve_upper_triangular_in_place(matrix.subrows(0, n).transpose(), own, Par::Seq);
    }

    /// Place of an entry of the lower triangle by blocks in order of elimination, the first entry of
    /// the block pair, and the width of its panel; `None` where the factor has none.
    #[must_use]
    pub fn find(&self, row: usize, column: usize) -> Option<(usize, usize)> {
        let structure = &*self.structure;
        let s = structure.supernode_of[column] as usize;
        let columns = structure.columns(s);
        let at = structure.first_column[column] as usize - columns.start;
        let place = if row < structure.first_block[s + 1] {
            structure.first_column[row] as usize - columns.start
        } else {
            let rows = structure.rows(s);
            let k = if structure.is_dense {
                row - structure.first_block[s + 1]
            } else {
                rows.binary_search(&(row as u32)).ok()?
            };
            structure.row_start(s, k)
        };
        Some((structure.offset[s] + place * columns.len() + at, columns.len()))
    }

    /// The symmetric matrix over the columns of `Z_2`, row-major; zero outside the panels.
    #[must_use]
    pub fn to_dense(&self) -> Vec<f64> {
        let structure = &*self.structure;
        let n = structure.order();
        let mut out = zeros(n * n);
        for s in 0..structure.n_supernodes() {
            let (width, panel) = (structure.width(s), self.panel(s));
            for (row, at) in structure.panel_rows(s) {
                for column in structure.blocks(s).filter(|c| *c <= row) {
                    let first = (structure.first_column[column]
                        - structure.first_column[structure.first_block[s]])
                        as usize;
                    let (r, c) =
                        (structure.natural[row] as usize, structure.natural[column] as usize);
                    for i in 0..structure.size(row) {
                        for j in 0..structure.size(column) {
                            if row == column && j > i {
                                continue;
                            }
                            let value = panel[(at + i) * width + first + j];
                            out[(r + i) * n + c + j] = value;
                            out[(c + j) * n + r + i] = value;
                        }
                    }
                }
            }
        }
        out
    }
}

/// Blocks below the diagonal of a panel with their first rows in it.
pub fn below_rows(structure: &Structure, s: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
    let own = structure.first_row[s]..structure.first_row[s + 1];
    let rows = structure.rows[own.clone()].iter().zip(&structure.row_offset[own]);
    rows.map(|(b, at)| (*b as usize, *at as usize))
}

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

/// A panel's rows in tiles that cut no block, with the first row of each.
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
    let mut next = n;
    for (_, at) in below_rows(structure, s) {
        if at >= next {
            bounds.push(at);
            next = at + TILE_ROWS;
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
        crate::linalg::dense::cholesky(top, n)?;
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

/// out <- out + alpha A B in this thread.
pub fn multiply_add(out: MatMut<'_, f64>, a: MatRef<'_, f64>, b: MatRef<'_, f64>, alpha: f64) {
    faer::linalg::matmul::matmul(out, Accum::Add, a, b, alpha, Par::Seq);
}

/// out <- A B in this thread.
pub fn multiply(out: MatMut<'_, f64>, a: MatRef<'_, f64>, b: MatRef<'_, f64>) {
    faer::linalg::matmul::matmul(out, Accum::Replace, a, b, 1.0, Par::Seq);
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
