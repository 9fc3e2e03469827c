//! Subjects with the same visits and the same columns of X, replaced by few before rows are rotated.
//!
//! With y = mean + (y - mean) among subjects alike, sums of A'K A and A'K y are those of the means, and
//! y'K y that of the means plus that of the deviations, whatever K is. Of the deviations of all who saw
//! the same visits only the cross-product matters: their triangular factor stands for them.

use std::collections::HashMap;
use std::ops::Range;

use super::gather::{Places, gather};
use super::rotate::{CHUNKS_PER_CHECK, chunk_bounds};
use crate::linalg::dense::block;
use crate::linalg::triangle::Triangle;
use crate::rows::SAMPLE;
use crate::rows::columns::{Column, RowColumns};
use crate::rows::hashes::mixed;
use crate::rows::level_rows::{Alike, LevelRows, RotatedRows};
use crate::rows::nesting::Nesting;
use crate::running::memory::{append, grow, lengthen};
use crate::running::stop::check;
use crate::running::threads::{self, PARALLEL_SIZE};

/// Rows that are held at once: their columns stay in the cache.
const PIECE_ROWS: usize = 256;
/// Deviations that wait to be rotated together.
const WAITING: usize = 64;

/// `rotate` of subjects with visits by those who are alike; `None` where hardly two are.
#[must_use]
pub fn rotate_alike(nesting: &Nesting, columns: &RowColumns) -> Option<RotatedRows> {
    let ([level], Some(_), None) = (&nesting.levels[..], columns.visits, columns.counts) else {
        return None;
    };
    if level.n_units() < SAMPLE {
        return None;
    }
    let sample = Subjects::new(nesting, columns).all(0..SAMPLE);
    if 10 * sample.groups.len() > 9 * SAMPLE {
        return None;
    }
    let chunks = chunk_bounds(nesting);
    let width = columns.x.len() + columns.y.len();
    let parallel = nesting.n_rows * width > PARALLEL_SIZE;
    let mut found = Found::default();
    for some in chunks.chunks(CHUNKS_PER_CHECK) {
        let task = |chunk: &Range<usize>| Subjects::new(nesting, columns).all(chunk.clone());
        if parallel {
            threads::map(some, task).iter().for_each(|part| found.merge(part));
        } else {
            some.iter().for_each(|chunk| found.merge(&task(chunk)));
        }
    }
    Some(found.rotated(nesting, columns))
}

/// Who saw the same visits.
struct Seen {
    visits: Vec<i32>,
    /// Subjects.
    count: usize,
    /// Those of them with the same columns of X.
    groups: Vec<usize>,
    /// By response, rows with the cross-product of the deviations, one number a visit.
    deviations: Vec<Vec<f64>>,
}

/// Who of them has the same columns of X.
struct Group {
    seen: usize,
    hash: u64,
    /// X, a row a visit.
    x: Vec<f64>,
    count: usize,
    /// By response, the mean at each visit.
    means: Vec<f64>,
}

/// All groups, in the order of the first subject of each.
#[derive(Default)]
struct Found {
    seen: Vec<Seen>,
    groups: Vec<Group>,
    by_visits: HashMap<Vec<i32>, usize>,
    /// By hash, the groups that have it: as a rule one.
    by_hash: HashMap<u64, Vec<usize>>,
}

impl Found {
    /// Adds subjects with the same visits and `x(visit, column)`, of which means are given.
    fn add(
        &mut self,
        (hash, visits, n_columns): (u64, &[i32], usize),
        x: impl Fn(usize, usize) -> f64,
        count: usize,
        means: &[f64],
    ) {
        let place = |i: usize| (i / n_columns.max(1), i % n_columns.max(1));
        let same = |&&group: &&usize| {
            let own = &self.groups[group];
            let bits = |(i, value): (usize, &f64)| {
                let (visit, column) = place(i);
                value.to_bits() == x(visit, column).to_bits()
            };
            self.seen[own.seen].visits == visits && own.x.iter().enumerate().all(bits)
        };
        let known = self.by_hash.get(&hash).and_then(|groups| groups.iter().find(same).copied());
        if let Some(group) = known {
            self.join(group, count, means);
            return;
        }
        let seen = self.of_visits(visits, means.len() / visits.len());
        let group = self.groups.len();
        let n_numbers = visits.len() * n_columns;
        let mut own = Vec::new();
        grow(&mut own, n_numbers);
        own.extend((0..n_numbers).map(place).map(|(visit, column)| x(visit, column)));
        self.groups.push(Group { seen, hash, x: own, count, means: means.to_vec() });
        self.by_hash.entry(hash).or_default().push(group);
        self.seen[seen].groups.push(group);
        self.seen[seen].count += count;
    }

