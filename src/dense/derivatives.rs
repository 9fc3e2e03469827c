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

use super::component::{Component, Factored};
use super::levels::{Level, add_to_sets, products, quadratic, weighted_trace};
use super::template::Template;
use super::traces::traces;
use crate::criterion::sums::{Entry, RootWeight, Sums};
use crate::linalg::blocked::LARGE;
use crate::running::memory::zeros;
use crate::running::stop::check;
use crate::running::threads;

/// What is wanted besides the first derivatives.
pub enum Second<'a> {
    /// Second derivatives of the criterion under the weight of the root.
    Criterion(&'a RootWeight),
    /// Second derivatives of the cross-product: sums with these weights, `n` x `n` each.
    Gram(&'a [Vec<f64>]),
}

/// Sums of one component.
pub fn derivatives(
    component: &Component,
    factored: &Factored,
    g: &[Template],
    entries: &[Entry],
    wanted: &Second,
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
        Second::Criterion(root) => {
            traces(&levels, &mut sums, &bends);
            second_of_criterion(&levels, &mut sums, root, width, factored.n);
            if let Some(level) = residual {
                level.bend_criterion(&bends, root, &mut sums, width, n_entries);
            }
        }
        Second::Gram(sets) => {
            sums.second = zeros(sets.len() * width * width);
            second_of_gram(&levels, &mut sums, sets, width, factored.n);
            if let Some(level) = residual {
                level.bend_gram(&bends, sets, &mut sums, width, n_entries);
            }
        }
    }
    sums
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
        let rows: Vec<(usize, Vec<f64>)> = if n > LARGE && position > 4 {
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
