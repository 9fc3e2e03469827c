//! The leading factor's units, one after the other: `Z_u` = `Q_u` `T_u`.

use std::ops::Range;

use super::reader::{CHUNK_ROWS, Reader};
use crate::crossed::factor::structure::Structure;
use crate::crossed::rest::Rest;
use crate::linalg::dense::{axpy, block, dot};
use crate::linalg::triangle::Triangle;
use crate::rows::nesting::chunks;
use crate::running::memory::{append, lengthen};
use crate::running::threads;

/// Part of a column outside the columns before it, within one unit, that counts as nothing.
const DEPENDENT: f64 = 1e-10;

/// What one chunk of units gives.
pub(crate) struct Part {
    pub t: Vec<f64>,
    /// Per unit, `q` rows of [X y].
    pub d: Vec<f64>,
    pub first: Vec<usize>,
    pub columns: Vec<u32>,
    pub values: Vec<f64>,
    pub remainder: Triangle,
    /// Per row, what Q does not span of [X y].
    pub outside: Vec<f64>,
}

/// `T_u`, `N_u` and `D_u` of all leading units, chunk by chunk.
pub(crate) fn read_units(
    reader: &Reader,
    rest: &Rest,
    structure: &Structure,
    (first_row, order): (&[usize], &[u32]),
) -> Vec<Part> {
    let chunks = chunks(first_row.len() - 1, CHUNK_ROWS, |units| {
        first_row[units.end] - first_row[units.start]
    });
    threads::map(chunks, |units| read_chunk(reader, rest, structure, (first_row, order), units))
}

fn read_chunk(
    reader: &Reader,
    rest: &Rest,
    structure: &Structure,
    (first_row, order): (&[usize], &[u32]),
    units: Range<usize>,
) -> Part {
    let q = rest.leading_q;
    let (rank, n_fits) = (reader.fixed.kept.len(), reader.columns.y.len());
    let width = rank + n_fits;
    let mut part = Part {
        t: Vec::new(),
        d: Vec::new(),
        first: vec![0],
        columns: Vec::new(),
        values: Vec::new(),
        remainder: Triangle::new(rank, n_fits),
        outside: Vec::new(),
    };
    let mut slots = vec![u32::MAX; rest.n_blocks()];
    let mut x = vec![0.0; reader.columns.x.len()];
    let (mut basis, mut t) = (Vec::new(), vec![0.0; q * q]);
    let mut z_rest = vec![0.0; rest.largest_q()];
    for unit in units {
        let rows = &order[first_row[unit]..first_row[unit + 1]];
        let n = rows.len();
        // One column after the other, so that Gram-Schmidt reads them in order.
        lengthen(&mut basis, n * q);
        let mut z = vec![0.0; q];
        for (i, &row) in rows.iter().enumerate() {
            if rest.has_leading() {
                reader.z(rest.leading, row as usize, &mut z);
            }
            (0..q).for_each(|a| basis[a * n + i] = z[a]);
        }
        orthonormalise(&mut basis, n, q, &mut t);
        append(&mut part.t, &t);
        let at = part.outside.len();
        lengthen(&mut part.outside, at + n * width);
        let own = &mut part.outside[at..];
        for (row, out) in rows.iter().zip(own.chunks_exact_mut(width.max(1))) {
            reader.fixed.read(reader.columns, *row as usize, &mut x, out);
        }
        for a in 0..q {
            let direction = &basis[block(a, n)];
            let mut along = vec![0.0; width];
            for (c, row) in direction.iter().zip(own.chunks_exact(width.max(1))) {
                axpy(*c, row, &mut along);
            }
            for (c, row) in direction.iter().zip(own.chunks_exact_mut(width.max(1))) {
                axpy(-c, &along, row);
            }
            append(&mut part.d, &along);
        }
        own.chunks_exact(width.max(1)).for_each(|row| part.remainder.push_row(row));
        read_incidence(
            reader,
            (rest, structure),
            (rows, &basis),
            &mut slots,
            &mut z_rest,
            &mut part,
        );
    }
    part.remainder.factor();
    part
}

/// Appends `N_u` of one unit: its columns in the order of elimination, `q` values a column.
fn read_incidence(
    reader: &Reader,
    (rest, structure): (&Rest, &Structure),
    (rows, basis): (&[u32], &[f64]),
    slots: &mut [u32],
    z: &mut [f64],
    part: &mut Part,
) {
    if !rest.has_leading() {
        part.first.push(part.columns.len());
        return;
    }
    let (q, n) = (rest.leading_q, rows.len());
    let mut met: Vec<u32> = Vec::new();
    for level in &rest.levels {
        for &row in rows {
            let b = level.first_block + reader.crossing.codes[level.level][row as usize] as usize;
            if slots[b] == u32::MAX {
                slots[b] = 0;
                met.push(b as u32);
            }
        }
    }
    met.sort_unstable_by_key(|b| structure.block_of[*b as usize]);
    let start = part.columns.len();
    for &b in &met {
        slots[b as usize] = (part.columns.len() - start) as u32;
        part.columns.extend(rest.columns_of(b as usize).map(|c| c as u32));
    }
    lengthen(&mut part.values, part.columns.len() * q);
    part.first.push(part.columns.len());
    let own = &mut part.values[start * q..];
    for level in &rest.levels {
        for (i, &row) in rows.iter().enumerate() {
            let b = level.first_block + reader.crossing.codes[level.level][row as usize] as usize;
            reader.z(level.level, row as usize, &mut z[..level.q]);
            let at = slots[b] as usize * q;
            for (j, value) in z[..level.q].iter().enumerate() {
                for a in 0..q {
                    own[at + j * q + a] += basis[a * n + i] * value;
                }
            }
        }
    }
    met.iter().for_each(|&b| slots[b as usize] = u32::MAX);
}

/// Z <- Q with Z = Q T by Gram-Schmidt, twice; a dependent column gives a zero column and row.
fn orthonormalise(z: &mut [f64], n: usize, q: usize, t: &mut [f64]) {
    t.fill(0.0);
    for j in 0..q {
        let (done, rest) = z.split_at_mut(j * n);
        let column = &mut rest[..n];
        let size = dot(column, column).sqrt();
        for _ in 0..2 {
            for (i, other) in done.chunks_exact(n.max(1)).enumerate() {
                let s = dot(other, column);
                t[i * q + j] += s;
                axpy(-s, other, column);
            }
        }
        let outside = dot(column, column).sqrt();
        if outside > DEPENDENT * size {
            t[j * q + j] = outside;
            column.iter_mut().for_each(|v| *v /= outside);
        } else {
            column.fill(0.0);
        }
    }
}
