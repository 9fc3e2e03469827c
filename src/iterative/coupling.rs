//! Products with Z of one factor and Z' of another, K columns at a time: the passes over the rows.

use super::data::{Columns, Data};
use crate::linalg::dense::vectorised;
use crate::linalg::small::add;
use crate::running::threads;

/// Splits `values` into consecutive pieces of the given sizes.
pub fn pieces(mut values: &mut [f64], sizes: impl Iterator<Item = usize>) -> Vec<&mut [f64]> {
    let mut out = Vec::new();
    for size in sizes {
        let (piece, rest) = values.split_at_mut(size);
        out.push(piece);
        values = rest;
    }
    out
}

/// out += `Z_to`' sum of `Z_l` `v_l` over the factors l with a vector, for K columns.
///
/// `v[l]` holds for each level of factor l and each of its random effects K numbers; one for `to`
/// itself is not read. Every level is summed by one task in the order of its rows, so the bits do
/// not depend on the number of threads.
pub fn couple<const K: usize>(data: &Data, to: usize, v: &[Option<&[f64]>], out: &mut [f64]) {
    let factor = &data.factors[to];
    let (order, q) = (&factor.order, factor.q);
    let sources: Vec<(&[u32], &Columns, usize, &[f64])> = (0..data.factors.len())
        .filter(|&l| l != to)
        .filter_map(|l| v[l].map(|v| (&order.codes[l][..], &order.z[l], data.factors[l].q, v)))
        .collect();
    let plain = matches!(order.z[to], Columns::One)
        && sources.len() == 1
        && matches!(sources[0].1, Columns::One);
    let sizes = order.chunks.iter().map(|levels| levels.len() * q * K);
    let tasks = pieces(out, sizes);
    threads::each(tasks.into_iter().zip(&order.chunks), |(out, levels)| {
        vectorised(|| {
            for (out, level) in out.chunks_exact_mut(q * K).zip(levels.clone()) {
                let rows = order.first[level]..order.first[level + 1];
                if plain {
                    let (codes, _, _, v) = sources[0];
                    gather::<K>(&codes[rows], v, out);
                } else {
                    gather_columns::<K>(&sources, &order.z[to], q, rows, out);
                }
            }
        });
    });
}

/// The case that large data are made of: intercepts on two factors.
#[inline(always)]
fn gather<const K: usize>(codes: &[u32], v: &[f64], out: &mut [f64]) {
    let mut sum = [0.0; K];
    for &code in codes {
        let at = code as usize * K;
        let v = &v[at..at + K];
        for c in 0..K {
            sum[c] += v[c];
        }
    }
    add::<K>(1.0, &sum, out);
}

#[inline(always)]
fn gather_columns<const K: usize>(
    sources: &[(&[u32], &Columns, usize, &[f64])],
    z: &Columns,
    q: usize,
    rows: std::ops::Range<usize>,
    out: &mut [f64],
) {
    for row in rows {
        let mut sum = [0.0; K];
        for &(codes, columns, size, v) in sources {
            let at = codes[row] as usize * size * K;
            for (a, z) in columns.row(row, size).iter().enumerate() {
                add::<K>(*z, &v[at + a * K..at + (a + 1) * K], &mut sum);
            }
        }
        for (a, z) in z.row(row, q).iter().enumerate() {
            add::<K>(*z, &sum, &mut out[a * K..(a + 1) * K]);
        }
    }
}

/// out = B v for the `rows` x `columns` matrix B and K columns.
#[inline(always)]
pub fn small_product<const K: usize>(
    b: &[f64],
    rows: usize,
    columns: usize,
    v: &[f64],
    out: &mut [f64],
) {
    for i in 0..rows {
        let out = &mut out[i * K..(i + 1) * K];
        out.fill(0.0);
        for j in 0..columns {
            add::<K>(b[i * columns + j], &v[j * K..(j + 1) * K], out);
        }
    }
}
