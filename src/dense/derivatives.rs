//! Exact first and second derivatives of log|V| and [X y]'V^-1 [X y], one component at a time.
//!
//! The covariance of level l is Z (A x G) Z'; along a parameter k of it V moves by
//! `V_k` = Z (A x I) `D_k` Z', `D_k` a sparse matrix over the slots (a residual covariance is the level
//! with Z = A = I). With `H_lm` = `Z_l`'V^-1 `Z_m`, of L^-1 Z rather than of V^-1, P = Z'V^-1 [X y] and
//! ~H = (`A_l` x I) H (`A_m` x I),
//!
//! ```text
//! tr(V^-1 V_k)            = <D_k, (A x I) H_ll>
//! tr(V^-1 V_k V^-1 V_j)   = <D_k, ~H D_j H'>, unit by unit
//! [X y]'V^-1 V_k V^-1 [X y] = P'(A x I) D_k P
//! Y_k = L^-1 V_k V^-1 [X y]:  d2 gram / dk dj = Y_k'Y_j + Y_j'Y_k - [X y]'V^-1 V_kj V^-1 [X y]
//! ```
//!
//! (section 3 of Lindstrom and Bates 1988, with derivatives of R besides those of G).

use super::component::{Component, Factored, Slots};
use super::directions::{Direction, Template};
use super::traces::traces;
use crate::criterion::sums::{Entry, RootWeight, Sums};
use crate::linalg::blocked;
use crate::linalg::dense::{axpy, block, dot};
use crate::running::memory::zeros;
use crate::running::stop::check;
use crate::running::threads;

/// What is wanted besides the first derivatives.
pub enum Wanted<'a> {
    /// Second derivatives of the criterion under the weight of the root.
    Criterion(&'a RootWeight),
    /// Second derivatives of the cross-product: sums with these weights, `n` x `n` each.
    Gram(&'a [Vec<f64>]),
}

/// A level at one point.
pub(super) struct Level<'a> {
    /// Its units.
    pub(super) slots: &'a Slots,
    /// First of its entries among all.
    pub(super) first_entry: usize,
    /// By entry, the derivative of the level's covariance.
    pub(super) directions: Vec<Direction>,
    /// L^-1 Z.
    pub(super) k: Vec<f64>,
    /// Z'V^-1 [X y], row-major over the slots.
    p: Vec<f64>,
    /// By entry, L^-1 `V_k` V^-1 [X y], column-major.
    y: Vec<Vec<f64>>,
}

/// Sums of one component.
pub fn derivatives(
    component: &Component,
    factored: &Factored,
    g: &[Template],
    entries: &[Entry],
    wanted: &Wanted,
) -> Sums {
    let (width, n_entries) = (factored.xy.len() / factored.n, entries.len());
    let mut sums = Sums::zero(width, n_entries);
    sums.logdet = factored.logdet;
    sums.gram = factored.gram();
    if n_entries == 0 {
        return sums;
    }
    check();
    let inverse = factored.inverse();
    let mut levels = Vec::new();
    for (l, slots) in component.levels.iter().enumerate() {
        let first_entry = entries.partition_point(|e| e.level < l);
        let own = &entries[first_entry..entries.partition_point(|e| e.level <= l)];
        if own.is_empty() {
            continue;
        }
        check();
        levels.push(Level::new(slots, first_entry, own, &g[l], factored, &inverse, width));
    }
    drop(inverse);
    for level in &levels {
        level.add_first(&mut sums, width);
    }
    let residual = levels.iter().find(|l| l.slots.is_residual());
    let bends = residual.map_or_else(Vec::new, |l| l.bends(g.last()));
    match wanted {
        Wanted::Criterion(root) => {
            traces(&levels, &mut sums, &bends);
            second_of_criterion(&levels, &mut sums, root, width, factored.n);
            if let Some(level) = residual {
                level.bend_criterion(&bends, root, &mut sums, width, n_entries);
            }
        }
        Wanted::Gram(sets) => {
            sums.second = zeros(sets.len() * width * width);
            second_of_gram(&levels, &mut sums, sets, width, factored.n);
            if let Some(level) = residual {
                level.bend_gram(&bends, sets, &mut sums, width, n_entries);
            }
        }
    }
    sums
}

