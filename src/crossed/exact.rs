//! tr(H `E_k` H `E_l`) for all pairs of entries, from the rows of H.
//!
//! For levels l, m let G[(a, c), (b, d)] = sum over their units u, v of `H_uv`[a, c] `H_uv`[b, d]; the traces
//! are sums of two of its entries. Rows of H are made some units at a time and never kept.

use rayon::prelude::*;

use super::evaluation::{Factorisation, unit_information};
use super::incidence::Incidence;
use super::root::{apply_transposed, congruence};
use super::tiled::Tiled;
use crate::dense::{axpy, vectorised};
use crate::elimination::Entry;
use crate::reduction::block;

/// Leading units whose rows of H are made at once.
const CHUNK_UNITS: usize = 32;

/// H and what multiplies B in its leading rows, all over the columns of `Z_2`, row-major.
struct RestPart {
    /// H of the rest.
    h: Vec<f64>,
    /// [V | I - V K]; empty where V is zero.
    right: Vec<f64>,
}

impl Factorisation<'_> {
    /// Lower triangle (k >= l) of tr(H `E_k` H `E_l`).
    pub(super) fn traces(&self, entries: &[Entry], inverse: Option<&Tiled>) -> Vec<f64> {
        let n_levels = self.reduction.n_levels();
        let grams = self.pair_grams(inverse);
        let n = entries.len();
        let mut out = vec![0.0; n * n];
        for (k, x) in entries.iter().enumerate() {
            for (l, y) in entries.iter().enumerate().take(k + 1) {
                let (first, second) = if x.level <= y.level { (x, y) } else { (y, x) };
                let gram = &grams[first.level * n_levels + second.level];
                let other = self.reduction.q(second.level);
                let size = self.reduction.q(first.level) * other;
                let at = |a: usize, c: usize, b: usize, d: usize| {
                    gram[(a * other + c) * size + b * other + d]
                };
                out[k * n + l] = 2.0
                    * first.weight()
                    * second.weight()
                    * (at(first.a, second.b, first.b, second.a)
                        + at(first.a, second.a, first.b, second.b));
            }
        }
        out
    }

    /// By pair of levels (l <= m), the matrix of sums of products over pairs of units.
    fn pair_grams(&self, inverse: Option<&Tiled>) -> Vec<Vec<f64>> {
        let reduction = self.reduction;
        let n_levels = reduction.n_levels();
        let rest = &reduction.rest;
        let part = self.rest_part(inverse);
        let mut out = vec![Vec::new(); n_levels * n_levels];
        let n = rest.order();
        for first in &rest.levels {
            for second in rest.levels.iter().filter(|l| l.level >= first.level) {
                let one = |unit: usize| -> Vec<f64> {
                    let row = first.first_column + unit * first.q;
                    let rows = &part.h[row * n..(row + first.q) * n];
                    pair_gram(rows, n, first.q, second.first_column, second.q, second.n_units)
                };
                out[first.level * n_levels + second.level] = add_up(first.n_units, &one);
            }
        }
        for (level, gram) in self.leading_grams(&part) {
            let (low, high) = (level.min(rest.leading), level.max(rest.leading));
            out[low * n_levels + high] = if level < rest.leading {
                swap_levels(&gram, rest.leading_q, reduction.q(level))
            } else {
                gram
            };
        }
        out
    }

    /// The sums with the leading factor as first level, for every level.
    fn leading_grams(&self, part: &RestPart) -> Vec<(usize, Vec<f64>)> {
        let reduction = self.reduction;
        let rest = &reduction.rest;
        let (q, n, m) = (rest.leading_q, rest.order(), rest.leading_units);
        let b = self.cross_information();
        let levels: Vec<usize> =
            rest.levels.iter().map(|l| l.level).chain([rest.leading]).collect();
        let chunk = |first: usize| -> Vec<Vec<f64>> {
            let mut sums: Vec<Vec<f64>> =
                levels.iter().map(|&l| vec![0.0; (q * reduction.q(l)).pow(2)]).collect();
            let mut wide = vec![0.0; q * 2 * n];
            let mut own = vec![0.0; q * m * q];
            for unit in first..(first + CHUNK_UNITS).min(m) {
                self.leading_rows(unit, &b, part, &mut wide, &mut own);
                let h = if part.right.is_empty() { &wide[..q * n] } else { &wide[..] };
                let (stride, skip) = if part.right.is_empty() { (n, 0) } else { (2 * n, n) };
                for (sum, level) in sums.iter_mut().zip(&rest.levels) {
                    let gram =
                        pair_gram(h, stride, q, skip + level.first_column, level.q, level.n_units);
                    axpy(1.0, &gram, sum);
                }
                let last = sums.len() - 1;
                if part.right.is_empty() {
                    let diagonal = pair_gram(&own, m * q, q, unit * q, q, 1);
                    axpy(1.0, &diagonal, &mut sums[last]);
                } else {
                    axpy(1.0, &pair_gram(&own, m * q, q, 0, q, m), &mut sums[last]);
                }
            }
            sums
        };
        let starts: Vec<usize> = (0..m).step_by(CHUNK_UNITS).collect();
        let parts: Vec<Vec<Vec<f64>>> = if starts.len() > 1 {
            starts.into_par_iter().with_max_len(1).map(chunk).collect()
        } else {
            starts.into_iter().map(chunk).collect()
        };
        let mut parts = parts.into_iter();
        let mut total = parts.next().unwrap_or_default();
        for part in parts {
            for (sum, own) in total.iter_mut().zip(part) {
                axpy(1.0, &own, sum);
            }
        }
        levels.into_iter().zip(total).collect()
    }

    /// Rows of H of one leading unit: `wide` = B [V | I - V K] (or B alone), `own` = P - B V B'.
    fn leading_rows(
        &self,
        unit: usize,
        b: &[f64],
        part: &RestPart,
        wide: &mut [f64],
        own: &mut [f64],
    ) {
        let reduction = self.reduction;
        let (q, n, m) =
            (reduction.rest.leading_q, reduction.rest.order(), reduction.rest.leading_units);
        let incidence = &reduction.incidence;
        wide.fill(0.0);
        let places = incidence.first[unit]..incidence.first[unit + 1];
        let (t, l) = (&reduction.t[block(unit, q * q)], &self.w[block(unit, q * q)]);
        let information = unit_information(t, l, q);
        if part.right.is_empty() {
            for place in places {
                let c = incidence.columns[place] as usize;
                (0..q).for_each(|a| wide[a * n + c] = b[place * q + a]);
            }
        } else {
            for place in places {
                let c = incidence.columns[place] as usize;
                for a in 0..q {
                    axpy(
                        b[place * q + a],
                        &part.right[block(c, 2 * n)],
                        &mut wide[block(a, 2 * n)],
                    );
                }
            }
            for a in 0..q {
                let row = &wide[a * 2 * n..a * 2 * n + n];
                let out = &mut own[block(a, m * q)];
                vectorised(|| subtract_products(incidence, b, q, row, out));
            }
        }
        for a in 0..q {
            let out = &mut own[a * m * q + unit * q..][..q];
            if part.right.is_empty() {
                out.fill(0.0);
            }
            axpy(1.0, &information[block(a, q)], out);
        }
    }

    /// H of the rest and the factors of the leading rows.
    fn rest_part(&self, inverse: Option<&Tiled>) -> RestPart {
        let rest = &self.reduction.rest;
        let n = rest.order();
        let Some(inverse) = inverse else {
            return RestPart { h: dense(&self.marginal_gram()), right: Vec::new() };
        };
        let scale = self.scales();
        let is_small: Vec<bool> = rest
            .levels
            .iter()
            .zip(&self.roots)
            .flat_map(|(l, r)| (0..l.q * l.n_units).map(move |c| r.is_small(c % l.q)))
            .collect();
        let v = dense(inverse);
        // In eigenvector coordinates; J = I - V K.
        let mut h = vec![0.0; n * n];
        let mut j = vec![0.0; n * n];
        for i in 0..n {
            for k in 0..n {
                if !is_small[k] {
                    let identity = f64::from(u8::from(i == k));
                    j[i * n + k] = scale[i] * v[i * n + k] / scale[k];
                    if !is_small[i] {
                        h[i * n + k] = (identity - v[i * n + k]) / (scale[i] * scale[k]);
                    }
                }
            }
        }
        let small: Vec<usize> = (0..n).filter(|&c| is_small[c]).collect();
        if !small.is_empty() {
            let mut k = self.marginal_gram();
            congruence(&mut k, rest, &self.vectors());
            let (scaled, solved) = self.small_rows(&k, Some(inverse), &small);
            let w = solved.unwrap_or_default();
            let m = small.len();
            // K_ss - K_s. diag(s) W, both over the small rows.
            let mut inner = vec![0.0; m * m];
            super::tiled::multiply_add(
                faer::MatMut::from_row_major_slice_mut(&mut inner, m, m),
                faer::MatRef::from_row_major_slice(&scaled, n, m).transpose(),
                faer::MatRef::from_row_major_slice(&w, n, m),
                1.0,
            );
            for (a, &row) in small.iter().enumerate() {
                for (b, &other) in small.iter().enumerate() {
                    h[row * n + other] = k.at(row, other) - inner[a * m + b];
                }
                for i in 0..n {
                    j[i * n + row] = f64::from(u8::from(i == row)) - scale[i] * w[i * m + a];
                    if !is_small[i] {
                        h[row * n + i] = w[i * m + a] / scale[i];
                        h[i * n + row] = h[row * n + i];
                    }
                }
            }
        }
        drop(v);
        // Without correlated effects the eigenvectors are the coordinates themselves.
        let is_turned = self.roots.iter().any(|r| r.vectors != super::root::identity(r.q));
        let back = self.vectors_transposed();
        let turn = |x: Vec<f64>| -> Vec<f64> {
            if !is_turned {
                return x;
            }
            let left = apply_transposed(rest, &back, &x, n);
            flip(&apply_transposed(rest, &back, &flip(&left, n), n), n)
        };
        let (h, j) = (turn(h), turn(j));
        let covariance = self.rest_covariance(Some(inverse)).map(|v| dense(&v)).unwrap_or_default();
        let mut right = Vec::with_capacity(2 * n * n);
        for i in 0..n {
            right.extend_from_slice(&covariance[block(i, n)]);
            right.extend_from_slice(&j[block(i, n)]);
        }
        RestPart { h, right }
    }
}

