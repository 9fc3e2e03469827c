//! Scratch space of one task, and where the parts of a unit's record stand in it.

use std::ops::Range;

use super::pairs::Pending;
use super::state::Elimination;
use super::tangents::Tangents;
use crate::running::memory::zeros;

/// One sum `sum_kl w_kl d2/dk dl`: the weights `w`, symmetric, `n_entries` squared.
pub type PairWeights = Vec<f64>;

/// Scratch space of one task.
pub(crate) struct Workspace {
    /// By level: M, lower triangle of [Z B] squared.
    pub(crate) m: Vec<Vec<f64>>,
    /// By level: derivatives of M by the entries of inner levels.
    pub(crate) m_by: Vec<Vec<f64>>,
    /// By level: what `descend` needs of the units met on the way up, one after the other.
    pub(crate) nodes: Vec<Vec<f64>>,
    /// By level: units of the current outermost item already descended into.
    pub(crate) visited: Vec<usize>,
    /// Weights of second derivatives of the cross-product, where these are asked for.
    pub(crate) pair_weights: Vec<PairWeights>,
    /// By level, for each set of weights: the sum of second derivatives of M by inner entries.
    pub(crate) m_second: Vec<Vec<f64>>,
    /// Do leaves need S and J?
    pub(crate) wants_conditional: bool,
    /// What the last unit with a residual covariance shared by all left behind.
    pub(crate) kept: KeptFactor,
    /// Units whose second differentials are not added yet.
    pub(crate) pending: Pending,
    /// Units whose first differentials are not added yet.
    pub(crate) tangents: Tangents,
    /// T of the unit at hand, before it is whitened.
    pub(crate) t: Vec<f64>,
    pub(crate) w: Vec<f64>,
    pub(crate) whitened: Vec<f64>,
    pub(crate) h: Vec<f64>,
    pub(crate) u: Vec<f64>,
    pub(crate) f: Vec<f64>,
    pub(crate) f_rss: Vec<f64>,
    pub(crate) row: Vec<f64>,
}

impl Workspace {
    pub(crate) fn new(elimination: &Elimination) -> Self {
        let levels = &elimination.reduction.levels;
        let size = |l: usize| levels[l].q + elimination.width[l];
        let inner = |l: usize| elimination.entries.len() - elimination.first_entry[l + 1];
        let largest = (0..levels.len()).map(size).max().unwrap_or(0);
        let q = levels.iter().map(|l| l.q).max().unwrap_or(0);
        Self {
            m: (0..levels.len()).map(|l| zeros(size(l) * size(l))).collect(),
            m_by: (0..levels.len()).map(|l| zeros(inner(l) * size(l) * size(l))).collect(),
            nodes: vec![Vec::new(); levels.len()],
            visited: vec![0; levels.len()],
            pair_weights: Vec::new(),
            m_second: vec![Vec::new(); levels.len()],
            wants_conditional: false,
            kept: KeptFactor::default(),
            pending: Pending::default(),
            tangents: Tangents::default(),
            t: vec![0.0; q * q],
            w: vec![0.0; q * q],
            whitened: vec![0.0; q * largest],
            h: vec![0.0; q * q],
            u: vec![0.0; q * largest],
            f: vec![0.0; q * q],
            f_rss: vec![0.0; q * q],
            row: vec![0.0; largest + q],
        }
    }
}

impl Workspace {
    /// Keeps T of the rows [T A] of a unit of order `q`.
    #[inline(always)]
    pub(crate) fn keep_t(&mut self, q: usize, w: usize) {
        for i in 0..q {
            self.t[i * q..(i + 1) * q].copy_from_slice(&self.whitened[i * (q + w)..][..q]);
        }
    }
}

/// Factor of W for one set of visits: units that saw the same visits use it again.
#[derive(Default)]
pub(crate) struct KeptFactor {
    /// Diagonal of T.
    pub(crate) seen: Vec<f64>,
    pub(crate) logdet: f64,
    /// L, with W = L L'.
    pub(crate) factor: Vec<f64>,
    /// L^-1 T.
    pub(crate) root: Vec<f64>,
    pub(crate) h: Vec<f64>,
    /// Visits that `products` belong to, and for each pair of parameters what their second
    /// derivative needs of H.
    pub(crate) seen_products: Vec<f64>,
    pub(crate) products: Vec<PairProducts>,
}

/// `R_k H R_l + R_l H R_k - R_kl`, `tr(H R_kl) - tr(H R_k H R_l)` of a pair (k, l) of parameters.
pub(crate) struct PairProducts {
    pub(crate) weight_of_f: Vec<f64>,
    pub(crate) own: f64,
}

/// Where the parts of a node stand in its record.
#[derive(Clone, Copy)]
pub(crate) struct NodeLayout {
    pub(crate) q: usize,
    pub(crate) w: usize,
    pub(crate) n_inner: usize,
}

impl NodeLayout {
    pub(crate) fn u(self) -> Range<usize> {
        0..self.q * self.w
    }
    pub(crate) fn h(self) -> Range<usize> {
        let start = self.u().end;
        start..start + self.q * self.q
    }
    /// S = G - G H G.
    pub(crate) fn s(self) -> Range<usize> {
        let start = self.h().end;
        start..start + self.q * self.q
    }
    /// -G U, the upper part of J.
    pub(crate) fn j(self) -> Range<usize> {
        let start = self.s().end;
        start..start + self.q * self.w
    }
    /// (`M_k` J) restricted to the rows of Z.
    pub(crate) fn p(self, k: usize) -> Range<usize> {
        let start = self.j().end + k * self.q * self.w;
        start..start + self.q * self.w
    }
    /// `M_k,ZZ`.
    pub(crate) fn m_zz(self, k: usize) -> Range<usize> {
        let start = self.j().end + self.n_inner * self.q * self.w + k * self.q * self.q;
        start..start + self.q * self.q
    }
    pub(crate) fn size(self) -> usize {
        self.j().end + self.n_inner * self.q * (self.w + self.q)
    }
}
