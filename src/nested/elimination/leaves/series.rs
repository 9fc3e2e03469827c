//! The innermost level where residuals are series: see [`crate::nested::series::items`].
//!
//! The level's covariance is given as a few weights of every class (a basis), as how the weights of
//! N and of its derivatives are mixed from these, and as log|R| with its derivatives. A unit's
//! cross-products are summed under each weight of the basis; all derivatives follow from the sums.

use crate::criterion::sums::Sums;
use crate::linalg::dense::{NotPositiveDefinite, axpy, block, dot, symmetrise, vectorised};
use crate::nested::elimination::state::Elimination;
use crate::nested::elimination::upward::Target;
use crate::nested::elimination::workspace::Workspace;
use crate::nested::series::items::Series;
use crate::nested::series::walked::{Jet, places, walk};
use crate::running::memory::{lengthen, zeros};

/// Items that enter the sums together: one pass over the sums serves all of them.
const TOGETHER: usize = 4;

/// What the parameters make of the classes.
struct Weights<'a> {
    /// By weight of the basis: its value in every class, mixing by kind, log|R| by kind.
    rows: Vec<&'a [f64]>,
    n_classes: usize,
    n_kinds: usize,
    /// Weights of the basis an arm has, where log|C| is found by walking along.
    n_own: usize,
}

impl Weights<'_> {
    fn of_class(&self, basis: usize, class: u32) -> f64 {
        self.rows[basis][class as usize]
    }

    fn mixing(&self, basis: usize, kind: usize) -> f64 {
        self.rows[basis][self.n_classes + kind]
    }

    fn logdet(&self, kind: usize) -> f64 {
        self.rows[0][self.n_classes + self.n_kinds + kind]
    }

    /// What log|C| of a unit adds to a kind: each weight of the basis after an arm's first belongs
    /// to the kind marked in its last entries, the first to the value.
    fn logdet_of(&self, logdets: &[f64], kind: usize) -> f64 {
        let factor = |basis: usize| match (self.n_own, basis) {
            (0, _) => 0.0,
            (n, basis) if basis % n == 0 => f64::from(u8::from(kind == 0)),
            _ => self.rows[basis][self.n_classes + self.n_kinds + kind],
        };
        logdets.iter().enumerate().map(|(basis, value)| factor(basis) * value).sum()
    }

    /// Adds the mix of `parts` (one of `size` a weight of the basis) that belongs to `kind`.
    fn mix(&self, kind: usize, parts: &[f64], size: usize, target: &mut [f64]) {
        for basis in 0..self.rows.len() {
            let factor = self.mixing(basis, kind);
            if factor != 0.0 {
                axpy(factor, &parts[block(basis, size)], target);
            }
        }
    }
}

