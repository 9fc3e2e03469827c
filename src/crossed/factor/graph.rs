//! Which units of the factors other than the leading one are met together: the graph of A.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::sparse::SymbolicSparseColMatRef;
use faer::sparse::linalg::amd;

use crate::crossed::rest::{Crossing, Rest, RestLevel};
use crate::rows::nesting::rows_by_unit;
use crate::rows::relationship::Relationship;
use crate::running::memory::{grow, require};
use crate::running::stop::check;

/// Part of all pairs above which nothing is gained by leaving out the others.
const FULL: f64 = 0.3;
/// Pairs above which neither the graph nor the factor would fit into memory.
const LARGEST: f64 = 6e7;
/// Pairs that the ordering can count: its working storage, 2.4 times as long, has 31-bit places.
const COUNTED: f64 = 8e8;

/// Units that share a leading unit.
pub struct Graph {
    /// Unit b has the neighbours `first[b]..first[b + 1]`.
    pub first: Vec<u32>,
    /// Both triangles, without the diagonal; ascending by unit.
    pub neighbours: Vec<u32>,
}

impl Graph {
    /// `None` where so many pairs are met that a dense matrix serves as well, unless `always`.
    pub fn new(crossing: &Crossing, rest: &Rest, always: bool) -> Option<Self> {
        let n = rest.n_blocks();
        let limit = if always { COUNTED } else { LARGEST.min(FULL * (n as f64).powi(2)) };
        let (first_cell, cells) = cells(crossing, rest);
        let (first_unit, units) = transpose(&first_cell, &cells, n);
        let mut mark = vec![u32::MAX; n];
        let (mut first, mut neighbours) = (vec![0], Vec::new());
        for b in 0..n {
            mark[b] = b as u32;
            let start = neighbours.len();
            for &u in &units[first_unit[b]..first_unit[b + 1]] {
                for &c in &cells[first_cell[u as usize]..first_cell[u as usize + 1]] {
                    if mark[c as usize] != b as u32 {
                        mark[c as usize] = b as u32;
                        grow(&mut neighbours, 1);
                        neighbours.push(c);
                    }
                }
            }
            if neighbours.len() as f64 > limit {
                return None;
            }
            if let Some((level, precision)) = precision_of(crossing, rest, b) {
                for (other, _) in precision.row(b - level.first_block) {
                    let c = level.first_block + other;
                    if mark[c] != b as u32 {
                        mark[c] = b as u32;
                        neighbours.push(c as u32);
                    }
                }
            }
            check();
            neighbours[start..].sort_unstable();
            first.push(neighbours.len() as u32);
        }
        Some(Self { first, neighbours })
    }

    /// Neighbours of a unit.
    pub fn of(&self, unit: usize) -> &[u32] {
        &self.neighbours[self.first[unit] as usize..self.first[unit + 1] as usize]
    }

    /// Units in an order of approximately least fill (Amestoy, Davis and Duff 1996, SIAM J. Matrix
    /// Anal. Appl. 17, 886); `None` where the ordering fails for want of memory.
    pub fn order(&self) -> Option<Vec<u32>> {
        let n = self.first.len() - 1;
        let pattern =
            SymbolicSparseColMatRef::new_checked(n, n, &self.first, None, &self.neighbours);
        let (mut order, mut inverse) = (vec![0_u32; n], vec![0_u32; n]);
        let scratch = amd::order_scratch::<u32>(n, self.neighbours.len());
        require::<u8>(scratch.unaligned_bytes_required());
        let mut memory = MemBuffer::new(scratch);
        amd::order(
            &mut order,
            &mut inverse,
            pattern,
            amd::Control::default(),
            MemStack::new(&mut memory),
        )
        .ok()?;
        Some(order)
    }
}

/// By leading unit the other units it is met with, by row where none leads.
fn cells(crossing: &Crossing, rest: &Rest) -> (Vec<usize>, Vec<u32>) {
    let (first_row, order) = if rest.has_leading() {
        rows_by_unit(crossing.codes[rest.leading], rest.leading_units, None)
    } else {
        ((0..=crossing.n_rows).collect(), (0..crossing.n_rows as u32).collect())
    };
    let mut mark = vec![u32::MAX; rest.n_blocks()];
    let (mut first, mut cells) = (vec![0], Vec::new());
    for u in 0..first_row.len() - 1 {
        for &row in &order[first_row[u]..first_row[u + 1]] {
            for level in &rest.levels {
                let b = level.first_block + crossing.codes[level.level][row as usize] as usize;
                if mark[b] != u as u32 {
                    mark[b] = u as u32;
                    cells.push(b as u32);
                }
            }
        }
        first.push(cells.len());
    }
    (first, cells)
}

/// The precision of a unit's level.
fn precision_of<'a>(
    crossing: &Crossing<'a>,
    rest: &'a Rest,
    unit: usize,
) -> Option<(&'a RestLevel, &'a Relationship)> {
    let level = &rest.levels[rest.level_of(unit)];
    Some((level, crossing.precisions.get(level.level)?.as_ref()?))
}

/// By column of a sparse pattern its rows.
fn transpose(first: &[usize], columns: &[u32], n_columns: usize) -> (Vec<usize>, Vec<u32>) {
    let mut start = vec![0_usize; n_columns + 1];
    columns.iter().for_each(|c| start[*c as usize + 1] += 1);
    for c in 0..n_columns {
        start[c + 1] += start[c];
    }
    let mut next = start.clone();
    let mut rows = vec![0; columns.len()];
    for row in 0..first.len() - 1 {
        for c in &columns[first[row]..first[row + 1]] {
            let slot = &mut next[*c as usize];
            rows[*slot] = row as u32;
            *slot += 1;
        }
    }
    (start, rows)
}