/// For every leading unit v its part -row `B_v`' of a row of H.
#[inline(always)]
fn subtract_products(incidence: &Incidence, b: &[f64], q: usize, row: &[f64], out: &mut [f64]) {
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

/// The symmetric matrix, row-major.
fn dense(a: &Tiled) -> Vec<f64> {
    let n = a.order();
    let mut out = vec![0.0; n * n];
    for (j, column) in a.columns.iter().enumerate() {
        for (at, tile) in column.iter().enumerate() {
            let i = j + at;
            let rows = a.rows(i);
            for (c, values) in tile.chunks_exact(rows.max(1)).enumerate() {
                let c = a.bounds[j] + c;
                for (r, value) in values.iter().enumerate() {
                    let r = a.bounds[i] + r;
                    out[c * n + r] = *value;
                    out[r * n + c] = *value;
                }
            }
        }
    }
    out
}

fn flip(x: &[f64], n: usize) -> Vec<f64> {
    super::root::transpose(x, n)
}

/// Sum over units v of vec(`H_uv`) vec(`H_uv`)' for the rows of one unit u.
fn pair_gram(
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
        return vec![crate::dense::dot(own, own)];
    }
    let mut blocks = vec![0.0; n_units * size];
    for (v, out) in blocks.chunks_exact_mut(size).enumerate() {
        for a in 0..q {
            let from = a * stride + first + v * other;
            out[block(a, other)].copy_from_slice(&rows[from..from + other]);
        }
    }
    let mut gram = vec![0.0; size * size];
    let matrix = faer::MatRef::from_row_major_slice(&blocks, n_units, size);
    super::tiled::multiply_add(
        faer::MatMut::from_row_major_slice_mut(&mut gram, size, size),
        matrix.transpose(),
        matrix,
        1.0,
    );
    gram
}

/// G[(a, c), (b, d)] with the roles of both levels exchanged.
fn swap_levels(gram: &[f64], q: usize, other: usize) -> Vec<f64> {
    let size = q * other;
    let mut out = vec![0.0; size * size];
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

fn add_up(n: usize, one: &(dyn Fn(usize) -> Vec<f64> + Sync)) -> Vec<f64> {
    let chunk = |first: usize| -> Vec<f64> {
        let mut sum = one(first);
        for unit in first + 1..(first + CHUNK_UNITS).min(n) {
            axpy(1.0, &one(unit), &mut sum);
        }
        sum
    };
    let starts: Vec<usize> = (0..n).step_by(CHUNK_UNITS).collect();
    let parts: Vec<Vec<f64>> = if starts.len() > 1 {
        starts.into_par_iter().with_max_len(1).map(chunk).collect()
    } else {
        starts.into_iter().map(chunk).collect()
    };
    let mut parts = parts.into_iter();
    let mut sum = parts.next().unwrap_or_default();
    parts.for_each(|part| axpy(1.0, &part, &mut sum));
    sum
}
