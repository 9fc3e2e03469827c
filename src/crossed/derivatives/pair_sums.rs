//! Sums over pairs of units of vec(`H_uv`) vec(`H_uv`)'.

use crate::crossed::factor::tiles::multiply_add;
use crate::crossed::incidence::Incidence;
use crate::linalg::dense::{axpy, block, dot};
use crate::running::memory::zeros;
use crate::running::threads;

/// Leading units whose rows of H are made at once.
pub(crate) const CHUNK_UNITS: usize = 32;

/// For every leading unit v its part -row `B_v`' of a row of H.
#[inline(always)]
pub(crate) fn subtract_products(
    incidence: &Incidence,
    b: &[f64],
    q: usize,
    row: &[f64],
    out: &mut [f64],
) {
    for (v, out) in out.chunks_exact_mut(q).enumerate() {
        let places = incidence.first[v]..incidence.first[v + 1];
        let columns = &incidence.columns[places.clone()];
        let values = &b[places.start * q..places.end * q];
        if q == 1 {
            let mut sum = 0.0;
            for (c, value) in columns.iter().zip(values) {
                sum += row[*c as usize] * value;
            }
            out[0] = -sum;
        } else {
            out.fill(0.0);
            for (c, values) in columns.iter().zip(values.chunks_exact(q)) {
                let weight = row[*c as usize];
                for (o, value) in out.iter_mut().zip(values) {
                    *o -= weight * value;
                }
            }
        }
    }
}

/// Adds vec(H) vec(H)'.
pub(crate) fn add_square(values: &[f64], out: &mut [f64]) {
    for (row, value) in out.chunks_exact_mut(values.len()).zip(values) {
        axpy(*value, values, row);
    }
}

/// Sum over units v of vec(`H_uv`) vec(`H_uv`)' for the rows of one unit u.
pub(crate) fn pair_gram(
    rows: &[f64],
    stride: usize,
    q: usize,
    first: usize,
    other: usize,
    n_units: usize,
) -> Vec<f64> {
    let size = q * other;
    if size == 1 {
        let own = &rows[first..first + n_units];
        return vec![dot(own, own)];
    }
    let mut blocks = zeros(n_units * size);
    for (v, out) in blocks.chunks_exact_mut(size).enumerate() {
        for a in 0..q {
            let from = a * stride + first + v * other;
            out[block(a, other)].copy_from_slice(&rows[from..from + other]);
        }
    }
    let mut gram = zeros(size * size);
    let matrix = faer::MatRef::from_row_major_slice(&blocks, n_units, size);
    multiply_add(
        faer::MatMut::from_row_major_slice_mut(&mut gram, size, size),
        matrix.transpose(),
        matrix,
        1.0,
    );
    gram
}

/// G[(a, c), (b, d)] with the roles of both levels exchanged.
pub(crate) fn swap_levels(gram: &[f64], q: usize, other: usize) -> Vec<f64> {
    let size = q * other;
    let mut out = zeros(size * size);
    for a in 0..q {
        for c in 0..other {
            for b in 0..q {
                for d in 0..other {
                    out[(c * q + a) * size + d * q + b] =
                        gram[(a * other + c) * size + b * other + d];
                }
            }
        }
    }
    out
}

pub(crate) fn add_up(n: usize, one: &(dyn Fn(usize) -> Vec<f64> + Sync)) -> Vec<f64> {
    let chunk = |first: usize| -> Vec<f64> {
        let mut sum = one(first);
        for unit in first + 1..(first + CHUNK_UNITS).min(n) {
            axpy(1.0, &one(unit), &mut sum);
        }
        sum
    };
    let starts: Vec<usize> = (0..n).step_by(CHUNK_UNITS).collect();
    let mut parts = threads::map(starts, chunk).into_iter();
    let mut sum = parts.next().unwrap_or_default();
    parts.for_each(|part| axpy(1.0, &part, &mut sum));
    sum
}
