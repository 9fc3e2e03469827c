//! The inverse on the nonzeros of the factor.
//!
//! With S the columns of a supernode and R its rows below, X = `L_RS` `L_SS`^-1,
//!
//! ```text
//! Z_RS = -Z_RR X        Z_SS = (L_SS L_SS')^-1 - X'Z_RS
//! ```
//!
//! from the last supernode to the first; all of `Z_RR` lies in panels that are known by then
//! (Takahashi, Fagan and Chen 1973; Erisman and Tinney 1975, Commun. ACM 18, 177).

use std::ops::Range;
use std::sync::Arc;

use faer::linalg::triangular_solve::{
    solve_lower_triangular_in_place, solve_upper_triangular_in_place,
};
use faer::{MatMut, MatRef, Par};

use super::panels::{Panels, below_rows};
use super::structure::Structure;
use super::tiles::{for_each_tile, multiply, multiply_add, split_groups, split_tiles};
use crate::linalg::dense::{dot, invert_lower};
use crate::running::memory::zeros;
use crate::running::threads;

/// Columns of a panel for which plain loops do.
const NARROW: usize = 12;
/// Numbers of `Z_RR` that are gathered at once.
const GATHERED: usize = 1 << 20;

impl Panels {
    /// L <- the entries of (L L')^-1 where L has nonzeros; diagonal blocks of panels are filled on
    /// both sides.
    #[must_use]
    pub fn into_inverse(mut self) -> Self {
        let structure = Arc::clone(&self.structure);
        self.invert_top(Part::Inverse);
        let (pieces, others) = split_groups(&structure, &mut self.values);
        let mut known: Vec<&[f64]> = vec![&[]; structure.n_supernodes()];
        for (s, values) in others {
            known[s] = values;
        }
        let group = |(range, piece): (Range<usize>, &mut [f64])| {
            let base = structure.offset[range.start];
            let mut places = vec![0; structure.unit_of.len()];
            for s in range.clone().rev() {
                let (head, later) = piece.split_at_mut(structure.offset[s + 1] - base);
                let own = &mut head[structure.offset[s] - base..];
                let (later, start) = (&*later, structure.offset[s + 1]);
                let panel = |t: usize| {
                    if t < range.end {
                        &later[structure.offset[t] - start..structure.offset[t + 1] - start]
                    } else {
                        known[t]
                    }
                };
                invert_panel(&structure, s, own, &panel, &mut places, (Part::Inverse, false));
            }
        };
        threads::each(pieces, group);
        self
    }

    /// L <- L^-1 where panels hold the whole lower triangle: half of the inverse's work.
    ///
    /// The panels are made from the last to the first as those of the inverse are, Z in all its rows
    /// being what L^-1 is on and below the diagonal.
    #[must_use]
    pub fn into_inverse_root(mut self) -> Self {
        debug_assert!(self.structure.is_dense && self.structure.groups.is_empty());
        self.invert_top(Part::Root);
        self
    }

    /// The panels of no group, from the last to the first, each on all threads.
    fn invert_top(&mut self, part: Part) {
        let structure = Arc::clone(&self.structure);
        let mut places = vec![0; structure.unit_of.len()];
        for &s in structure.top.iter().rev() {
            let (head, later) = self.values.split_at_mut(structure.offset[s + 1]);
            let own = &mut head[structure.offset[s]..];
            let later = &*later;
            let base = structure.offset[s + 1];
            let panel =
                |t: usize| &later[structure.offset[t] - base..structure.offset[t + 1] - base];
            invert_panel(&structure, s, own, &panel, &mut places, (part, true));
        }
    }
}

/// What panels become.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// (L L')^-1.
    Inverse,
    /// L^-1.
    Root,
}

/// One supernode's rows below the diagonal by the panels in whose columns they stand.
#[derive(Default)]
struct Segments {
    /// Supernode, and its stretch of rows in the list.
    targets: Vec<(usize, Range<usize>)>,
    /// Per segment k, the row in its panel of each row from the segment's first on.
    places: Vec<Vec<u32>>,
    /// Segment of each row.
    of: Vec<u32>,
}

impl Segments {
    fn new(structure: &Structure, s: usize, places: &mut [u32]) -> Self {
        let rows = structure.rows(s);
        let mut out =
            Self { targets: Vec::new(), places: Vec::new(), of: Vec::with_capacity(rows.len()) };
        let mut begin = 0;
        while begin < rows.len() {
            let target = structure.supernode_of[rows[begin] as usize] as usize;
            let last = structure.first_block[target + 1] as u32;
            let end = begin + rows[begin..].partition_point(|r| *r < last);
            structure.place_rows(target, places);
            out.of.resize(end, out.targets.len() as u32);
            out.targets.push((target, begin..end));
            out.places.push(rows[begin..].iter().map(|r| places[*r as usize]).collect());
            begin = end;
        }
        out
    }
}

