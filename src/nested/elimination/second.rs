//! Second derivatives of [X y]'V^-1 [X y] itself, summed with weights on the way up.
//!
//! Along a unit's own entries and those inside it, with U, J, S and the `M_k` of the parent module
//! and `P_k` = (`M_k` J)_Z:
//!
//! ```text
//! d2N by E_k, E_l   U'(E_k H E_l + E_l H E_k - E_kl) U
//! d2N by E,   M_k   -(U_k'E U + U'E U_k),  U_k = (I - H G) P_k
//! d2N by M_k, M_l   J'M_kl J - P_k'S P_l - P_l'S P_k
//! ```

use super::products::{add_product_both, add_sandwich, i_minus_hg};
use super::state::Elimination;
use super::workspace::{NodeLayout, PairWeights};
use crate::criterion::sums::Entry;
use crate::linalg::dense::{axpy, block, symmetrise};
use crate::linalg::small::product;

impl Elimination<'_> {
    /// `sum_kl w_kl (E_k H E_l + E_l H E_k - E_kl)` over the level's own entries.
    pub(crate) fn own_middle(
        &self,
        level: usize,
        unit: usize,
        h: &[f64],
        weights: &[f64],
    ) -> Vec<f64> {
        let q = self.reduction.levels[level].q;
        let n = self.entries.len();
        let range = self.first_entry[level]..self.first_entry[level + 1];
        let mut out = vec![0.0; q * q];
        if self.has_directions(level) {
            let first = range.start;
            for k in range.clone() {
                // F_k H (sum_l w_kl F_l)
                let mut sum = vec![0.0; q * q];
                for l in range.clone() {
                    axpy(weights[k * n + l], self.stacked(level, unit, 1 + l - first), &mut sum);
                }
                let h_sum = product(h, &sum, q, q, q);
                let both = product(self.stacked(level, unit, 1 + k - first), &h_sum, q, q, q);
                for i in 0..q {
                    for j in 0..q {
                        out[i * q + j] += both[i * q + j] + both[j * q + i];
                    }
                }
                for l in first..=k {
                    let (i, j) = (k - first, l - first);
                    let weight = weights[k * n + l] * if k == l { 1.0 } else { 2.0 };
                    let bend = 1 + range.len() + i * (i + 1) / 2 + j;
                    axpy(-weight, self.stacked(level, unit, bend), &mut out);
                }
            }
            return out;
        }
        for k in range.clone() {
            let Entry { a, b, .. } = self.entries[k];
            for l in range.clone() {
                let weight = weights[k * n + l];
                if weight == 0.0 {
                    continue;
                }
                let Entry { a: c, b: d, .. } = self.entries[l];
                let weight = weight * self.entries[k].weight() * self.entries[l].weight();
                for (row, inner) in [(a, b), (b, a)] {
                    for (other, column) in [(c, d), (d, c)] {
                        let value = weight * h[inner * q + other];
                        out[row * q + column] += value;
                        out[column * q + row] += value;
                    }
                }
            }
        }
        out
    }

    /// Adds J'(`M_kl`) J and the second differential by pairs with an entry inside, one matrix a set.
    #[allow(clippy::too_many_arguments)] // the sums a unit adds to, each named once
    pub(crate) fn inner_curvature(
        &self,
        level: usize,
        layout: NodeLayout,
        node: &[f64],
        weights: &[PairWeights],
        m_second: &mut [f64],
        target: &mut [f64],
    ) {
        let NodeLayout { q, w, n_inner } = layout;
        let (size, n) = (q + w, self.entries.len());
        let (own, inner) = (self.first_entry[level], self.first_entry[level + 1]);
        let ihg = i_minus_hg(q, &node[layout.h()], &self.g[level]);
        let by_inner: Vec<Vec<f64>> =
            (0..n_inner).map(|k| product(&ihg, &node[layout.p(k)], q, q, w)).collect();
        for (set, weights) in weights.iter().enumerate() {
            let into = &mut target[block(set, w * w)];
            let m = &mut m_second[block(set, size * size)];
            symmetrise(m, size);
            add_sandwich(layout, node, m, into);
            for k in 0..n_inner {
                let row = &weights[(inner + k) * n..][..n];
                // -2 w_ke (U_k'E U + U'E U_k): both orders of the pair.
                let mut e = vec![0.0; q * q];
                for l in own..inner {
                    let Entry { a, b, .. } = self.entries[l];
                    let weight = row[l] * self.entries[l].weight();
                    e[a * q + b] += weight;
                    e[b * q + a] += weight;
                }
                let eu = product(&e, &node[layout.u()], q, q, w);
                add_product_both(&by_inner[k], &eu, -2.0, q, w, into);
                let mut others = vec![0.0; q * w];
                for l in 0..n_inner {
                    axpy(row[inner + l], &node[layout.p(l)], &mut others);
                }
                let s_others = product(&node[layout.s()], &others, q, q, w);
                add_product_both(&node[layout.p(k)], &s_others, -1.0, q, w, into);
            }
        }
    }
}