/// Second derivatives of V along a pair of entries (positions within their level), if any.
pub(super) type Bend = (usize, usize, Direction);

impl<'a> Level<'a> {
    fn new(
        slots: &'a Slots,
        first_entry: usize,
        entries: &[Entry],
        template: &Template,
        factored: &Factored,
        inverse: &[f64],
        width: usize,
    ) -> Self {
        let directions: Vec<Direction> = entries
            .iter()
            .enumerate()
            .map(|(k, entry)| {
                if template.has_derivatives() {
                    Direction::of_kind(slots, template, 1 + k)
                } else {
                    Direction::of_entry(slots, entry.a, entry.b)
                }
            })
            .collect();
        let n = factored.n;
        let k = slots.whitened(inverse, n);
        let p = blocked::transposed_product(&k, &factored.xy, n);
        let related = slots.related(&p, width);
        let moved = |direction: &Direction| -> Vec<f64> {
            let dp = direction.times(related.as_ref().unwrap_or(&p), width);
            let mut y = zeros(n * width);
            for (&slot, row) in direction.slots.iter().zip(dp.chunks_exact(width)) {
                for (value, out) in row.iter().zip(y.chunks_exact_mut(n)) {
                    axpy(*value, &k[block(slot as usize, n)], out);
                }
            }
            y
        };
        let y = if n > 256 {
            threads::map(&directions, moved)
        } else {
            directions.iter().map(moved).collect()
        };
        Self { slots, first_entry, directions, k, p, y }
    }

    /// First derivatives of the cross-product.
    fn add_first(&self, sums: &mut Sums, width: usize) {
        let related = self.slots.related(&self.p, width);
        let left = related.as_ref().unwrap_or(&self.p);
        for (k, direction) in self.directions.iter().enumerate() {
            let out = &mut sums.gram_by[block(self.first_entry + k, width * width)];
            add_quadratic(direction, left, &self.p, width, -1.0, out);
        }
    }

    /// Second derivatives of R that its template holds.
    fn bends(&self, template: Option<&Template>) -> Vec<Bend> {
        let t = self.directions.len();
        let Some(template) = template.filter(|t| t.has_derivatives()) else {
            return Vec::new();
        };
        let mut out = Vec::new();
        for k in 0..t {
            for j in 0..=k {
                let kind = 1 + t + k * (k + 1) / 2 + j;
                let direction = Direction::of_kind(self.slots, template, kind);
                if !direction.slots.is_empty() {
                    out.push((k, j, direction));
                }
            }
        }
        out
    }

    fn bend_criterion(
        &self,
        bends: &[Bend],
        root: &RootWeight,
        sums: &mut Sums,
        width: usize,
        n: usize,
    ) {
        for (k, j, direction) in bends {
            let mut moved = vec![0.0; width * width];
            add_quadratic(direction, &self.p, &self.p, width, -1.0, &mut moved);
            let at = (self.first_entry + k) * n + self.first_entry + j;
            sums.hessian[at] += weighted_trace(root, &moved, width);
            sums.hessian_rss[at] += quadratic(&moved, &root.e);
        }
    }

    fn bend_gram(
        &self,
        bends: &[Bend],
        sets: &[Vec<f64>],
        sums: &mut Sums,
        width: usize,
        n: usize,
    ) {
        for (k, j, direction) in bends {
            let mut moved = vec![0.0; width * width];
            add_quadratic(direction, &self.p, &self.p, width, -1.0, &mut moved);
            let (row, column) = (self.first_entry + k, self.first_entry + j);
            add_to_sets(sets, &mut sums.second, &moved, (row, column), n);
        }
    }
}