impl Elimination<'_> {
    /// The series, where the innermost level holds them.
    pub(crate) fn series(&self) -> Option<&Series> {
        self.reduction.levels.last().and_then(|leaf| leaf.series.as_ref())
    }

    fn weights(&self, series: &Series) -> Weights<'_> {
        let g = &self.g[self.reduction.levels.len() - 1];
        let width = g.len() / series.n_basis;
        Weights {
            rows: g.chunks_exact(width).collect(),
            n_classes: series.n_classes,
            n_kinds: (width - series.n_classes) / 2,
            n_own: series.n_basis.checked_div(series.n_ends).unwrap_or(0),
        }
    }

    /// Adds log|R| and, for `n` entries that end with the residual's, its derivatives.
    pub(crate) fn add_series_determinant(&self, sums: &mut Sums, n: usize) {
        let Some(series) = self.series().filter(|series| series.chain.is_none()) else { return };
        let weights = self.weights(series);
        sums.logdet += weights.logdet(0);
        if n == 0 {
            return;
        }
        let first = self.first_entry[self.reduction.levels.len() - 1];
        let t = n - first;
        for k in 0..t {
            sums.logdet_by[first + k] += weights.logdet(1 + k);
            for l in 0..=k {
                let kind = 1 + t + k * (k + 1) / 2 + l;
                sums.hessian[(first + k) * n + first + l] += weights.logdet(kind);
            }
        }
    }

    /// Adds a bundle's N to `target`; returns log|C| where it is not known beforehand.
    pub(crate) fn series_value(
        &self,
        series: &Series,
        bundle: usize,
        target: &mut [f64],
    ) -> Result<f64, NotPositiveDefinite> {
        if series.chain.is_some() {
            return vectorised(|| self.chain_value(series, bundle, target));
        }
        let weights = self.weights(series);
        let w = series.n_columns + 1;
        let mut parts = zeros(series.n_basis * w * w);
        let used: Vec<usize> =
            (0..series.n_basis).filter(|&basis| weights.mixing(basis, 0) != 0.0).collect();
        let mut logdets = vec![0.0; series.n_basis];
        if series.n_ends > 0 {
            self.walk_items(series, bundle, &weights, 1, &mut parts, &mut logdets)?;
        } else {
            self.sum_items(series, bundle, &weights, &used, &mut parts);
        }
        weights.mix(0, &parts, w * w, target);
        Ok(logdets.iter().sum())
    }

    /// Adds a bundle's N and its derivatives to `target`; keeps what `series_second` needs.
    pub(crate) fn series_tangent(
        &self,
        series: &Series,
        bundle: usize,
        work: &mut Workspace,
        target: &mut Target<'_>,
    ) -> Result<f64, NotPositiveDefinite> {
        if series.chain.is_some() {
            // Derivatives go another way, see `chain`: only conditional distributions come here.
            return self.series_value(series, bundle, target.gram);
        }
        let weights = self.weights(series);
        let w = series.n_columns + 1;
        let nodes = &mut work.nodes[self.reduction.levels.len() - 1];
        let start = nodes.len();
        // After the cross-products, log|C| and its derivatives (0 where known beforehand).
        lengthen(nodes, start + series.n_basis * (w * w + 1));
        let (parts, logdets) = nodes[start..].split_at_mut(series.n_basis * w * w);
        if let Some(n) = series.n_basis.checked_div(series.n_ends) {
            self.walk_items(series, bundle, &weights, n, parts, logdets)?;
        } else {
            let all: Vec<usize> = (0..series.n_basis).collect();
            self.sum_items(series, bundle, &weights, &all, parts);
        }
        weights.mix(0, parts, w * w, target.gram);
        for (k, into) in target.by.chunks_exact_mut(w * w).enumerate() {
            weights.mix(1 + k, parts, w * w, into);
        }
        let (first, n) = (self.first_entry[self.reduction.levels.len() - 1], self.entries.len());
        let t = n - first;
        for (set, pairs) in work.pair_weights.iter().enumerate() {
            let into = &mut target.second[block(set, w * w)];
            for k in 0..t {
                for l in 0..=k {
                    let both = if k == l { 1.0 } else { 2.0 };
                    let share = both * pairs[(first + k) * n + first + l];
                    let kind = 1 + t + k * (k + 1) / 2 + l;
                    for (basis, part) in parts.chunks_exact(w * w).enumerate() {
                        axpy(share * weights.mixing(basis, kind), part, into);
                    }
                }
            }
        }
        Ok(weights.logdet_of(logdets, 0))
    }

    /// Adds a bundle's second derivatives under the weights `psi` of N and e of the residual.
    pub(crate) fn series_second(
        &self,
        series: &Series,
        psi: &[f64],
        e: &[f64],
        work: &mut Workspace,
        sums: &mut Sums,
    ) {
        let weights = self.weights(series);
        let level = self.reduction.levels.len() - 1;
        let w = series.n_columns + 1;
        let own = block(work.visited[level], series.n_basis * (w * w + 1));
        work.visited[level] += 1;
        let (parts, logdets) = work.nodes[level][own].split_at_mut(series.n_basis * w * w);
        let mut forms = vec![[0.0; 2]; series.n_basis];
        for (basis, form) in forms.iter_mut().enumerate() {
            let part = &mut parts[block(basis, w * w)];
            symmetrise(part, w);
            for (i, row) in part.chunks_exact(w).enumerate() {
                form[0] += dot(row, &psi[block(i, w)]);
                form[1] += e[i] * dot(row, e);
            }
        }
        let (first, n) = (self.first_entry[level], self.entries.len());
        let t = n - first;
        for k in 0..t {
            sums.logdet_by[first + k] += weights.logdet_of(logdets, 1 + k);
            for l in 0..=k {
                let (kind, at) = (1 + t + k * (k + 1) / 2 + l, (first + k) * n + first + l);
                sums.hessian[at] += weights.logdet_of(logdets, kind);
                for (basis, form) in forms.iter().enumerate() {
                    sums.hessian[at] += weights.mixing(basis, kind) * form[0];
                    sums.hessian_rss[at] += weights.mixing(basis, kind) * form[1];
                }
            }
        }
    }

    /// Cross-products of jet components of a bundle's series, walked along.
    fn walk_items(
        &self,
        series: &Series,
        bundle: usize,
        weights: &Weights,
        n_components: usize,
        parts: &mut [f64],
        logdets: &mut [f64],
    ) -> Result<(), NotPositiveDefinite> {
        let by_arm = series.n_basis / series.n_ends;
        let arm_of_step = |class: usize| {
            let n_steps = (series.n_classes - series.n_ends) / (2 * series.n_ends);
            (class - series.n_ends) / (2 * n_steps)
        };
        let generators = |item: usize| {
            let class = series.row_classes[item] as usize;
            if class < series.n_ends {
                return (class * by_arm, None);
            }
            let first = arm_of_step(class) * by_arm;
            let jet = |class: usize| -> Jet {
                let mut jet = [0.0; 6];
                for (component, &place) in places(n_components).iter().enumerate() {
                    jet[place] = weights.rows[first + component][class];
                }
                jet
            };
            (first, Some((jet(class), jet(class + 1))))
        };
        let load = |item: usize, out: &mut [f64]| self.load_item(series, item, out);
        walk(series, bundle, n_components, generators, load, parts, logdets)
    }

    /// Cross-products of a bundle's items under some weights of the basis (lower triangles).
    fn sum_items(
        &self,
        series: &Series,
        bundle: usize,
        weights: &Weights,
        used: &[usize],
        parts: &mut [f64],
    ) {
        let w = series.n_columns + 1;
        vectorised(
            #[inline(always)]
            || {
                for item in series.gram_offsets[bundle]..series.gram_offsets[bundle + 1] {
                    for &basis in used {
                        let weight = weights.of_class(basis, series.gram_classes[item]);
                        if weight != 0.0 {
                            self.add_gram(series, item, weight, &mut parts[block(basis, w * w)]);
                        }
                    }
                }
                let mut v = vec![0.0; TOGETHER * w];
                let mut item = series.row_offsets[bundle];
                let end = series.row_offsets[bundle + 1];
                while item < end {
                    let count = TOGETHER.min(end - item);
                    v.fill(0.0);
                    for (r, row) in v.chunks_exact_mut(w).take(count).enumerate() {
                        self.load_item(series, item + r, row);
                    }
                    for &basis in used {
                        let mut weight = [0.0; TOGETHER];
                        for (r, value) in weight.iter_mut().take(count).enumerate() {
                            *value = weights.of_class(basis, series.row_classes[item + r]);
                        }
                        if weight.iter().any(|value| *value != 0.0) {
                            add_outer_products(&weight, &v, w, &mut parts[block(basis, w * w)]);
                        }
                    }
                    item += count;
                }
            },
        );
    }

    #[inline(always)]
    pub(crate) fn load_item(&self, series: &Series, item: usize, out: &mut [f64]) {
        let columns = series.n_columns;
        out[..columns].copy_from_slice(&series.rows[block(item, columns)]);
        out[columns] = series.row_responses[self.fit * series.row_classes.len() + item];
    }

    #[inline(always)]
    fn add_gram(&self, series: &Series, item: usize, weight: f64, target: &mut [f64]) {
        let (columns, w) = (series.n_columns, series.n_columns + 1);
        let at = self.fit * series.gram_classes.len() + item;
        let gram = &series.grams[block(item, columns * w / 2)];
        let mut first = 0;
        for i in 0..columns {
            axpy(weight, &gram[first..first + i + 1], &mut target[i * w..i * w + i + 1]);
            first += i + 1;
        }
        axpy(weight, &series.gram_responses[block(at, w)], &mut target[columns * w..]);
    }
}

/// Adds the lower triangle of the sum of weight v v' over the rows v of `rows`.
#[inline(always)]
fn add_outer_products(weight: &[f64; TOGETHER], rows: &[f64], w: usize, target: &mut [f64]) {
    let (a, rest) = rows.split_at(w);
    let (b, rest) = rest.split_at(w);
    let (c, d) = rest.split_at(w);
    for i in 0..w {
        let by = [weight[0] * a[i], weight[1] * b[i], weight[2] * c[i], weight[3] * d[i]];
        let into = &mut target[i * w..i * w + i + 1];
        let n = into.len();
        let (a, b, c, d) = (&a[..n], &b[..n], &c[..n], &d[..n]);
        for j in 0..n {
            into[j] += (by[0] * a[j] + by[1] * b[j]) + (by[2] * c[j] + by[3] * d[j]);
        }
    }
}