/// A panel of the inverse from that of the factor.
fn invert_panel<'v>(
    structure: &Structure,
    s: usize,
    own: &mut [f64],
    panel: &(dyn Fn(usize) -> &'v [f64] + Sync),
    places: &mut [u32],
    (part, parallel): (Part, bool),
) {
    let (n, height) = (structure.width(s), structure.height[s]);
    let below = height - n;
    let mut inverse = zeros(n * n);
    let mut root_inverse = zeros(n * n);
    invert_root(&own[..n * n], n, &mut root_inverse);
    let root = MatRef::from_row_major_slice(&root_inverse, n, n);
    multiply(MatMut::from_row_major_slice_mut(&mut inverse, n, n), root.transpose(), root);
    if below > 0 {
        let segments = if structure.is_dense {
            Segments::default()
        } else {
            Segments::new(structure, s, places)
        };
        let mut x = own[n * n..].to_vec();
        times_inverse_root(&own[..n * n], n, &mut x);
        let mut tiles = split_tiles(structure, s, own, parallel);
        let task = |(first, tile): &mut (usize, &mut [f64])| {
            let skip = if *first == 0 { n } else { 0 };
            let (first, tile) = ((*first).max(n), &mut tile[skip * n..]);
            if structure.is_dense {
                rows_of_dense_inverse(structure, s, (panel, part), &x, first, tile);
            } else {
                rows_of_inverse(structure, s, &segments, panel, &x, first, tile);
            }
        };
        for_each_tile(&mut tiles, task);
        if part == Part::Inverse {
            // Z_SS = (L L')^-1 - X'Z_RS.
            let z = MatRef::from_row_major_slice(&own[n * n..], below, n);
            let x = MatRef::from_row_major_slice(&x, below, n);
            let out = MatMut::from_row_major_slice_mut(&mut inverse, n, n);
            multiply_add(out, x.transpose(), z, -1.0);
        }
    }
    if part == Part::Root {
        own[..n * n].copy_from_slice(&root_inverse);
        return;
    }
    // One value for both of a pair, whatever the product's rounding.
    for i in 0..n {
        for j in 0..=i {
            own[i * n + j] = inverse[i * n + j];
            own[j * n + i] = inverse[i * n + j];
        }
    }
}

/// The row-major L^-1 of a row-major L, into zeros.
fn invert_root(root: &[f64], n: usize, out: &mut [f64]) {
    if n <= NARROW {
        return invert_lower(root, n, out);
    }
    (0..n).for_each(|i| out[i * n + i] = 1.0);
    let root = MatRef::from_row_major_slice(root, n, n);
    solve_lower_triangular_in_place(root, MatMut::from_row_major_slice_mut(out, n, n), Par::Seq);
}

/// X <- X L^-1 for row-major X and L.
fn times_inverse_root(root: &[f64], n: usize, x: &mut [f64]) {
    if n <= NARROW {
        for row in x.chunks_exact_mut(n) {
            for j in (0..n).rev() {
                let mut value = row[j];
                for k in j + 1..n {
                    value -= row[k] * root[k * n + j];
                }
                row[j] = value / root[j * n + j];
            }
        }
        return;
    }
    let rows = x.len() / n;
    let transposed = MatMut::from_column_major_slice_mut(x, n, rows);
    // L'X' is asked for: the row-major L read column by column is L'.
    let root = MatRef::from_column_major_slice(root, n, n);
    solve_upper_triangular_in_place(root, transposed, Par::Seq);
}