/// out <- out + alpha left'D right, row-major.
fn add_quadratic(
    direction: &Direction,
    left: &[f64],
    right: &[f64],
    width: usize,
    alpha: f64,
    out: &mut [f64],
) {
    let moved = direction.times(right, width);
    for (&slot, row) in direction.slots.iter().zip(moved.chunks_exact(width)) {
        for (a, value) in left[block(slot as usize, width)].iter().enumerate() {
            axpy(alpha * value, row, &mut out[block(a, width)]);
        }
    }
}

/// `Y_k`'`Y_j`, row-major.
fn products(first: &[f64], second: &[f64], width: usize, n: usize) -> Vec<f64> {
    let mut out = vec![0.0; width * width];
    for a in 0..width {
        for b in 0..width {
            out[a * width + b] = dot(&first[block(a, n)], &second[block(b, n)]);
        }
    }
    out
}

/// Calls for each pair of entries (k, j), j <= k, with `Y_k`'`Y_j`.
fn for_each_pair(
    levels: &[Level],
    width: usize,
    n: usize,
    mut call: impl FnMut(usize, usize, &[f64]),
) {
    let all: Vec<(usize, &Vec<f64>)> = levels
        .iter()
        .flat_map(|l| l.y.iter().enumerate().map(|(k, y)| (l.first_entry + k, y)))
        .collect();
    for (position, (k, y)) in all.iter().enumerate() {
        let row = |(j, other): &(usize, &Vec<f64>)| (*j, products(y, other, width, n));
        let rows: Vec<(usize, Vec<f64>)> = if n > 256 && position > 4 {
            threads::map(&all[..=position], row)
        } else {
            all[..=position].iter().map(row).collect()
        };
        for (j, product) in rows {
            call(*k, j, &product);
        }
    }
}

fn second_of_criterion(
    levels: &[Level],
    sums: &mut Sums,
    root: &RootWeight,
    width: usize,
    n: usize,
) {
    let n_entries = sums.logdet_by.len();
    for_each_pair(levels, width, n, |k, j, product| {
        let at = k * n_entries + j;
        sums.hessian[at] += 2.0 * weighted_trace(root, product, width);
        sums.hessian_rss[at] += 2.0 * quadratic(product, &root.e);
    });
}

fn second_of_gram(levels: &[Level], sums: &mut Sums, sets: &[Vec<f64>], width: usize, n: usize) {
    let n_entries = sums.logdet_by.len();
    for_each_pair(levels, width, n, |k, j, product| {
        let mut both = product.to_vec();
        for a in 0..width {
            for b in 0..width {
                both[a * width + b] += product[b * width + a];
            }
        }
        add_to_sets(sets, &mut sums.second, &both, (k, j), n_entries);
    });
}

/// Adds the second derivative by (k, j) and by (j, k) to each weighted sum.
fn add_to_sets(
    sets: &[Vec<f64>],
    sums: &mut [f64],
    matrix: &[f64],
    (k, j): (usize, usize),
    n: usize,
) {
    for (weights, sum) in sets.iter().zip(sums.chunks_exact_mut(matrix.len())) {
        let other = if k == j { 0.0 } else { weights[j * n + k] };
        axpy(weights[k * n + j] + other, matrix, sum);
    }
}

/// tr(C M) over the X block; 0 for ML.
fn weighted_trace(root: &RootWeight, matrix: &[f64], width: usize) -> f64 {
    let rank = width - 1;
    root.c.as_ref().map_or(0.0, |c| {
        (0..rank).map(|i| dot(&c[block(i, rank)], &matrix[i * width..i * width + rank])).sum()
    })
}

/// e'M e.
fn quadratic(matrix: &[f64], e: &[f64]) -> f64 {
    matrix.chunks_exact(e.len()).zip(e).map(|(row, value)| value * dot(row, e)).sum()
}
