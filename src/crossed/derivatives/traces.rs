//! tr(H `E_k` H `E_l`) for all pairs of entries, from the rows of H.
//!
//! For levels l, m let G[(a, c), (b, d)] = sum over their units u, v of `H_uv`[a, c] `H_uv`[b, d]; the traces
//! are sums of two of its entries. Rows of H are made some units at a time and never kept. Of related
//! units, `K_0` = L L', H stands for L^-1 H L'^-1 throughout, which is of the same form with
//! L^-1 K L'^-1 for K and L'A^-1 L for A^-1.

use super::pair_sums::{
    CHUNK_UNITS, add_square, add_up, pair_gram, subtract_products, swap_levels,
};
use super::rest_information::half_solved;
use crate::criterion::sums::Entry;
use crate::crossed::evaluation::{Factorisation, unit_information};
use crate::linalg::dense::{axpy, block, dot, multiply, vectorised};
use crate::linalg::small::transpose;
use crate::running::memory::zeros;
use crate::running::threads;

impl Factorisation<'_> {
    /// Lower triangle (k >= l) of tr(H `E_k` H `E_l`).
    ///
    /// `inverse` is all of A^-1 over the columns of `Z_2`; `None` where A is the identity.
    pub(crate) fn traces(&self, entries: &[Entry], inverse: Option<&[f64]>) -> Vec<f64> {
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
            let both = prior(&transpose(&prior(v), n, n));
            half_solved(root, transpose(&both, n, n), n)
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
            let t_t = transpose(t, q, q);
            let own = multiply(&t_t, t, q);
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
                        let value = dot(&t_t[block(a, q)], n);
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
}
