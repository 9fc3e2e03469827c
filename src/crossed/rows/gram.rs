//! `Z_2`'`Z_2`.

use super::reader::Reader;
use crate::crossed::rest::Rest;
use crate::linalg::dense::{axpy, block};
use crate::linalg::many::fill;
use crate::rows::nesting::rows_by_unit;
use crate::running::memory::grow;
use crate::running::threads;

/// Tasks that a pass over all columns is cut into.
const TASKS: usize = 64;

/// `Z_2`'`Z_2` by pairs of units that share a row, both triangles.
#[derive(Clone, Debug, Default)]
pub struct RestGram {
    /// Unit b shares rows with `others[first[b]..first[b + 1]]`, itself among them.
    first: Vec<usize>,
    others: Vec<u32>,
    /// First value of each pair, row-major.
    offset: Vec<usize>,
    values: Vec<f64>,
}

impl RestGram {
    pub(crate) fn new(reader: &Reader, rest: &Rest) -> Self {
        let mut out = Self { first: vec![0], offset: vec![0], ..Self::default() };
        for (k, level) in rest.levels.iter().enumerate() {
            let (first_row, order) =
                rows_by_unit(reader.crossing.codes[level.level], level.n_units, None);
            let step = level.n_units.div_ceil(TASKS).max(1);
            let chunk = |first: usize| {
                let units = first..(first + step).min(level.n_units);
                read_pairs(reader, rest, k, units, (&first_row, &order))
            };
            let starts: Vec<usize> = (0..level.n_units).step_by(step).collect();
            let parts = threads::map(starts, chunk);
            for part in parts {
                let (at, value) = (out.others.len(), out.values.len());
                grow(&mut out.others, part.others.len());
                grow(&mut out.values, part.values.len());
                out.first.extend(part.first[1..].iter().map(|f| at + f));
                out.others.extend(part.others);
                out.offset.extend(part.offset[1..].iter().map(|o| value + o));
                out.values.extend(part.values);
            }
        }
        out
    }

    /// (other unit, values) of each unit that shares a row with a unit.
    pub fn of(&self, unit: usize) -> impl Iterator<Item = (usize, &[f64])> + '_ {
        (self.first[unit]..self.first[unit + 1]).map(|at| {
            (self.others[at] as usize, &self.values[self.offset[at]..self.offset[at + 1]])
        })
    }

    /// `Z_2`'`Z_2` x for the row-major x of `width` columns.
    #[must_use]
    pub fn multiply(&self, rest: &Rest, x: &[f64], width: usize) -> Vec<f64> {
        let mut out = Vec::with_capacity(x.len());
        for level in &rest.levels {
            let one = |unit: usize, rows: &mut [f64]| {
                for (other, values) in self.of(level.first_block + unit) {
                    let columns = rest.columns_of(other);
                    let pairs = values.chunks_exact(columns.len());
                    for (values, row) in pairs.zip(rows.chunks_exact_mut(width)) {
                        for (value, c) in values.iter().zip(columns.clone()) {
                            axpy(*value, &x[block(c, width)], row);
                        }
                    }
                }
            };
            let work = self.values.len() * width;
            out.extend(fill(level.n_units, level.q * width, work, one));
        }
        out
    }
}

/// The pairs of some units of a level.
fn read_pairs(
    reader: &Reader,
    rest: &Rest,
    k: usize,
    units: std::ops::Range<usize>,
    (first_row, order): (&[usize], &[u32]),
) -> RestGram {
    let own = &rest.levels[k];
    let mut out = RestGram { first: vec![0], offset: vec![0], ..RestGram::default() };
    let mut slots = vec![u32::MAX; rest.n_blocks()];
    let mut z: Vec<Vec<f64>> = rest.levels.iter().map(|l| vec![0.0; l.q]).collect();
    for unit in units {
        let start = out.others.len();
        for &row in &order[first_row[unit]..first_row[unit + 1]] {
            for (level, z) in rest.levels.iter().zip(&mut z) {
                reader.z(level.level, row as usize, z);
            }
            for (level, other) in rest.levels.iter().zip(&z) {
                let b =
                    level.first_block + reader.crossing.codes[level.level][row as usize] as usize;
                if slots[b] == u32::MAX {
                    slots[b] = out.others.len() as u32;
                    out.others.push(b as u32);
                    out.values.resize(out.values.len() + own.q * level.q, 0.0);
                    out.offset.push(out.values.len());
                }
                let values = &mut out.values[out.offset[slots[b] as usize]..];
                for (i, a) in z[k].iter().enumerate() {
                    axpy(*a, other, &mut values[i * level.q..(i + 1) * level.q]);
                }
            }
        }
        out.first.push(out.others.len());
        for b in &out.others[start..] {
            slots[*b as usize] = u32::MAX;
        }
    }
    out
}