    fn of_visits(&mut self, visits: &[i32], n_fits: usize) -> usize {
        if let Some(&seen) = self.by_visits.get(visits) {
            return seen;
        }
        let seen = self.seen.len();
        self.by_visits.insert(visits.to_vec(), seen);
        self.seen.push(Seen {
            visits: visits.to_vec(),
            count: 0,
            groups: Vec::new(),
            deviations: vec![Vec::new(); n_fits],
        });
        seen
    }

    /// Adds `count` subjects to a group; how far their means are from the group's is a deviation.
    fn join(&mut self, group: usize, count: usize, means: &[f64]) {
        let group = &mut self.groups[group];
        let seen = &mut self.seen[group.seen];
        let k = seen.visits.len();
        let (own, more) = (group.count as f64, count as f64);
        let (scale, share) = ((own * more / (own + more)).sqrt(), more / (own + more));
        let both = group.means.chunks_exact_mut(k).zip(means.chunks_exact(k));
        for ((mean, other), rows) in both.zip(&mut seen.deviations) {
            grow(rows, k);
            for (m, y) in mean.iter_mut().zip(other) {
                rows.push(scale * (y - *m));
                *m += share * (y - *m);
            }
            if rows.len() >= (k + WAITING) * k {
                triangular(rows, k);
            }
        }
        group.count += count;
        seen.count += count;
    }

    /// Adds the subjects of another part of the rows.
    fn merge(&mut self, other: &Self) {
        for own in &other.groups {
            let visits = &other.seen[own.seen].visits;
            let n_columns = own.x.len() / visits.len();
            let x = |visit: usize, column: usize| own.x[visit * n_columns + column];
            self.add((own.hash, visits, n_columns), x, own.count, &own.means);
        }
        for own in &other.seen {
            let k = own.visits.len();
            let into = &mut self.seen[self.by_visits[&own.visits]].deviations;
            for (rows, more) in into.iter_mut().zip(&own.deviations) {
                append(rows, more);
                if rows.len() >= (k + WAITING) * k {
                    triangular(rows, k);
                }
            }
        }
    }

    /// As units at their visits, those of the same visits one after the other.
    fn rotated(mut self, nesting: &Nesting, columns: &RowColumns) -> RotatedRows {
        let (p, n_fits) = (columns.x.len(), columns.y.len());
        let q = columns.visits.map_or(0, |(_, order)| order);
        let mut level = LevelRows { q, n_columns: q + p, is_placed: true, ..LevelRows::default() };
        let mut alike = Vec::with_capacity(self.seen.len());
        for seen in &mut self.seen {
            let k = seen.visits.len();
            seen.deviations.iter_mut().for_each(|rows| triangular(rows, k));
            let n_deviations = seen.deviations.first().map_or(0, |rows| rows.len() / k);
            for &group in &seen.groups {
                let own = &self.groups[group];
                let scale = (own.count as f64).sqrt();
                let response = |visit: usize, fit: usize| scale * own.means[fit * k + visit];
                place(&mut level, &seen.visits, n_fits, response);
                let first = level.design.len() - q * (q + p);
                for (&visit, x) in seen.visits.iter().zip(own.x.chunks_exact(p.max(1))) {
                    let at = first + visit as usize * (q + p) + q;
                    let out = &mut level.design[at..at + p];
                    out.iter_mut().zip(x).for_each(|(o, value)| *o = scale * value);
                }
            }
            for i in 0..n_deviations {
                let response = |visit: usize, fit: usize| seen.deviations[fit][i * k + visit];
                place(&mut level, &seen.visits, n_fits, response);
            }
            let n_full = seen.groups.len();
            alike.push(Alike { n_full, n_units: n_full + n_deviations, count: seen.count });
        }
        let mut all = RotatedRows {
            levels: vec![level],
            remainder: Triangle::new(p, n_fits),
            total: Triangle::new(p, n_fits),
            n_obs: columns.n_obs.unwrap_or(nesting.n_rows),
            counts: Vec::new(),
            alike,
        };
        all.total_from_blocks(p, n_fits);
        all
    }
}

