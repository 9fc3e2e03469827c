//! Units of one chunk of the rows, rotated one after the other or four side by side.

use std::ops::Range;

use super::beside::ResponsesBeside;
use super::four_units::FourUnits;
use super::gather::{Places, gather};
use super::staged::{Stage, Staged};
use crate::linalg::beside::{self, Reflection};
use crate::linalg::dense::{Kernel, householder, reflect_by, vectorised};
use crate::linalg::lanes::{LANES, Lane};
use crate::linalg::triangle::Triangle;
use crate::rows::bundle::Bundle;
use crate::rows::columns::{Column, RowColumns};
use crate::rows::level_rows::{LevelRows, RotatedRows};
use crate::rows::nesting::Nesting;
use crate::running::memory::{append, grow, lengthen};
use crate::running::stop::check;

/// Taller units go through a triangular factor instead of a scratch copy of all their rows.
const TALL_UNIT: usize = 512;

/// Workspace and results of one chunk.
pub(super) struct Chunk<'a> {
    nesting: &'a Nesting,
    columns: &'a RowColumns<'a>,
    /// By level, columns of that level first: the order in which they are eliminated.
    order: Vec<Column<'a>>,
    /// What was staged of the rows, and where in it they stand.
    staged: Option<&'a Staged<'a>>,
    places: Places,
    scratch: Vec<f64>,
    /// tau of the reflections of a unit's columns.
    taus: Vec<f64>,
    four: FourUnits,
    /// Responses that stand side by side in memory.
    beside: Option<ResponsesBeside<'a>>,
    /// Rows met so far of the current unit of each level.
    open: Vec<Triangle>,
    out: RotatedRows,
}

impl<'a> Chunk<'a> {
    pub(super) fn new(
        nesting: &'a Nesting,
        columns: &'a RowColumns<'a>,
        staged: Option<(&Stage, &'a Staged<'a>)>,
        like: &RotatedRows,
    ) -> Self {
        let n_fits = columns.y.len();
        let order = columns.in_order();
        let order = staged.map_or(order.clone(), |(stage, rows)| stage.columns(&order, rows));
        let empty = |level: &LevelRows| LevelRows {
            q: level.q,
            n_columns: level.n_columns,
            is_placed: level.is_placed,
            shares: level.shares.clone(),
            ..LevelRows::default()
        };
        Self {
            nesting,
            columns,
            order,
            staged: staged.map(|(_, rows)| rows),
            places: Places::Own,
            scratch: Vec::new(),
            taus: Vec::new(),
            beside: ResponsesBeside::of(&columns.y),
            four: FourUnits::new(),
            open: like.levels.iter().map(|l| Triangle::new(l.n_columns, n_fits)).collect(),
            out: RotatedRows {
                levels: like.levels.iter().map(empty).collect(),
                remainder: Triangle::new(columns.x.len(), n_fits),
                total: Triangle::new(columns.x.len(), n_fits),
                n_obs: 0,
                counts: Vec::new(),
                alike: Vec::new(),
            },
        }
    }

    pub(super) fn rotate(mut self, items: Range<usize>) -> RotatedRows {
        if let Some(staged) = self.staged {
            self.places = staged.places(self.nesting.rows(0, items.clone()));
        }
        if self.nesting.levels.is_empty() {
            self.pass_up_rows(items, 0);
        } else if self.columns.series.is_some() && self.nesting.levels.len() == 1 {
            self.bundle_series(0, items);
        } else {
            self.rotate_units(0, items);
        }
        self.out.total_from_blocks(self.columns.x.len(), self.columns.y.len());
        self.out
    }

