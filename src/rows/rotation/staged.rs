//! Rows in any order, brought block by block to where their units stand, before these are read.
//!
//! Rows of one unit that lie anywhere in memory take a line of the cache a value. Here rows are read
//! as they lie, of all columns side by side, and each is written to the end of its block: a run of
//! positions in the order of units whose rows fit the cache, where units then find theirs in any order.
//! Values are copied and nothing else, so the bits are those of rows read where they lie.

use std::ops::Range;

use super::gather::Places;
use crate::linalg::beside::read;
use crate::linalg::dense::{Kernel, vectorised};
use crate::linalg::lanes::{Four, LANES, Lane};
use crate::rows::columns::{Column, RowColumns, Values};
use crate::rows::nesting::Nesting;
use crate::running::memory::{filled, left, zeros};
use crate::running::threads;

/// Positions of a block.
const BLOCK: usize = 4096;
/// Rows of a task at least, and tasks at most: each counts the rows of every block.
const TASK_ROWS: usize = 1 << 17;
const TASKS: usize = 256;
/// Rows that are looked for among those of a window, and brought together by block, at once.
const AT_ONCE: usize = 4096;
/// Columns of their own in memory from which on rows are staged: of six it costs what it saves.
const FEWEST_COLUMNS: usize = 8;
/// Columns up to which they are: more are responses, whose rows stand together.
const MOST_COLUMNS: usize = 64;
/// Numbers from which on they lie beyond the caches.
const FEWEST_NUMBERS: usize = 1 << 21;
/// Rows that are staged at once: all, or half where there are more.
const WINDOW_ROWS: usize = 1 << 20;
const WINDOWS: usize = 2;
/// Room that has to be left for other things, in that of the stage.
const OTHERS: f64 = 4.0;

/// Numbers of the room that the rows should be given to be staged in; 0 where they are as fast read
/// where they lie.
#[must_use]
pub fn room(nesting: &Nesting, columns: &RowColumns) -> usize {
    let may_pay = nesting.row_order.is_some()
        && columns.visits.is_none()
        && nesting.n_rows >= FEWEST_NUMBERS / MOST_COLUMNS
        && columns.y.len() <= MOST_COLUMNS;
    if !may_pay {
        return 0;
    }
    let own = distinct(&columns.in_order());
    let apart = own.iter().filter(|values| values.stride == 1).count();
    let pays = (FEWEST_COLUMNS..=MOST_COLUMNS).contains(&apart)
        && own.len() <= MOST_COLUMNS
        && nesting.n_rows * apart >= FEWEST_NUMBERS;
    if !pays {
        return 0;
    }
    let rows = nesting.n_rows.div_ceil(WINDOWS).max(WINDOW_ROWS).min(nesting.n_rows);
    let needed = rows * (own.len() + 1);
    if left() < OTHERS * (needed * size_of::<f64>()) as f64 { 0 } else { needed }
}

/// The columns that hold values, each once.
fn distinct<'a>(columns: &[Column<'a>]) -> Vec<Values<'a>> {
    let mut own: Vec<Values> = Vec::new();
    for values in columns.iter().filter_map(|column| column.values) {
        if !own.iter().any(|known| is_same(known, &values)) {
            own.push(values);
        }
    }
    own
}

fn is_same(a: &Values, b: &Values) -> bool {
    (a.data.as_ptr(), a.offset, a.stride) == (b.data.as_ptr(), b.offset, b.stride)
}

/// What is staged: columns, and where each row stands in the order of units.
pub(super) struct Stage<'a> {
    columns: Vec<Values<'a>>,
    places: Vec<u32>,
}

