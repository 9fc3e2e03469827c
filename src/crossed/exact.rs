//! tr(H `E_k` H `E_l`) for all pairs of entries, from the rows of H.
//!
//! For levels l, m let G[(a, c), (b, d)] = sum over their units u, v of `H_uv`[a, c] `H_uv`[b, d]; the traces
//! are sums of two of its entries. Rows of H are made some units at a time and never kept. Of related
//! units, `K_0` = L L', H stands for L^-1 H L'^-1 throughout, which is of the same form with
//! L^-1 K L'^-1 for K and L'A^-1 L for A^-1.

use super::evaluation::{Factorisation, unit_information};
use super::factor::incidence::Incidence;
use super::factor::panels::Panels;
use super::root::{apply_transposed, identity};
use crate::criterion::sums::Entry;
use crate::linalg::dense::{axpy, block, vectorised};
use crate::running::memory::{copied, zeros};
use crate::running::threads;

/// Leading units whose rows of H are made at once.
const CHUNK_UNITS: usize = 32;

/// Rows of the rest with a small root of G, in eigenvector coordinates.
struct SmallRows {
    /// Their columns of `Z_2`.
    rows: Vec<usize>,
    /// A^-1 diag(s) K over them, row-major.
    solved: Vec<f64>,
    /// H over them.
    h: Vec<f64>,
}

