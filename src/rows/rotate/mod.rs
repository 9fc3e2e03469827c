//! The one pass over the rows: each unit's columns rotated so that few rows carry its Z.

mod four_units;

use std::ops::Range;

use self::four_units::{FourUnits, reflect};
use super::bundle::Bundle;
use super::columns::{Column, RowColumns};
use super::level_rows::{LevelRows, RotatedRows};
use super::nesting::Nesting;
use super::series_columns::SeriesColumns;
use crate::linalg::dense::vectorised;
use crate::linalg::lanes::{LANES, Lane};
use crate::linalg::triangle::Triangle;
use crate::rows::nesting::chunks;
use crate::running::memory::{append, grow, lengthen, zeros};
use crate::running::stop::check;
use crate::running::threads;

/// Rows per task.
const CHUNK_ROWS: usize = 8192;
/// Taller units go through a triangular factor instead of a scratch copy of all their rows.
const TALL_UNIT: usize = 512;
/// Below this many numbers a thread pool costs more than it saves.
const PARALLEL_SIZE: usize = 400_000;
/// Chunks between two looks at the interrupt flag.
const CHUNKS_PER_CHECK: usize = 128;

/// Rotates all rows.
///
/// The result of disjoint sets of units is the concatenation of their blocks and the merge of their
/// factors, which is how chunks are joined here.
#[must_use]
pub fn rotate(nesting: &Nesting, columns: &RowColumns) -> RotatedRows {
    let (p, n_fits) = (columns.x.len(), columns.y.len());
    let mut width = p;
    let levels = columns
        .z
        .iter()
        .enumerate()
        .map(|(l, z)| {
            width += z.len();
            let order = columns.visits.map(|(_, order)| order);
            let innermost = l + 1 == columns.z.len();
            match order.filter(|_| innermost) {
                Some(q) => LevelRows { q, n_columns: q + width, ..LevelRows::default() },
                None => LevelRows {
                    q: z.len(),
                    n_columns: width,
                    shares: columns
                        .series
                        .as_ref()
                        .filter(|_| innermost)
                        .map(SeriesColumns::shares),
                    ..LevelRows::default()
                },
            }
        })
        .collect();
    let mut all = RotatedRows {
        levels,
        remainder: Triangle::new(p, n_fits),
        total: Triangle::new(p, n_fits),
        n_obs: columns.n_obs.unwrap_or(nesting.n_rows),
        counts: unit_counts(nesting, columns),
    };
    for (level, units) in all.levels.iter_mut().zip(&nesting.levels) {
        if level.shares.is_none() {
            let n_rows = units.n_units() * level.q;
            grow(&mut level.design, n_rows * level.n_columns);
            grow(&mut level.response, n_rows * n_fits);
        }
    }
    let chunks = chunk_bounds(nesting);
    let parallel = nesting.n_rows * (width + n_fits) > PARALLEL_SIZE;
    for group in chunks.chunks(CHUNKS_PER_CHECK) {
        let task = |chunk: &Range<usize>| Chunk::new(nesting, columns, &all).rotate(chunk.clone());
        let parts: Vec<RotatedRows> =
            if parallel { threads::map(group, task) } else { group.iter().map(task).collect() };
        for part in parts {
            all.append(part);
        }
    }
    all
}

/// Units that each innermost unit stands for, in the order of units.
fn unit_counts(nesting: &Nesting, columns: &RowColumns) -> Vec<usize> {
    let (Some(counts), Some(level)) = (columns.counts, nesting.levels.last()) else {
        return Vec::new();
    };
    level.codes.iter().map(|&code| counts[code as usize] as usize).collect()
}

/// Ranges of outermost units (of rows, without a grouping factor) of about `CHUNK_ROWS` rows.
fn chunk_bounds(nesting: &Nesting) -> Vec<Range<usize>> {
    let Some(outer) = nesting.levels.first() else {
        return (0..nesting.n_rows)
            .step_by(CHUNK_ROWS)
            .map(|first| first..(first + CHUNK_ROWS).min(nesting.n_rows))
            .collect();
    };
    chunks(outer.n_units(), CHUNK_ROWS, |units| nesting.rows(0, units).len())
}

/// Workspace and results of one chunk.
struct Chunk<'a> {
    nesting: &'a Nesting,
    columns: &'a RowColumns<'a>,
    /// By level, columns of that level first: the order in which they are eliminated.
    order: Vec<Column<'a>>,
    scratch: Vec<f64>,
    four: FourUnits,
    /// Rows met so far of the current unit of each level.
    open: Vec<Triangle>,
    out: RotatedRows,
}