impl<'a> Stage<'a> {
    /// `None` where rows stand in the order of units.
    pub(super) fn new(nesting: &Nesting, columns: &[Column<'a>]) -> Option<Self> {
        let order = nesting.row_order.as_deref()?;
        let mut places = filled(0_u32, order.len());
        for (place, &row) in order.iter().enumerate() {
            places[row as usize] = place as u32;
        }
        Some(Self { columns: distinct(columns), places })
    }

    /// Numbers of a row: its values, and its place.
    fn width(&self) -> usize {
        self.columns.len() + 1
    }

    /// Rows that `room` numbers hold.
    pub(super) fn capacity(&self, room: usize) -> usize {
        room / self.width()
    }

    /// Copies the rows of some positions into `room`, those of a block one after the other.
    pub(super) fn fill<'r>(&self, positions: Range<usize>, room: &'r mut [f64]) -> Staged<'r> {
        let width = self.width();
        let room = &mut room[..positions.len() * width];
        let n_blocks = positions.len().div_ceil(BLOCK);
        let all = self.places.len();
        let task_rows = TASK_ROWS.max(all.div_ceil(TASKS));
        let tasks: Vec<Range<usize>> =
            (0..all).step_by(task_rows).map(|first| first..(first + task_rows).min(all)).collect();
        let sizes = threads::map(&tasks, |rows: &Range<usize>| {
            let mut sizes = vec![0_usize; n_blocks];
            for place in self.places_among(rows.clone(), &positions) {
                sizes[place / BLOCK] += 1;
            }
            sizes
        });
        let mut left = &mut *room;
        let mut parts: Vec<Vec<&mut [f64]>> = tasks.iter().map(|_| Vec::new()).collect();
        for block in 0..n_blocks {
            for (part, sizes) in parts.iter_mut().zip(&sizes) {
                let (own, rest) = std::mem::take(&mut left).split_at_mut(sizes[block] * width);
                part.push(own);
                left = rest;
            }
        }
        threads::each(tasks.into_iter().zip(parts), |(rows, parts)| {
            self.write(rows, &positions, parts);
        });
        Staged { numbers: room, width, positions }
    }

    /// Places of some rows, of those among `positions`, from the first of these on.
    fn places_among(
        &self,
        rows: Range<usize>,
        positions: &Range<usize>,
    ) -> impl Iterator<Item = usize> {
        let (first, n) = (positions.start, positions.len());
        // What stands before the first wraps around to what is beyond the last.
        let from_first = move |&place: &u32| (place as usize).wrapping_sub(first);
        self.places[rows].iter().map(from_first).filter(move |&place| place < n)
    }

    /// Writes some rows to what is left of each block for them.
    ///
    /// Few at a time are brought together by block in memory that stays in a cache, and copied from
    /// there: single rows written far apart would each wait for a line of their own.
    fn write(&self, rows: Range<usize>, positions: &Range<usize>, mut parts: Vec<&mut [f64]>) {
        let width = self.width();
        let mut some = Batch::new(parts.len(), width);
        for first in rows.clone().step_by(AT_ONCE) {
            let last = (first + AT_ONCE).min(rows.end);
            some.take(&self.places, first..last, positions);
            vectorised(Write { columns: &self.columns, some: &mut some });
            let mut begin = 0;
            for (part, &end) in parts.iter_mut().zip(&some.ends) {
                let (begins, ends) = (std::mem::replace(&mut begin, end), end);
                if begins < ends {
                    let all = std::mem::take(part);
                    let (own, rest) = all.split_at_mut((ends - begins) * width);
                    own.copy_from_slice(&some.numbers[begins * width..ends * width]);
                    *part = rest;
                }
            }
        }
    }

    /// `columns` as they are read from what is staged.
    pub(super) fn columns<'s>(&self, columns: &[Column], staged: &Staged<'s>) -> Vec<Column<'s>> {
        let own = |column: &Column| {
            let values = column.values.map(|values| {
                let place = self.columns.iter().position(|known| is_same(known, &values));
                let Some(offset) = place else { unreachable!("every column is staged") };
                Values { data: staged.numbers, offset, stride: staged.width }
            });
            Column { values, center: column.center, scale: column.scale }
        };
        columns.iter().map(own).collect()
    }
}

