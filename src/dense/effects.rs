//! Conditional means and covariances of the random effects, and the errors of predictions.

use super::component::{Component, Factored};
use super::reduction::Reduction;
use super::slots::Slots;
use super::template::Template;
use crate::criterion::sums::Conditional;
use crate::linalg::blocked;
use crate::linalg::dense::{NotPositiveDefinite, axpy, block, dot, multiply};
use crate::running::memory::zeros;
use crate::running::stop::check;

/// Units, or rows to predict, taken at once.
const CHUNK: usize = 64;

impl Reduction {
    /// Conditional means and covariances over `sigma^2` of every unit of the levels of random effects,
    /// units without records after the others; `e` is (-beta, 1).
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] where V is not.
    pub fn conditional(
        &self,
        fit: usize,
        g: &[Template],
        e: &[f64],
    ) -> Result<Vec<Conditional>, NotPositiveDefinite> {
        let mut out: Vec<Conditional> = (0..self.n_random())
            .map(|l| {
                let (q, n) = (self.q[l], self.n_effects(l));
                Conditional { mean: zeros(n * q), covariance: zeros(n * q * q) }
            })
            .collect();
        for component in &self.components {
            check();
            let factored = Factored::new(component, self.rank(), fit, g)?;
            let inverse = factored.inverse();
            let n = factored.n;
            let mut r = vec![0.0; n];
            for (value, column) in e.iter().zip(factored.xy.chunks_exact(n)) {
                axpy(*value, column, &mut r);
            }
            for (l, conditional) in out.iter_mut().enumerate() {
                let k = component.levels[l].whitened(&inverse, n);
                let s = blocked::transposed_product(&k, &r, n);
                let h = blocked::transposed_product(&k, &k, n);
                self.learn(l, &component.levels[l], &s, &h, conditional);
            }
        }
        for (l, conditional) in out.iter_mut().enumerate() {
            self.finish(l, g[l].values, conditional);
        }
        Ok(out)
    }

    /// Adds A Z'V^-1 r and the diagonal blocks of A H A of one component.
    fn learn(&self, l: usize, slots: &Slots, s: &[f64], h: &[f64], out: &mut Conditional) {
        let (q, m) = (self.q[l], slots.units.len());
        let Some(relationship) = &self.relationships[l] else {
            for (u, &unit) in slots.units.iter().enumerate() {
                let unit = unit as usize;
                out.mean[block(unit, q)].copy_from_slice(&s[block(u, q)]);
                for a in 0..q {
                    let row = &h[(u * q + a) * m * q + u * q..][..q];
                    out.covariance[block(unit * q + a, q)].copy_from_slice(row);
                }
            }
            return;
        };
        let parts: Vec<Vec<f64>> = (0..q * q)
            .map(|at| {
                let (a, b) = (at / q, at % q);
                let rows =
                    (0..m).flat_map(|u| (0..m).map(move |v| (u * q + a) * m * q + v * q + b));
                rows.map(|at| h[at]).collect()
            })
            .collect();
        let n_effects = self.n_effects(l);
        for first in (0..n_effects).step_by(CHUNK) {
            let units = first..(first + CHUNK).min(n_effects);
            let across = relationship.rows_over(units.clone(), &slots.units);
            for (i, unit) in units.clone().enumerate() {
                let row = &across[block(i, m)];
                for (u, value) in row.iter().enumerate().filter(|(_, v)| **v != 0.0) {
                    axpy(*value, &s[block(u, q)], &mut out.mean[block(unit, q)]);
                }
            }
            for (at, part) in parts.iter().enumerate() {
                let product = blocked::row_product(&across, part, m, m);
                for (i, unit) in units.clone().enumerate() {
                    out.covariance[unit * q * q + at] +=
                        dot(&product[block(i, m)], &across[block(i, m)]);
                }
            }
        }
    }

    /// From A Z'V^-1 r to G A Z'V^-1 r and from A H A to A G - G A H A G.
    fn finish(&self, l: usize, g: &[f64], out: &mut Conditional) {
        let q = self.q[l];
        for unit in 0..self.n_effects(l) {
            let own = self.relationships[l].as_ref().map_or(1.0, |a| a.at(unit, unit));
            let mean = out.mean[block(unit, q)].to_vec();
            for a in 0..q {
                out.mean[unit * q + a] = dot(&g[block(a, q)], &mean);
            }
            let inner = out.covariance[block(unit, q * q)].to_vec();
            let half = multiply(g, &inner, q);
            let whole = multiply(&half, g, q);
            for (at, value) in out.covariance[block(unit, q * q)].iter_mut().enumerate() {
                *value = own * g[at] - whole[at];
            }
        }
    }

    /// Variance over `sigma^2` of sums z'g given the data, beta known, and z'G Z'W^-1 X; `rank` a row.
    ///
    /// By level the unit of each row (negative: none that is known) and its columns of z.
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] where V is not.
    pub fn prediction(
        &self,
        fit: usize,
        g: &[Template],
        codes: &[&[i32]],
        z: &[&[f64]],
    ) -> Result<(Vec<f64>, Vec<f64>), NotPositiveDefinite> {
        let n_rows = codes.first().map_or(0, |c| c.len());
        let (mut variance, mut shift) = (zeros(n_rows), zeros(n_rows * self.rank()));
        // G z by level.
        let scaled: Vec<Vec<f64>> = (0..self.n_random())
            .map(|l| blocked::row_product(z[l], g[l].values, self.q[l], self.q[l]))
            .collect();
        for l in 0..self.n_random() {
            for (row, total) in variance.iter_mut().enumerate() {
                let own = dot(&z[l][block(row, self.q[l])], &scaled[l][block(row, self.q[l])]);
                let unit = codes[l][row];
                let relationship = self.relationships[l].as_ref().filter(|_| unit >= 0);
                *total += own * relationship.map_or(1.0, |a| a.at(unit as usize, unit as usize));
            }
        }
        for component in &self.components {
            check();
            let touched = self.touched(component, codes);
            if touched.is_empty() {
                continue;
            }
            let factored = Factored::new(component, self.rank(), fit, g)?;
            self.add_known(
                component,
                &factored,
                codes,
                &scaled,
                &touched,
                &mut variance,
                &mut shift,
            );
        }
        Ok((variance, shift))
    }

    /// Rows that share a unit, or a related one, with a component.
    fn touched(&self, component: &Component, codes: &[&[i32]]) -> Vec<usize> {
        let mut is_touched = vec![false; codes.first().map_or(0, |c| c.len())];
        for (l, codes) in codes.iter().enumerate() {
            let mut known = vec![false; self.n_effects(l)];
            for &unit in &component.levels[l].units {
                known[unit as usize] = true;
            }
            let is_known = |unit: usize| {
                known[unit]
                    || self.relationships[l]
                        .as_ref()
                        .is_some_and(|a| a.row(unit).any(|(other, _)| known[other]))
            };
            let by_unit: Vec<bool> = (0..known.len()).map(is_known).collect();
            for (flag, &code) in is_touched.iter_mut().zip(*codes) {
                *flag |= code >= 0 && by_unit[code as usize];
            }
        }
        (0..is_touched.len()).filter(|&row| is_touched[row]).collect()
    }

    #[allow(clippy::too_many_arguments)] // the state of one loop
    fn add_known(
        &self,
        component: &Component,
        factored: &Factored,
        codes: &[&[i32]],
        scaled: &[Vec<f64>],
        touched: &[usize],
        variance: &mut [f64],
        shift: &mut [f64],
    ) {
        let (n, rank) = (factored.n, self.rank());
        let inverse = factored.inverse();
        let whitened: Vec<Vec<f64>> =
            (0..self.n_random()).map(|l| component.levels[l].whitened(&inverse, n)).collect();
        for rows in touched.chunks(CHUNK) {
            // L^-1 times the covariance of the data with each z'g, one column a row.
            let mut known = zeros(n * rows.len());
            for l in 0..self.n_random() {
                let (slots, q) = (&component.levels[l], self.q[l]);
                for (&row, out) in rows.iter().zip(known.chunks_exact_mut(n)) {
                    let code = codes[l][row];
                    if code < 0 {
                        continue;
                    }
                    for (u, related) in self.relatives(l, code as usize, &slots.units) {
                        for (a, value) in scaled[l][block(row, q)].iter().enumerate() {
                            axpy(related * value, &whitened[l][block(u * q + a, n)], out);
                        }
                    }
                }
            }
            for (&row, column) in rows.iter().zip(known.chunks_exact(n)) {
                variance[row] -= dot(column, column);
                for (j, x) in factored.xy.chunks_exact(n).take(rank).enumerate() {
                    shift[row * rank + j] += dot(column, x);
                }
            }
        }
    }

    /// Units of a component (positions among `units`) related to one unit, and how much.
    fn relatives(&self, l: usize, unit: usize, units: &[u32]) -> Vec<(usize, f64)> {
        let position = |other: usize| units.binary_search(&(other as u32)).ok();
        match &self.relationships[l] {
            None => position(unit).map(|u| (u, 1.0)).into_iter().collect(),
            Some(a) => a.row(unit).filter_map(|(v, value)| Some((position(v)?, value))).collect(),
        }
    }
}