impl Factorisation<'_> {
    /// Lower triangle (k >= l) of tr(H `E_k` H `E_l`).
    ///
    /// `inverse` is all of A^-1 over the columns of `Z_2`; `None` where A is the identity.
    pub(super) fn traces(&self, entries: &[Entry], inverse: Option<&[f64]>) -> Vec<f64> {
        let n_levels = self.reduction.n_levels();
        let is_zero = !self.reduction.has_prior() && self.g.iter().flatten().all(|g| *g == 0.0);
        let grams = if is_zero { self.grams_at_zero() } else { self.pair_grams(inverse) };
        let n = entries.len();
        let mut out = zeros(n * n);
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

    /// All of A^-1 of a sparse factor, column by column.
    pub(super) fn whole_inverse(&self) -> Option<Vec<f64>> {
        let factor = self.factor.as_ref().filter(|f| !f.structure.is_dense)?;
        let n = self.reduction.rest.order();
        Some(factor.solve(&identity(n), n))
    }

    /// By pair of levels (l <= m), the matrix of sums of products over pairs of units.
    fn pair_grams(&self, inverse: Option<&[f64]>) -> Vec<Vec<f64>> {
        let reduction = self.reduction;
        let n_levels = reduction.n_levels();
        let rest = &reduction.rest;
        let mut out = vec![Vec::new(); n_levels * n_levels];
        let n = rest.order();
        let root = self.prior_factor();
        // K_0 A^-1 K_0 between L^-1 and L'^-1.
        let turned = root.as_ref().zip(inverse).map(|(root, v)| {
            let prior = |x: &[f64]| self.prior_times(x, n);
            half_solved(root, flip(&prior(&flip(&prior(v), n)), n), n)
        });
        let own = turned.as_deref().or(inverse);
        let small = own.and_then(|v| self.small_rows(v, root.as_ref()));
        let h = self.rest_information(own, small.as_ref());
        for first in &rest.levels {
            for second in rest.levels.iter().filter(|l| l.level >= first.level) {
                let one = |unit: usize| -> Vec<f64> {
                    let row = first.first_column + unit * first.q;
                    let rows = &h[row * n..(row + first.q) * n];
                    pair_gram(rows, n, first.q, second.first_column, second.q, second.n_units)
                };
                out[first.level * n_levels + second.level] = add_up(first.n_units, &one);
            }
        }
        drop(h);
        if !rest.has_leading() || rest.leads_fixed() {
            return out;
        }
        let right = inverse
            .zip(own)
            .map(|(v, own)| self.right_factor(v, own, small.as_ref(), root.as_ref()))
            .unwrap_or_default();
        drop(turned);
        for (level, gram) in self.leading_grams(&right) {
            let (low, high) = (level.min(rest.leading), level.max(rest.leading));
            out[low * n_levels + high] = if level < rest.leading {
                swap_levels(&gram, rest.leading_q, reduction.q(level))
            } else {
                gram
            };
        }
        out
    }

    /// The same at G = 0, where H = Z'Z has the pattern of the design.
    fn grams_at_zero(&self) -> Vec<Vec<f64>> {
        let reduction = self.reduction;
        let (rest, n_levels) = (&reduction.rest, reduction.n_levels());
        let mut out = vec![Vec::new(); n_levels * n_levels];
        for first in 0..n_levels {
            for second in first..n_levels {
                let size = reduction.q(first) * reduction.q(second);
                out[first * n_levels + second] = zeros(size * size);
            }
        }
        for first in &rest.levels {
            for unit in first.first_block..first.first_block + first.n_units {
                for (other, values) in reduction.gram.of(unit) {
                    let second = &rest.levels[rest.level_of(other)];
                    if second.level >= first.level {
                        add_square(values, &mut out[first.level * n_levels + second.level]);
                    }
                }
            }
        }
        let (q, incidence) = (rest.leading_q, &reduction.incidence);
        for u in 0..rest.leading_units {
            let t = &reduction.t[block(u, q * q)];
            let t_t = super::root::transpose(t, q);
            let own = crate::linalg::dense::multiply(&t_t, t, q);
            add_square(&own, &mut out[rest.leading * n_levels + rest.leading]);
            let mut place = incidence.first[u];
            while place < incidence.first[u + 1] {
                let column = incidence.columns[place] as usize;
                let level = &rest.levels[rest.level_of(rest.unit_of(column))];
                let is_first = rest.leading < level.level;
                let mut values = vec![0.0; q * level.q];
                for c in 0..level.q {
                    let n = &incidence.values[block(place + c, q)];
                    for a in 0..q {
                        let value = crate::linalg::dense::dot(&t_t[block(a, q)], n);
                        let at = if is_first { a * level.q + c } else { c * q + a };
                        values[at] = value;
                    }
                }
                let (low, high) = (rest.leading.min(level.level), rest.leading.max(level.level));
                add_square(&values, &mut out[low * n_levels + high]);
                place += level.q;
            }
        }
        out
    }

    /// The sums with the leading factor as first level, for every level.
    fn leading_grams(&self, right: &[f64]) -> Vec<(usize, Vec<f64>)> {
        let reduction = self.reduction;
        let rest = &reduction.rest;
        let (q, n, m) = (rest.leading_q, rest.order(), rest.leading_units);
        let b = self.cross_information();
        let levels: Vec<usize> =
            rest.levels.iter().map(|l| l.level).chain([rest.leading]).collect();
        let chunk = |first: usize| -> Vec<Vec<f64>> {
            let mut sums: Vec<Vec<f64>> =
                levels.iter().map(|&l| vec![0.0; (q * reduction.q(l)).pow(2)]).collect();
            let mut wide = zeros(q * 2 * n);
            let mut own = zeros(q * m * q);
            for unit in first..(first + CHUNK_UNITS).min(m) {
                self.leading_rows(unit, &b, right, &mut wide, &mut own);
                let h = if right.is_empty() { &wide[..q * n] } else { &wide[..] };
                let (stride, skip) = if right.is_empty() { (n, 0) } else { (2 * n, n) };
                for (sum, level) in sums.iter_mut().zip(&rest.levels) {
                    let gram =
                        pair_gram(h, stride, q, skip + level.first_column, level.q, level.n_units);
                    axpy(1.0, &gram, sum);
                }
                let last = sums.len() - 1;
                if right.is_empty() {
                    let diagonal = pair_gram(&own, m * q, q, unit * q, q, 1);
                    axpy(1.0, &diagonal, &mut sums[last]);
                } else {
                    axpy(1.0, &pair_gram(&own, m * q, q, 0, q, m), &mut sums[last]);
                }
            }
            sums
        };
        let starts: Vec<usize> = (0..m).step_by(CHUNK_UNITS).collect();
        let mut parts = threads::map(starts, chunk).into_iter();
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
        right: &[f64],
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
        if right.is_empty() {
            for place in places {
                let c = incidence.columns[place] as usize;
                (0..q).for_each(|a| wide[a * n + c] = b[place * q + a]);
            }
        } else {
            for place in places {
                let c = incidence.columns[place] as usize;
                for a in 0..q {
                    axpy(b[place * q + a], &right[block(c, 2 * n)], &mut wide[block(a, 2 * n)]);
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
            if right.is_empty() {
                out.fill(0.0);
            }
            axpy(1.0, &information[block(a, q)], out);
        }
    }

    /// Root of the eigenvalue that each column of `Z_2` has in eigenvector coordinates, and whether
    /// it is small.
    fn scales(&self) -> Vec<(f64, bool)> {
        let levels = self.reduction.rest.levels.iter().zip(&self.roots);
        levels
            .flat_map(|(l, r)| (0..l.q * l.n_units).map(|c| (r.s[c % l.q], r.is_small(c % l.q))))
            .collect()
    }

    fn small_rows(&self, inverse: &[f64], prior: Option<&Panels>) -> Option<SmallRows> {
        let scale = self.scales();
        let n = scale.len();
        let rows: Vec<usize> = (0..n).filter(|&c| scale[c].1).collect();
        if rows.is_empty() {
            return None;
        }
        let k = self.marginal().panels(&self.vectors(), 0.0).to_dense();
        let k = match prior {
            Some(root) => half_solved(root, k, n),
            None => k,
        };
        let m = rows.len();
        let mut scaled = zeros(n * m);
        for (c, (s, _)) in scale.iter().enumerate() {
            for (a, &row) in rows.iter().enumerate() {
                scaled[c * m + a] = s * k[row * n + c];
            }
        }
        let mut h = zeros(m * m);
        for (a, &row) in rows.iter().enumerate() {
            for (b, &other) in rows.iter().enumerate() {
                h[a * m + b] = k[row * n + other];
            }
        }
        drop(k);
        let mut solved = zeros(n * m);
        let matrix = faer::MatRef::from_row_major_slice(&scaled, n, m);
        super::factor::panels::multiply(
            faer::MatMut::from_row_major_slice_mut(&mut solved, n, m),
            faer::MatRef::from_row_major_slice(inverse, n, n),
            matrix,
        );
        // K_ss - K_s. diag(s) A^-1 diag(s) K_.s.
        super::factor::panels::multiply_add(
            faer::MatMut::from_row_major_slice_mut(&mut h, m, m),
            matrix.transpose(),
            faer::MatRef::from_row_major_slice(&solved, n, m),
            -1.0,
        );
        Some(SmallRows { rows, solved, h })
    }

    /// H of the rest, row-major over the columns of `Z_2`.
    fn rest_information(&self, inverse: Option<&[f64]>, small: Option<&SmallRows>) -> Vec<f64> {
        let Some(v) = inverse else {
            let one = self.roots.iter().map(|r| identity(r.q)).collect::<Vec<_>>();
            return self.marginal().panels(&one, 0.0).to_dense();
        };
        let scale = self.scales();
        let n = scale.len();
        let mut h = zeros(n * n);
        for (i, (s_i, _)) in scale.iter().enumerate().filter(|(_, s)| !s.1) {
            for (k, (s_k, _)) in scale.iter().enumerate().filter(|(_, s)| !s.1) {
                let identity = f64::from(u8::from(i == k));
                h[i * n + k] = (identity - v[i * n + k]) / (s_i * s_k);
            }
        }
        if let Some(small) = small {
            let m = small.rows.len();
            for (a, &row) in small.rows.iter().enumerate() {
                for (b, &other) in small.rows.iter().enumerate() {
                    h[row * n + other] = small.h[a * m + b];
                }
                for (i, (s, _)) in scale.iter().enumerate().filter(|(_, s)| !s.1) {
                    h[row * n + i] = small.solved[i * m + a] / s;
                    h[i * n + row] = h[row * n + i];
                }
            }
        }
        self.turn_back(h)
    }

    /// [V | I - V K], which multiplies B in the leading rows of H, V = Lambda A^-1 Lambda'.
    ///
    /// `own` is A^-1 in the coordinates of H, v in those of the effects.
    fn right_factor(
        &self,
        v: &[f64],
        own: &[f64],
        small: Option<&SmallRows>,
        prior: Option<&Panels>,
    ) -> Vec<f64> {
        let scale = self.scales();
        let n = scale.len();
        let mut j = zeros(n * n);
        for (i, (s_i, _)) in scale.iter().enumerate() {
            for (k, (s_k, _)) in scale.iter().enumerate().filter(|(_, s)| !s.1) {
                j[i * n + k] = s_i * own[i * n + k] / s_k;
            }
        }
        if let Some(small) = small {
            let m = small.rows.len();
            for (a, &row) in small.rows.iter().enumerate() {
                for (i, (s, _)) in scale.iter().enumerate() {
                    let identity = f64::from(u8::from(i == row));
                    j[i * n + row] = identity - s * small.solved[i * m + a];
                }
            }
        }
        let mut j = self.turn_back(j);
        if let Some(root) = prior {
            j = root.solve_with(&j, n, Panels::solve_upper);
        }
        let mut right = zeros(2 * n * n);
        for (row, j) in right.chunks_exact_mut(2 * n).zip(j.chunks_exact(n)) {
            row[n..].copy_from_slice(j);
        }
        drop(j);
        let mut covariance = copied(v);
        for (row, (s, _)) in covariance.chunks_exact_mut(n).zip(&scale) {
            row.iter_mut().zip(&scale).for_each(|(v, (s_k, _))| *v *= s * s_k);
        }
        let covariance = self.turn_back(covariance);
        for (row, v) in right.chunks_exact_mut(2 * n).zip(covariance.chunks_exact(n)) {
            row[..n].copy_from_slice(v);
        }
        right
    }

    /// L with `K_0` = L L', ones where units are independent; `None` where all are.
    fn prior_factor(&self) -> Option<Panels> {
        let prior = self.reduction.prior.as_ref()?;
        // It was positive definite when the design was reduced.
        prior.factor(&self.reduction.rest).ok()
    }

    fn prior_times(&self, x: &[f64], width: usize) -> Vec<f64> {
        let prior = self.reduction.prior.as_ref();
        prior.map_or_else(|| copied(x), |p| p.multiply(&self.reduction.rest, x, width))
    }

    /// From eigenvector coordinates on both sides.
    fn turn_back(&self, x: Vec<f64>) -> Vec<f64> {
        // Without correlated effects the eigenvectors are the coordinates themselves.
        if self.roots.iter().all(|r| r.vectors == identity(r.q)) {
            return x;
        }
        let (rest, back) = (&self.reduction.rest, self.vectors_transposed());
        let n = rest.order();
        let left = apply_transposed(rest, &back, &x, n);
        flip(&apply_transposed(rest, &back, &flip(&left, n), n), n)
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

/// Adds vec(H) vec(H)'.
fn add_square(values: &[f64], out: &mut [f64]) {
    for (row, value) in out.chunks_exact_mut(values.len()).zip(values) {
        axpy(*value, values, row);
    }
}

/// L^-1 X L'^-1 for a symmetric X of order `n`.
fn half_solved(root: &Panels, x: Vec<f64>, n: usize) -> Vec<f64> {
    let left = root.solve_with(&x, n, Panels::solve_lower);
    drop(x);
    root.solve_with(&flip(&left, n), n, Panels::solve_lower)
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
        return vec![crate::linalg::dense::dot(own, own)];
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
    super::factor::panels::multiply_add(
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

fn add_up(n: usize, one: &(dyn Fn(usize) -> Vec<f64> + Sync)) -> Vec<f64> {
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