impl<'a> Chunk<'a> {
    fn new(nesting: &'a Nesting, columns: &'a RowColumns<'a>, like: &RotatedRows) -> Self {
        let n_fits = columns.y.len();
        let mut order: Vec<Column> = columns.z.iter().rev().flatten().copied().collect();
        order.extend(columns.x.iter().chain(&columns.y));
        let empty = |level: &LevelRows| LevelRows {
            q: level.q,
            n_columns: level.n_columns,
            shares: level.shares.clone(),
            ..LevelRows::default()
        };
        Self {
            nesting,
            columns,
            order,
            scratch: Vec::new(),
            four: FourUnits::new(),
            open: like.levels.iter().map(|l| Triangle::new(l.n_columns, n_fits)).collect(),
            out: RotatedRows {
                levels: like.levels.iter().map(empty).collect(),
                remainder: Triangle::new(columns.x.len(), n_fits),
                total: Triangle::new(columns.x.len(), n_fits),
                n_obs: 0,
                counts: Vec::new(),
            },
        }
    }

    fn rotate(mut self, items: Range<usize>) -> RotatedRows {
        if self.nesting.levels.is_empty() {
            self.pass_up_rows(items, 0);
        } else if self.columns.series.is_some() && self.nesting.levels.len() == 1 {
            self.bundle_series(0, items);
        } else {
            self.rotate_units(0, items);
        }
        self.total_from_blocks();
        self.out
    }

    /// Rotates units of a level, four of as many rows side by side.
    fn rotate_units(&mut self, level: usize, units: Range<usize>) {
        let nesting = self.nesting;
        let innermost = level + 1 == nesting.levels.len();
        let side_by_side = innermost && self.columns.visits.is_none();
        let children = |unit: usize| nesting.levels[level].children(unit);
        let mut unit = units.start;
        while unit < units.end {
            let four = side_by_side
                && unit + LANES <= units.end
                && children(unit).len() <= TALL_UNIT
                && FourUnits::fits(children, unit, self.order.len());
            if four {
                self.rotate_four(level, children(unit));
                unit += LANES;
            } else {
                self.rotate_unit(level, unit);
                unit += 1;
            }
        }
    }

    /// `rotate_short_unit` of the unit of `rows` and of three of as many after it.
    fn rotate_four(&mut self, level: usize, rows: Range<usize>) {
        let n = rows.len();
        let LevelRows { q, n_columns, .. } = self.out.levels[level];
        self.four.gather(self.nesting, self.columns, &self.order, rows.start, n);
        self.four.reflect(q);
        let (numbers, width) = (&self.four.numbers, self.order.len());
        let kept = &mut self.out.levels[level];
        grow(&mut kept.design, LANES * q * n_columns);
        grow(&mut kept.response, LANES * q * (width - n_columns));
        for lane in 0..LANES {
            for i in 0..q {
                let value = |c: usize| {
                    if i < n && c >= i { numbers[c * n + i].lane(lane) } else { 0.0 }
                };
                kept.design.extend((0..n_columns).map(value));
                kept.response.extend((n_columns..width).map(value));
            }
        }
        if n > q {
            let parent = self.open[..level].last_mut().unwrap_or(&mut self.out.remainder);
            for lane in 0..LANES {
                parent.push_each(q..n, |c, i| numbers[(q + c) * n + i].lane(lane));
            }
        }
    }

    fn rotate_unit(&mut self, level: usize, unit: usize) {
        let children = self.nesting.levels[level].children(unit);
        let innermost = level + 1 == self.nesting.levels.len();
        if let (true, Some((visits, order))) = (innermost, self.columns.visits) {
            self.place_rows(level, children, visits, order);
            return;
        }
        if innermost && children.len() <= TALL_UNIT {
            self.rotate_short_unit(level, children);
            return;
        }
        check();
        self.open[level].clear();
        if innermost {
            self.pass_up_rows(children, level + 1);
        } else if self.columns.series.is_some() && level + 2 == self.nesting.levels.len() {
            self.bundle_series(level + 1, children);
        } else {
            self.rotate_units(level + 1, children);
        }
        self.close_unit(level);
    }

