//! The one pass over the rows: each unit's columns rotated so that few rows carry its Z.

use std::ops::Range;

use super::chunk::Chunk;
use super::staged::{Stage, Staged};
use crate::linalg::triangle::Triangle;
use crate::rows::MANY_ROWS;
use crate::rows::columns::RowColumns;
use crate::rows::level_rows::{LevelRows, RotatedRows};
use crate::rows::nesting::{Nesting, chunks};
use crate::rows::series_columns::SeriesColumns;
use crate::running::memory::grow;
use crate::running::threads::{self, PARALLEL_SIZE};

/// Rows per task.
const CHUNK_ROWS: usize = 8192;
/// Chunks between two looks at the interrupt flag.
pub(super) const CHUNKS_PER_CHECK: usize = 128;

/// Rotates all rows.
///
/// The result of disjoint sets of units is the concatenation of their blocks and the merge of their
/// factors, which is how chunks are joined here.
#[must_use]
pub fn rotate(nesting: &Nesting, columns: &RowColumns) -> RotatedRows {
    rotate_in(nesting, columns, &mut [])
}

/// [`rotate`], to the same bits, with room to stage rows in: see [`super::staged::room`].
#[must_use]
pub fn rotate_in(nesting: &Nesting, columns: &RowColumns, room: &mut [f64]) -> RotatedRows {
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
                Some(q) => {
                    let is_placed = nesting.n_rows >= MANY_ROWS;
                    LevelRows { q, n_columns: q + width, is_placed, ..LevelRows::default() }
                }
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
        alike: Vec::new(),
    };
    for (level, units) in all.levels.iter_mut().zip(&nesting.levels) {
        if level.shares.is_none() {
            let n_rows = units.n_units() * level.q;
            grow(&mut level.design, n_rows * level.n_columns);
            grow(&mut level.response, n_rows * n_fits);
        }
    }
    let chunks = chunk_bounds(nesting);
    let stage = if room.is_empty() { None } else { Stage::new(nesting, &columns.in_order()) };
    let capacity = stage.as_ref().map_or(usize::MAX, |stage| stage.capacity(room.len()));
    let parallel = nesting.n_rows * (width + n_fits) > PARALLEL_SIZE;
    for window in windows(nesting, &chunks, capacity) {
        let rows = rows_of(nesting, window);
        let stage = stage.as_ref().filter(|_| rows.len() <= capacity);
        let staged: Option<Staged> = stage.map(|stage| stage.fill(rows, room));
        let staged = stage.zip(staged.as_ref());
        for group in window.chunks(CHUNKS_PER_CHECK) {
            let task = |chunk: &Range<usize>| {
                Chunk::new(nesting, columns, staged, &all).rotate(chunk.clone())
            };
            let parts: Vec<RotatedRows> =
                if parallel { threads::map(group, task) } else { group.iter().map(task).collect() };
            for part in parts {
                all.append(part);
            }
        }
    }
    all
}

/// Runs of chunks of at most `capacity` rows each, or of one chunk that has more.
fn windows<'c>(
    nesting: &Nesting,
    chunks: &'c [Range<usize>],
    capacity: usize,
) -> impl Iterator<Item = &'c [Range<usize>]> {
    let mut left = chunks;
    std::iter::from_fn(move || {
        let fits = |&n: &usize| rows_of(nesting, &left[..n]).len() <= capacity;
        let n = (1..=left.len()).take_while(fits).last().unwrap_or(1.min(left.len()));
        let (window, rest) = left.split_at(n);
        left = rest;
        (n > 0).then_some(window)
    })
}

/// Positions of the rows of neighbouring chunks.
fn rows_of(nesting: &Nesting, chunks: &[Range<usize>]) -> Range<usize> {
    let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else { return 0..0 };
    nesting.rows(0, first.start..last.end)
}