/// [`rows_of_inverse`] where panels hold the whole lower triangle: `Z_RR` is read where it stands, and
/// what is right of the diagonal belongs to the inverse alone.
fn rows_of_dense_inverse<'v>(
    structure: &Structure,
    s: usize,
    (panel, part): (&(dyn Fn(usize) -> &'v [f64] + Sync), Part),
    x: &[f64],
    first: usize,
    out: &mut [f64],
) {
    let (n, start) = (structure.width(s), structure.columns(s).start);
    // Rows by their places in the whole matrix.
    let (below, rows) = (start + n, start + first..start + first + out.len() / n);
    let x = MatRef::from_row_major_slice(x, structure.height[s] - n, n);
    out.fill(0.0);
    let mut out = MatMut::from_row_major_slice_mut(out, rows.len(), n);
    for t in s + 1..structure.n_supernodes() {
        let columns = structure.columns(t);
        if columns.start >= rows.end {
            break;
        }
        let (width, height) = (columns.len(), structure.height[t]);
        let z = MatRef::from_row_major_slice(panel(t), height, width);
        // On the diagonal and to its left.
        let from = rows.start.max(columns.start);
        let (skip, count) = (from - rows.start, rows.end - from);
        let left = z.subrows(from - columns.start, count);
        let right = x.subrows(columns.start - below, width);
        multiply_add(out.as_mut().subrows_mut(skip, count), left, right, -1.0);
        // To its right, of those rows that are columns here.
        let end = rows.end.min(columns.end);
        if part == Part::Inverse && end > from && height > width {
            let own = z.submatrix(width, from - columns.start, height - width, end - from);
            let right = x.subrows(columns.end - below, height - width);
            let target = out.as_mut().subrows_mut(skip, end - from);
            multiply_add(target, own.transpose(), right, -1.0);
        }
    }
}

/// Rows of -`Z_RR` X from row `first` of the panel on, as many as `out` holds.
fn rows_of_inverse<'v>(
    structure: &Structure,
    s: usize,
    segments: &Segments,
    panel: &(dyn Fn(usize) -> &'v [f64] + Sync),
    x: &[f64],
    first: usize,
    out: &mut [f64],
) {
    let n = structure.width(s);
    let below = structure.height[s] - n;
    let end = first + out.len() / n;
    let mut gathered = Vec::new();
    let list: Vec<(usize, usize)> = below_rows(structure, s).collect();
    let from = list.partition_point(|(_, at)| *at < first);
    let to = list.partition_point(|(_, at)| *at < end);
    let mut begin = from;
    while begin < to {
        // As many rows as one buffer holds.
        let start = list[begin].1;
        let mut stop = begin + 1;
        while stop < to && (list[stop].1 + structure.size(list[stop].0) - start) * below <= GATHERED
        {
            stop += 1;
        }
        let next = structure.row_start(s, stop);
        gathered.clear();
        gathered.resize((next - start) * below, 0.0);
        for k in begin..stop {
            let (block, at) = list[k];
            let size = structure.size(block);
            let rows = &mut gathered[(at - start) * below..(at - start + size) * below];
            gather_row(structure, s, segments, panel, (k, size), rows);
        }
        let target = &mut out[(start - first) * n..(next - first) * n];
        if n == 1 {
            for (target, row) in target.iter_mut().zip(gathered.chunks_exact(below)) {
                *target = -dot(row, x);
            }
        } else {
            target.fill(0.0);
            multiply_add(
                MatMut::from_row_major_slice_mut(target, next - start, n),
                MatRef::from_row_major_slice(&gathered, next - start, below),
                MatRef::from_row_major_slice(x, below, n),
                -1.0,
            );
        }
        begin = stop;
    }
}

/// The rows of `Z_RR` of the k-th block of R, `size` rows.
fn gather_row<'v>(
    structure: &Structure,
    s: usize,
    segments: &Segments,
    panel: &(dyn Fn(usize) -> &'v [f64] + Sync),
    (k, size): (usize, usize),
    out: &mut [f64],
) {
    let n = structure.width(s);
    let below = out.len() / size;
    let own_segment = segments.of[k] as usize;
    for (target, (t, stretch)) in segments.targets[..=own_segment].iter().enumerate() {
        let (values, width) = (panel(*t), structure.width(*t));
        let places = &segments.places[target];
        let row = places[k - stretch.start] as usize;
        let (to, to_end) =
            (structure.row_start(s, stretch.start) - n, structure.row_start(s, stretch.end) - n);
        let first = places[0] as usize;
        let last = stretch.len() - 1;
        let last_size = to_end - (structure.row_start(s, stretch.start + last) - n);
        if places[last] as usize + last_size - first == to_end - to {
            for i in 0..size {
                out[i * below + to..i * below + to_end]
                    .copy_from_slice(&values[(row + i) * width + first..][..to_end - to]);
            }
            continue;
        }
        for j in 0..stretch.len() {
            let at = structure.row_start(s, stretch.start + j) - n;
            let next = structure.row_start(s, stretch.start + j + 1) - n;
            let column = places[j] as usize;
            for i in 0..size {
                out[i * below + at..i * below + next]
                    .copy_from_slice(&values[(row + i) * width + column..][..next - at]);
            }
        }
    }
    // To the right of the segment: columns of its panel.
    let (t, stretch) = &segments.targets[own_segment];
    let (values, width) = (panel(*t), structure.width(*t));
    let places = &segments.places[own_segment];
    let column = places[k - stretch.start] as usize;
    let rows = structure.rows(s).len();
    for j in stretch.end..rows {
        let at = structure.row_start(s, j) - n;
        let next = structure.row_start(s, j + 1) - n;
        let row = places[j - stretch.start] as usize;
        for r in 0..next - at {
            for i in 0..size {
                out[i * below + at + r] = values[(row + r) * width + column + i];
            }
        }
    }
}