    /// Keeps the first q rows of a unit's triangular factor, passes the others up.
    fn close_unit(&mut self, level: usize) {
        let LevelRows { q, n_columns, .. } = self.out.levels[level];
        let (outer, inner) = self.open.split_at_mut(level);
        let parent = outer.last_mut().unwrap_or(&mut self.out.remainder);
        let width = inner[0].width();
        let kept = &mut self.out.levels[level];
        for (i, row) in inner[0].factor().chunks_exact(width).enumerate() {
            if i < q {
                append(&mut kept.design, &row[..n_columns]);
                append(&mut kept.response, &row[n_columns..]);
            } else {
                parent.push_row(&row[q..]);
            }
        }
        let squares = &mut self.out.remainder.residual_squares;
        for (sum, value) in squares.iter_mut().zip(&inner[0].residual_squares) {
            *sum += value;
        }
    }

    /// Rotates a unit held whole in scratch: q reflections, then [T A] and the rest.
    fn rotate_short_unit(&mut self, level: usize, rows: Range<usize>) {
        let n = rows.len();
        self.gather(rows, 0);
        let LevelRows { q, n_columns, .. } = self.out.levels[level];
        let width = self.order.len();
        vectorised(|| reflect(&mut self.scratch, n, q.min(n)));
        let kept = &mut self.out.levels[level];
        for i in 0..q {
            // Below the diagonal of T the scratch holds reflectors; a unit with fewer rows than
            // random effects gets rows of zeros, which add nothing to any sum.
            let value = |c: usize| {
                if i < n && c >= i { self.scratch[c * n + i] } else { 0.0 }
            };
            grow(&mut kept.design, n_columns);
            kept.design.extend((0..n_columns).map(value));
            grow(&mut kept.response, width - n_columns);
            kept.response.extend((n_columns..width).map(value));
        }
        if n > q {
            let parent = self.open[..level].last_mut().unwrap_or(&mut self.out.remainder);
            parent.push_columns(&self.scratch[q * n..], n, q, n);
        }
    }

    /// Puts each row of a unit at its visit: T selects the visits seen, A is the rows themselves.
    fn place_rows(&mut self, level: usize, rows: Range<usize>, visits: &[i32], order: usize) {
        let n = rows.len();
        self.gather(rows.clone(), 0);
        let kept = &mut self.out.levels[level];
        let (n_columns, width) = (kept.n_columns, self.order.len());
        let n_design = n_columns - order;
        let n_fits = width - n_design;
        let (d, r) = (kept.design.len(), kept.response.len());
        lengthen(&mut kept.design, d + order * n_columns);
        lengthen(&mut kept.response, r + order * n_fits);
        for (i, position) in rows.enumerate() {
            let row = self.nesting.row_order.as_ref().map_or(position, |o| o[position] as usize);
            let visit = visits[row] as usize;
            let design = &mut kept.design[d + visit * n_columns..][..n_columns];
            design[visit] = 1.0;
            for (c, out) in design[order..].iter_mut().enumerate() {
                *out = self.scratch[c * n + i];
            }
            let response = &mut kept.response[r + visit * n_fits..][..n_fits];
            for (f, out) in response.iter_mut().enumerate() {
                *out = self.scratch[(n_design + f) * n + i];
            }
        }
    }

    /// Items of the series `units` of the innermost `level`, as one bundle.
    fn bundle_series(&mut self, level: usize, units: Range<usize>) {
        let columns = self.columns;
        let Some(series) = &columns.series else { return };
        let nesting = self.nesting;
        let codes = |rows: Range<usize>| -> Vec<i32> {
            rows.map(|position| series.step[nesting.row_at(position)]).collect()
        };
        let n_columns = self.out.levels[level].n_columns;
        let all = codes(nesting.rows(level, units.clone()));
        let mut bundle = Bundle::new(series, all, n_columns, columns.y.len());
        for unit in units {
            let rows = nesting.levels[level].children(unit);
            let mut first = rows.start;
            while first < rows.end {
                let last = (first + TALL_UNIT).min(rows.end);
                // The row before the first takes part in the first step.
                let from = if first > rows.start { first - 1 } else { first };
                self.gather(from..last, 0);
                let end = (last == rows.end).then(|| series.step[nesting.row_at(rows.start)]);
                let fresh = first - from..last - from;
                bundle.add(series, &self.scratch, &codes(from..last), fresh, end);
                first = last;
            }
        }
        bundle.finish(series, &mut self.out.levels[level]);
    }