/// Units that each innermost unit stands for, in the order of units.
fn unit_counts(nesting: &Nesting, columns: &RowColumns) -> Vec<usize> {
    let (Some(counts), Some(level)) = (columns.counts, nesting.levels.last()) else {
        return Vec::new();
    };
    level.codes.iter().map(|&code| counts[code as usize] as usize).collect()
}

/// Ranges of outermost units (of rows, without a grouping factor) of about `CHUNK_ROWS` rows.
pub(super) fn chunk_bounds(nesting: &Nesting) -> Vec<Range<usize>> {
    let Some(outer) = nesting.levels.first() else {
        return (0..nesting.n_rows)
            .step_by(CHUNK_ROWS)
            .map(|first| first..(first + CHUNK_ROWS).min(nesting.n_rows))
            .collect();
    };
    chunks(outer.n_units(), CHUNK_ROWS, |units| nesting.rows(0, units).len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::columns::{Column, Values};

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

    /// Of units of one row and of several, in any order, weighted.
    #[test]
    fn responses_that_stand_side_by_side_have_the_bits_of_each_alone() {
        let (n, n_units, n_fits) = (90, 17, 6);
        let codes: Vec<i32> = (0..n).map(|i| ((i * 7 % 23) % n_units) as i32).collect();
        let value = |k: usize| (k as f64 * 0.61).sin();
        let t: Vec<f64> = (0..n).map(value).collect();
        let weights: Vec<f64> = (0..n).map(|i| 1.0 + 0.3 * value(3 * i)).collect();
        let y: Vec<f64> = (0..n * n_fits).map(|k| value(5 * k)).collect();
        let nesting = Nesting::new(n, &[&codes], &[n_units]).expect("one factor");
        let column = |fit: usize| Column {
            values: Some(Values { data: &y, offset: fit, stride: n_fits }),
            center: 0.1 * fit as f64,
            scale: 1.0 + fit as f64,
        };
        let rotated = |y: Vec<Column>| {
            let x = vec![Column::plain(None), Column::plain(Some(&t))];
            let z = vec![x.clone()];
            let sqrt_weights = Some(&weights[..]);
            rotate(&nesting, &RowColumns { z, x, y, sqrt_weights, ..RowColumns::default() })
        };
        let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let mut all = rotated((0..n_fits).map(column).collect());
        for fit in 0..n_fits {
            let mut alone = rotated(vec![column(fit)]);
            let own: Vec<f64> =
                all.levels[0].response.iter().skip(fit).step_by(n_fits).copied().collect();
            assert_eq!(bits(&own), bits(&alone.levels[0].response));
            assert_eq!(bits(&all.levels[0].design), bits(&alone.levels[0].design));
            let triangles =
                [(&mut all.remainder, &mut alone.remainder), (&mut all.total, &mut alone.total)];
            for (all, alone) in triangles {
                let rows = all.factor().chunks_exact(2 + n_fits);
                let own: Vec<f64> = rows.flat_map(|row| [row[0], row[1], row[2 + fit]]).collect();
                assert_eq!(bits(&own), bits(alone.factor()));
                let squares = (all.residual_squares[fit], alone.residual_squares[0]);
                assert_eq!(squares.0.to_bits(), squares.1.to_bits());
            }
        }
    }

    /// Units inside units, a tall one among them, weights, and columns that stand twice or strided.
    #[test]
    fn staged_rows_have_the_bits_of_those_read_where_they_lie() {
        let n = 30_000;
        let outer: Vec<i32> = (0..n).map(|i| (i * 7919 % 97).min(60)).collect();
        let inner: Vec<i32> = (0..n).map(|i| outer[i as usize] * 9 + i % 9).collect();
        let of = |k: usize| -> Vec<f64> {
            (0..n).map(|i| (f64::from(i) * 0.37 + k as f64).sin()).collect()
        };
        let (a, b, y, two) = (of(1), of(2), of(3), [of(4), of(5)].concat());
        let weights: Vec<f64> = (0..n).map(|i| 1.0 + f64::from(i % 5)).collect();
        let strided = Column {
            values: Some(Values { data: &two, offset: 1, stride: 2 }),
            center: 0.1,
            scale: 3.0,
        };
        let columns = RowColumns {
            z: vec![vec![Column::plain(None)], vec![Column::plain(None), Column::plain(Some(&a))]],
            x: vec![Column::plain(None), Column::plain(Some(&a)), Column::plain(Some(&b)), strided],
            y: vec![Column::plain(Some(&y))],
            sqrt_weights: Some(&weights),
            ..RowColumns::default()
        };
        let nesting = Nesting::new(n as usize, &[&outer, &inner], &[61, 549]).expect("nested");
        assert!(nesting.row_order.is_some());
        let bits = |mut rows: RotatedRows| -> Vec<u64> {
            let mut all = rows.total.factor().to_vec();
            all.extend(rows.remainder.factor());
            all.extend(&rows.total.residual_squares);
            rows.levels.iter().for_each(|l| all.extend(l.design.iter().chain(&l.response)));
            all.iter().map(|value| value.to_bits()).collect()
        };
        let lying = bits(rotate(&nesting, &columns));
        // Room for all rows, for some chunks but not for the largest, and for none.
        for rows in [n as usize, 9_000, 100] {
            let mut room = vec![f64::NAN; 5 * rows];
            assert_eq!(bits(rotate_in(&nesting, &columns, &mut room)), lying);
            assert_eq!(room[0].is_nan(), rows == 100);
        }
    }

    /// Units of as many rows each, four of which are read side by side: sorted, strided, in any order,
    /// and staged.
    #[test]
    fn units_read_side_by_side_have_the_same_bits_however_their_rows_lie() {
        for size in [3, 10] {
            let (n_units, width) = (2_100, 10);
            let n = n_units * size;
            let value = |row: usize, k: usize| ((row * 31 + k * 7) as f64 * 0.37).sin();
            let bits = |of_row: &dyn Fn(usize) -> usize, stride: usize, is_staged: bool| {
                // Position by position of the order of units, the row that stands there.
                let mut data = vec![0.0; n * width];
                let mut codes = vec![0_i32; n];
                for position in 0..n {
                    let row = of_row(position);
                    codes[row] = (position / size) as i32;
                    for k in 0..width {
                        let at = if stride == 1 { k * n + row } else { row * width + k };
                        data[at] = value(position, k);
                    }
                }
                let column = |k: usize| {
                    let offset = if stride == 1 { k * n } else { k };
                    let values = Some(Values { data: &data, offset, stride });
                    Column { values, center: 0.1 * k as f64, scale: 1.0 + k as f64 }
                };
                let columns = RowColumns {
                    z: vec![vec![Column::plain(None), column(0)]],
                    x: vec![column(0), column(1), column(3), column(4), column(5), column(6)],
                    y: vec![column(7)],
                    ..RowColumns::default()
                };
                let nesting = Nesting::new(n, &[&codes], &[n_units]).expect("one factor");
                assert_eq!(nesting.row_order.is_none(), of_row(1) == 1);
                let mut room = vec![0.0; if is_staged { n * width } else { 0 }];
                let mut rows = rotate_in(&nesting, &columns, &mut room);
                let mut all = rows.total.factor().to_vec();
                all.extend(rows.remainder.factor());
                rows.levels.iter().for_each(|l| all.extend(l.design.iter().chain(&l.response)));
                all.iter().map(|value| value.to_bits()).collect::<Vec<u64>>()
            };
            let sorted = bits(&|position| position, 1, false);
            // Units appear in the same order: the first row of each before the second ones.
            let dealt = |position: usize| position % size * n_units + position / size;
            for (stride, is_staged) in [(1, false), (width, false), (1, true), (width, true)] {
                assert_eq!(bits(&dealt, stride, is_staged), sorted);
            }
            assert_eq!(bits(&|position| position, width, false), sorted);
        }
    }
}