/// Some rows on their way to their blocks.
struct Batch {
    width: usize,
    rows: Vec<usize>,
    /// Where each of them stands among the positions.
    places: Vec<usize>,
    /// Where it stands among these rows by block.
    slots: Vec<usize>,
    /// Where the rows of each block end.
    ends: Vec<usize>,
    /// Their numbers, by block.
    numbers: Vec<f64>,
}

impl Batch {
    fn new(n_blocks: usize, width: usize) -> Self {
        Self {
            width,
            rows: Vec::with_capacity(AT_ONCE),
            places: Vec::with_capacity(AT_ONCE),
            slots: Vec::with_capacity(AT_ONCE),
            ends: vec![0; n_blocks],
            numbers: zeros(AT_ONCE * width),
        }
    }

    /// Takes those of the rows that stand at `positions`.
    fn take(&mut self, places: &[u32], rows: Range<usize>, positions: &Range<usize>) {
        self.rows.clear();
        self.places.clear();
        self.ends.fill(0);
        for row in rows {
            let place = places[row] as usize;
            if positions.contains(&place) {
                let place = place - positions.start;
                self.rows.push(row);
                self.places.push(place);
                self.ends[place / BLOCK] += 1;
            }
        }
        let mut begin = 0;
        for end in &mut self.ends {
            begin += std::mem::replace(end, begin);
        }
        self.slots.clear();
        for &place in &self.places {
            let end = &mut self.ends[place / BLOCK];
            self.slots.push(*end);
            *end += 1;
        }
    }
}

/// Brings some rows together by block.
struct Write<'a> {
    columns: &'a [Values<'a>],
    some: &'a mut Batch,
}

impl Kernel for Write<'_> {
    type Output = ();

    // Loops by index, no adapters: these are not always inlined where vectors are wide.
    #[inline(always)]
    fn call(self) {
        let (columns, width) = (self.columns, self.some.width);
        let n = self.some.rows.len();
        let (rows, places) = (&self.some.rows[..n], &self.some.places[..n]);
        let (slots, numbers) = (&self.some.slots[..n], &mut self.some.numbers[..]);
        let mut k = 0;
        while k + LANES <= n {
            let four = [rows[k], rows[k + 1], rows[k + 2], rows[k + 3]];
            for c in 0..columns.len() {
                let values = rows_of(&columns[c], four);
                for lane in 0..LANES {
                    numbers[slots[k + lane] * width + c] = values.lane(lane);
                }
            }
            for lane in 0..LANES {
                numbers[slots[k + lane] * width + columns.len()] = places[k + lane] as f64;
            }
            k += LANES;
        }
        while k < n {
            let own = &mut numbers[slots[k] * width..][..width];
            for c in 0..columns.len() {
                own[c] = columns[c].row(rows[k]);
            }
            own[columns.len()] = places[k] as f64;
            k += 1;
        }
    }
}

/// Four rows of a column.
#[inline(always)]
fn rows_of(column: &Values, rows: [usize; LANES]) -> Four {
    let first = column.offset + rows[0];
    if column.stride == 1 && rows[LANES - 1] - rows[0] == LANES - 1 {
        read(column.data, first)
    } else {
        Four::from_lanes(|lane| column.row(rows[lane]))
    }
}

/// Rows of some positions, those of a block together in any order.
pub(super) struct Staged<'r> {
    numbers: &'r [f64],
    width: usize,
    positions: Range<usize>,
}

impl Staged<'_> {
    /// Which staged row stands at each of some positions.
    pub(super) fn places(&self, positions: Range<usize>) -> Places {
        let first = positions.start - self.positions.start;
        let n = positions.len();
        let mut rows = filled(0_u32, n);
        let begin = first / BLOCK * BLOCK;
        let end = (first + n).next_multiple_of(BLOCK).min(self.positions.len());
        let staged = &self.numbers[begin * self.width..end * self.width];
        for (row, values) in (begin..).zip(staged.chunks_exact(self.width)) {
            let place = (values[self.width - 1] as usize).wrapping_sub(first);
            if place < n {
                rows[place] = row as u32;
            }
        }
        Places::Staged { first: positions.start, rows }
    }
}