    /// Pushes raw rows, without the columns of levels inside `level`, into the factor above it.
    fn pass_up_rows(&mut self, rows: Range<usize>, level: usize) {
        let inner: usize = self.columns.z[level..].iter().map(Vec::len).sum();
        let mut first = rows.start;
        while first < rows.end {
            let last = (first + TALL_UNIT).min(rows.end);
            self.gather(first..last, inner);
            let into = self.open[..level].last_mut().unwrap_or(&mut self.out.remainder);
            into.push_columns(&self.scratch, last - first, 0, last - first);
            first = last;
        }
    }

    /// Copies rows, centred, scaled and weighted, into scratch, one column after the other.
    fn gather(&mut self, rows: Range<usize>, skip: usize) {
        let n = rows.len();
        let order = self.nesting.row_order.as_deref();
        lengthen(&mut self.scratch, n * (self.order.len() - skip));
        for (column, out) in self.order[skip..].iter().zip(self.scratch.chunks_exact_mut(n)) {
            let Column { values, center, scale } = *column;
            match (values, order) {
                (None, _) => out.fill((1.0 - center) * scale),
                (Some(values), None) if values.stride == 1 => {
                    let data = &values.data[values.offset..];
                    for (o, v) in out.iter_mut().zip(&data[rows.clone()]) {
                        *o = (v - center) * scale;
                    }
                }
                (Some(values), None) => {
                    for (o, row) in out.iter_mut().zip(rows.clone()) {
                        *o = (values.row(row) - center) * scale;
                    }
                }
                (Some(values), Some(order)) => {
                    for (o, &row) in out.iter_mut().zip(&order[rows.clone()]) {
                        *o = (values.row(row as usize) - center) * scale;
                    }
                }
            }
        }
        if let Some(weights) = self.columns.sqrt_weights {
            for out in self.scratch.chunks_exact_mut(n) {
                for (i, o) in out.iter_mut().enumerate() {
                    let position = rows.start + i;
                    *o *= weights[order.map_or(position, |order| order[position] as usize)];
                }
            }
        }
    }

    fn total_from_blocks(&mut self) {
        let out = &mut self.out;
        out.remainder.factor();
        out.total = out.remainder.clone();
        let (p, n_fits) = (self.columns.x.len(), self.columns.y.len());
        let mut row = zeros(p + n_fits);
        for level in &out.levels {
            let responses = level.response.chunks_exact(n_fits.max(1));
            let designs = level.design.chunks_exact(level.n_columns.max(1)).zip(responses);
            for (i, (design, response)) in designs.enumerate() {
                row[..p].copy_from_slice(&design[level.n_columns - p..]);
                row[p..].copy_from_slice(response);
                if let Some(shares) = &level.shares {
                    let share = shares.of(level.classes[i]).sqrt();
                    row.iter_mut().for_each(|value| *value *= share);
                }
                out.total.push_row(&row);
            }
        }
        out.total.factor();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cross-products of [Z X y] must survive the rotation, for short and tall units alike.
    #[test]
    fn rotation_keeps_cross_products() {
        for n_units in [2_usize, 40] {
            let n = 1300;
            let codes: Vec<i32> = (0..n).map(|i| (i * 7 % n_units) as i32).collect();
            let t: Vec<f64> = (0..n).map(|i| (i as f64 * 0.37).sin()).collect();
            let y: Vec<f64> = (0..n).map(|i| (i as f64 * 0.11).cos()).collect();
            let nesting = Nesting::new(n, &[&codes], &[n_units]).expect("one factor");
            let columns = RowColumns {
                z: vec![vec![Column::plain(None), Column::plain(Some(&t))]],
                x: vec![Column::plain(None), Column::plain(Some(&t))],
                y: vec![Column::plain(Some(&y))],
                ..RowColumns::default()
            };
            let mut rotated = rotate(&nesting, &columns);
            let total: f64 = y.iter().map(|v| v * v).sum();
            let factor = rotated.total.factor().to_vec();
            let ours = factor[2].powi(2) + factor[5].powi(2) + rotated.total.residual_squares[0];
            assert!((total - ours).abs() < 1e-10 * total);
            let z_y: f64 = t.iter().zip(&y).map(|(a, b)| a * b).sum();
            let level = &rotated.levels[0];
            let ours: f64 =
                (0..2 * n_units).map(|r| level.design[r * 4 + 1] * level.response[r]).sum();
            assert!((z_y - ours).abs() < 1e-10);
        }
    }
}