/// Puts a unit at its visits, with columns of X that are 0.
fn place(
    level: &mut LevelRows,
    visits: &[i32],
    n_fits: usize,
    response: impl Fn(usize, usize) -> f64,
) {
    let (d, r) = (level.design.len(), level.response.len());
    lengthen(&mut level.design, d + level.q * level.n_columns);
    lengthen(&mut level.response, r + level.q * n_fits);
    for (i, &visit) in visits.iter().enumerate() {
        let visit = visit as usize;
        level.design[d + visit * level.n_columns + visit] = 1.0;
        let out = &mut level.response[r..][block(visit, n_fits)];
        out.iter_mut().enumerate().for_each(|(fit, o)| *o = response(i, fit));
    }
}

/// Rows of `k` numbers replaced by at most `k` with the same cross-product.
fn triangular(rows: &mut Vec<f64>, k: usize) {
    if rows.len() > k * k {
        let mut triangle = Triangle::new(k, 0);
        rows.chunks_exact(k).for_each(|row| triangle.push_row(row));
        rows.clear();
        append(rows, triangle.factor());
    }
}

/// Subjects as they are read.
struct Subjects<'a> {
    nesting: &'a Nesting,
    columns: &'a RowColumns<'a>,
    /// Those of X, then the responses.
    order: Vec<Column<'a>>,
    scratch: Vec<f64>,
    found: Found,
}

impl<'a> Subjects<'a> {
    fn new(nesting: &'a Nesting, columns: &'a RowColumns<'a>) -> Self {
        let order = columns.x.iter().chain(&columns.y).copied().collect();
        Self { nesting, columns, order, scratch: Vec::new(), found: Found::default() }
    }

    fn all(mut self, units: Range<usize>) -> Found {
        let level = &self.nesting.levels[0];
        let mut unit = units.start;
        while unit < units.end {
            check();
            let first = level.first_child[unit];
            let fits = |&unit: &usize| level.first_child[unit + 1] <= first + PIECE_ROWS;
            let last = (unit + 1..units.end).find(|unit| !fits(unit)).unwrap_or(units.end);
            self.some(unit..last);
            unit = last;
        }
        self.found
    }

    fn some(&mut self, units: Range<usize>) {
        let (nesting, p) = (self.nesting, self.columns.x.len());
        let Some((visits, _)) = self.columns.visits else { return };
        let rows = nesting.rows(0, units.clone());
        let (n, start) = (rows.len(), rows.start);
        let weights = self.columns.sqrt_weights;
        gather(nesting, &Places::Own, &self.order, weights, rows.clone(), &mut self.scratch);
        let seen: Vec<i32> = rows.map(|position| visits[nesting.row_at(position)]).collect();
        let (x, y) = self.scratch.split_at(n * p);
        let mut hashes: Vec<u64> = seen.iter().map(|&visit| visit as u64).collect();
        for column in x.chunks_exact(n) {
            hashes.iter_mut().zip(column).for_each(|(h, value)| *h = mixed(*h, value.to_bits()));
        }
        let (mut own, mut means, mut at) = (Vec::new(), Vec::new(), Vec::new());
        for unit in units {
            // Rows in any order: visits tell which is which.
            own.clear();
            own.extend(nesting.levels[0].children(unit).map(|position| position - start));
            if !own.is_sorted_by_key(|&row| seen[row]) {
                own.sort_unstable_by_key(|&row| seen[row]);
            }
            let hash = own.iter().fold(0, |hash, &row| mixed(hash, hashes[row]));
            at.clear();
            at.extend(own.iter().map(|&row| seen[row]));
            means.clear();
            y.chunks_exact(n).for_each(|column| means.extend(own.iter().map(|&row| column[row])));
            let value = |visit: usize, column: usize| x[column * n + own[visit]];
            self.found.add((hash, &at, p), value, 1, &means);
        }
    }
}