    /// Rotates units of a level, four of as many rows side by side.
    fn rotate_units(&mut self, level: usize, units: Range<usize>) {
        let nesting = self.nesting;
        let innermost = level + 1 == nesting.levels.len();
        let alone = self.columns.visits.is_some() || self.beside.is_some();
        let side_by_side = innermost && !alone;
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
        self.four.gather(self.nesting, &self.places, self.columns, &self.order, rows.start, n);
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
            match self.beside.take() {
                Some(mut responses) => {
                    self.rotate_beside(level, children, &mut responses);
                    self.beside = Some(responses);
                }
                None => self.rotate_short_unit(level, children),
            }
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
        vectorised(Reflect { columns: &mut self.scratch, n, q: q.min(n), taus: &mut self.taus });
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

    /// The same of responses side by side, none of which is copied into a column of its own.
    fn rotate_beside(&mut self, level: usize, rows: Range<usize>, responses: &mut ResponsesBeside) {
        let (n, n_fits) = (rows.len(), self.columns.y.len());
        let n_design = self.order.len() - n_fits;
        let weights = self.columns.sqrt_weights;
        let design = &self.order[..n_design];
        gather(self.nesting, &self.places, design, weights, rows.clone(), &mut self.scratch);
        let own = responses.gather(self.nesting, weights, rows);
        let LevelRows { q, n_columns, .. } = self.out.levels[level];
        vectorised(Reflect { columns: &mut self.scratch, n, q: q.min(n), taus: &mut self.taus });
        for (j, &tau) in self.taus.iter().enumerate() {
            let (first, rest) = own[j * n_fits..].split_at_mut(n_fits);
            beside::reflect(
                Reflection { v: &self.scratch[j * n + j + 1..(j + 1) * n], tau },
                first,
                rest,
            );
        }
        let kept = &mut self.out.levels[level];
        grow(&mut kept.design, q * n_columns);
        for i in 0..q {
            let value = |c: usize| {
                if i < n && c >= i { self.scratch[c * n + i] } else { 0.0 }
            };
            kept.design.extend((0..n_columns).map(value));
        }
        let (first, others) = own.split_at(q.min(n) * n_fits);
        append(&mut kept.response, first);
        let filled = kept.response.len() + (q - q.min(n)) * n_fits;
        lengthen(&mut kept.response, filled);
        if n > q {
            let parent = self.open[..level].last_mut().unwrap_or(&mut self.out.remainder);
            parent.push_beside(&self.scratch[q * n..], n, (q, n), others);
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

    /// Copies rows, of all columns but the first `skip`, into scratch.
    fn gather(&mut self, rows: Range<usize>, skip: usize) {
        let weights = self.columns.sqrt_weights;
        let columns = &self.order[skip..];
        gather(self.nesting, &self.places, columns, weights, rows, &mut self.scratch);
    }
}

struct Reflect<'a> {
    columns: &'a mut [f64],
    n: usize,
    q: usize,
    taus: &'a mut Vec<f64>,
}

impl Kernel for Reflect<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        reflect(self.columns, self.n, self.q, self.taus);
    }
}

/// Triangularises the first `q` of the columns (`n` rows each) by reflections of all of them, whose
/// `taus` are left.
#[inline(always)]
pub(super) fn reflect(columns: &mut [f64], n: usize, q: usize, taus: &mut Vec<f64>) {
    taus.clear();
    if q == 0 {
        return;
    }
    let (alpha, v) = columns[..n].split_at_mut(1);
    let mut next = householder::<false>(alpha[0], v);
    for j in 0..q {
        let (beta, tau) = next;
        let (head, tail) = columns.split_at_mut((j + 1) * n);
        let (alpha, v) = head[j * n + j..].split_at_mut(1);
        alpha[0] = beta;
        taus.push(tau);
        let mut first = 0;
        while first < tail.len() {
            let (entry, rest) = tail[first + j..first + n].split_at_mut(1);
            reflect_by::<false>(v, tau, &mut entry[0], rest);
            // The next reflector at once: other columns are reflected while its root is drawn.
            if first == 0 && j + 1 < q {
                let (alpha, v) = rest.split_at_mut(1);
                next = householder::<false>(alpha[0], v);
            }
            first += n;
        }
    }
}
