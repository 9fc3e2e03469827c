//! Kernels against the formulas that they stand for, on matrices drawn at random.
//!
//! `make test` draws few of them; `make fuzz` draws thousands (`PROPTEST_CASES`).

use proptest::collection::vec;
use proptest::prelude::*;

use super::triangle::Triangle;
use super::{blocked, dense, eigen, many, small};

const EPS: f64 = f64::EPSILON;

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(24);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// A matrix of `rows` x `columns` between -1 and 1, with exact zeros among its elements.
fn elements(rows: usize, columns: usize) -> impl Strategy<Value = Vec<f64>> {
    vec(prop_oneof![8 => -1.0..1.0f64, 1 => Just(0.0)], rows * columns)
}

/// Orders around a panel's width, and small ones.
fn order() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1usize..12, 2 => 12usize..80, 1 => 90usize..200]
}

/// A B by its definition: row-major, of m x n and n x k.
fn by_definition(a: &[f64], b: &[f64], (m, n, k): (usize, usize, usize)) -> Vec<f64> {
    let entry = |at: usize| (0..n).map(|l| a[at / k * n + l] * b[l * k + at % k]).sum();
    (0..m * k).map(entry).collect()
}

/// The transpose of a row-major matrix of `rows` x `columns`; or the same matrix by columns.
fn flipped(a: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    (0..rows * columns).map(|at| a[(at % rows) * columns + at / rows]).collect()
}

fn lower(a: &[f64], n: usize) -> Vec<f64> {
    (0..n * n).map(|at| if at % n <= at / n { a[at] } else { 0.0 }).collect()
}

fn close(found: &[f64], right: &[f64], bound: f64) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), right.len());
    for (at, (x, y)) in found.iter().zip(right).enumerate() {
        prop_assert!((x - y).abs() <= bound, "element {}: {} instead of {}", at, x, y);
    }
    Ok(())
}

/// B B' + shift I, row-major and symmetric to the last bit.
fn positive_definite(b: &[f64], n: usize, shift: f64) -> Vec<f64> {
    let mut a = by_definition(b, &flipped(b, n, n), (n, n, n));
    (0..n).for_each(|i| a[i * n + i] += shift);
    dense::symmetrise(&mut a, n);
    a
}

/// A lower triangular matrix that is far from singular.
fn sound_lower(a: &[f64], n: usize) -> Vec<f64> {
    let mut l = lower(a, n);
    l.iter_mut().for_each(|x| *x /= n as f64);
    (0..n).for_each(|i| l[i * n + i] += if l[i * n + i] < 0.0 { -1.0 } else { 1.0 });
    l
}

fn square() -> impl Strategy<Value = (usize, Vec<f64>, Vec<f64>)> {
    order().prop_flat_map(|n| (Just(n), elements(n, n), elements(n, n)))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn factors_of_cholesky_multiply_back((n, b, _) in square(), shift in 1e-3..1.0f64) {
        let a = positive_definite(&b, n, shift);
        let (mut rows, mut columns) = (a.clone(), a.clone());
        dense::cholesky(&mut rows, n).expect("positive definite");
        let logdet = blocked::cholesky(&mut columns, n).expect("positive definite");
        let bound = 8.0 * (n + 2) as f64 * EPS * (n as f64 + 1.0);
        for l in [lower(&rows, n), lower(&flipped(&columns, n, n), n)] {
            close(&by_definition(&l, &flipped(&l, n, n), (n, n, n)), &a, bound)?;
        }
        let sum: f64 = (0..n).map(|i| 2.0 * rows[i * n + i].ln()).sum();
        prop_assert!((logdet - sum).abs() < 1e-7 * (1.0 + sum.abs()));
    }

    #[test]
    fn an_indefinite_matrix_has_no_factor((n, b, _) in square(), at in any::<prop::sample::Index>()) {
        let mut a = positive_definite(&b, n, 0.1);
        let k = at.index(n);
        a[k * n + k] = -1.0;
        prop_assert!(dense::cholesky(&mut a.clone(), n).is_err_and(|e| e.pivot <= k));
        prop_assert!(blocked::cholesky(&mut a, n).is_err_and(|e| e.pivot <= k));
    }

    #[test]
    fn triangular_systems_are_solved((n, a, b) in square()) {
        let l = sound_lower(&a, n);
        let bound = 1e-13 * (n * n) as f64;
        let mut x = b.clone();
        dense::solve_lower(&l, n, &mut x, n);
        close(&by_definition(&l, &x, (n, n, n)), &b, bound)?;
        let mut same = b.clone();
        dense::solve_lower_right(&l, n, &mut same, n, 0);
        prop_assert_eq!(&same, &x);
        let mut columns = flipped(&b, n, n);
        blocked::solve_lower(&flipped(&l, n, n), n, &mut columns, n);
        close(&flipped(&columns, n, n), &x, bound)?;
        let mut row = b[..n].to_vec();
        dense::solve_row_upper(&flipped(&l, n, n), n, &mut row);
        close(&by_definition(&row, &flipped(&l, n, n), (1, n, n)), &b[..n], bound)?;
    }

    #[test]
    fn inverses_of_triangles_are_inverses((n, a, _) in square()) {
        let l = sound_lower(&a, n);
        let mut inverse = vec![f64::NAN; n * n];
        dense::invert_lower(&l, n, &mut inverse);
        let bound = 1e-13 * (n * n) as f64;
        close(&by_definition(&l, &inverse, (n, n, n)), &small::identity(n), bound)?;
        let columns = blocked::inverse_lower(&flipped(&l, n, n), n);
        close(&flipped(&columns, n, n), &inverse, bound)?;
        let gram = blocked::gram_of_lower(&columns, n);
        let right = by_definition(&flipped(&inverse, n, n), &inverse, (n, n, n));
        close(&gram, &right, bound)?;
        prop_assert_eq!(&gram, &flipped(&gram, n, n));
    }

    #[test]
    fn products_are_sums_of_products(
        ((m, n, k), a, b) in (1usize..120, 1usize..20, 1usize..20).prop_flat_map(|shape| {
            (Just(shape), elements(shape.0, shape.1), elements(shape.1, shape.2))
        }),
    ) {
        let right = by_definition(&a, &b, (m, n, k));
        let bound = 2.0 * n as f64 * EPS * n as f64;
        close(&small::product(&a, &b, m, n, k), &right, bound)?;
        close(&blocked::row_product(&a, &b, n, k), &right, bound)?;
        let (tall, wide) = (a.clone(), flipped(&b, n, k));
        close(&blocked::transposed_product(&tall, &wide, n), &right, bound)?;
        let mut out = vec![f64::NAN; m * k];
        small::multiply_into(&a, &b, m, n, k, &mut out);
        close(&out, &right, bound)?;
        prop_assert_eq!(small::transpose(&a, m, n), flipped(&a, m, n));
    }

    #[test]
    fn a_sandwich_is_two_products((n, a, b) in square(), m in 1usize..9, sign in prop_oneof![Just(1.0), Just(-1.0)]) {
        let n = n.min(12);
        let m = m.min(n);
        let middle = positive_definite(&a[..n * n], n, 0.0);
        let outer = &b[..m * n];
        let mut found = vec![0.0; m * m];
        small::sandwich(outer, &middle, m, n, &mut found, sign);
        let half = by_definition(outer, &middle, (m, n, n));
        let right = by_definition(&half, &flipped(outer, m, n), (m, n, m));
        let right: Vec<f64> = right.iter().map(|x| sign * x).collect();
        close(&found, &right, 1e-12 * (n * n) as f64)?;
    }

    #[test]
    fn a_root_of_lost_rank_multiplies_back(n in 1usize..9, rank in 0usize..9, b in elements(9, 9)) {
        let rank = rank.min(n);
        let b = &b[..rank * n];
        let mut a = by_definition(&flipped(b, rank, n), b, (n, rank, n));
        dense::symmetrise(&mut a, n);
        let mut root = a.clone();
        dense::semidefinite_root(&mut root, n);
        prop_assert!(root.iter().all(|x| x.is_finite()));
        close(&by_definition(&flipped(&root, n, n), &root, (n, n, n)), &a, 1e-6 * (n + 1) as f64)?;
    }
}

/// The factor R of rows [D Y] and what it leaves, as cross-products.
fn gram_of(t: &mut Triangle, columns: usize, responses: usize) -> Vec<f64> {
    let (width, r) = (columns + responses, t.factor().to_vec());
    let mut gram = by_definition(&flipped(&r, columns, width), &r, (width, columns, width));
    (0..responses).for_each(|f| gram[(columns + f) * (width + 1)] += t.residual_squares[f]);
    gram
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_triangle_holds_the_cross_products_of_all_rows(
        columns in 0usize..6, responses in 1usize..3, n in 0usize..200, cut in 0usize..200,
        scales in vec(-6i32..6, 8), values in elements(200, 8),
    ) {
        let (width, cut) = (columns + responses, cut.min(n));
        let row = |i: usize| -> Vec<f64> {
            (0..width).map(|c| values[i * 8 + c] * 10f64.powi(scales[c])).collect()
        };
        let mut by_row = Triangle::new(columns, responses);
        (0..n).for_each(|i| by_row.push_row(&row(i)));
        let rows: Vec<f64> = (0..n).flat_map(row).collect();
        let whole = flipped(&rows, n, width);
        let (mut first, mut second) = (by_row.clone(), Triangle::new(columns, responses));
        first.clear();
        first.push_columns(&whole, n, 0, cut);
        second.push_columns(&whole, n, cut, n);
        first.merge(&mut second);
        let right = by_definition(&whole, &rows, (width, n, width));
        for t in [&mut by_row, &mut first] {
            let found = gram_of(t, columns, responses);
            for (i, j) in (0..width).flat_map(|i| (0..width).map(move |j| (i, j))) {
                // Products of two responses are kept for one response with itself alone.
                if i < columns || j < columns || i == j {
                    let size = (right[i * (width + 1)] * right[j * (width + 1)]).sqrt();
                    let gap = (found[i * width + j] - right[i * width + j]).abs();
                    prop_assert!(gap <= 1e-13 * (n + 10) as f64 * size, "{}, {}: {}", i, j, gap);
                }
            }
        }
    }

    #[test]
    fn singular_values_and_lower_roots_give_the_matrix_back(
        values in elements(4, 4), scales in vec(-8i32..8, 4),
    ) {
        let mut l = [[0.0; 4]; 4];
        for (i, row) in l.iter_mut().enumerate() {
            (0..4).for_each(|j| row[j] = values[4 * i + j] * 10f64.powi(scales[i]));
        }
        let size = |i: usize| l[i].iter().map(|x| x * x).sum::<f64>().sqrt();
        let norm = (0..4).map(size).fold(0.0, f64::max);
        let gram = |a: &eigen::Square<4>, i: usize, j: usize| -> f64 {
            (0..4).map(|k| a[i][k] * a[j][k]).sum()
        };
        let (u, d) = eigen::left_singular(&l);
        let root = eigen::lower_of(&l);
        prop_assert!(d.windows(2).all(|pair| pair[0] >= pair[1]) && d[3] >= 0.0);
        for (i, j) in (0..4).flat_map(|i| (0..4).map(move |j| (i, j))) {
            let scaled: f64 = (0..4).map(|k| u[i][k] * d[k] * d[k] * u[j][k]).sum();
            prop_assert!((scaled - gram(&l, i, j)).abs() <= 1e-14 * norm * norm);
            prop_assert!((gram(&u, i, j) - f64::from(u8::from(i == j))).abs() <= 1e-14);
            // Rows of the lower root are as exact as the rows that they come from.
            prop_assert!((gram(&root, i, j) - gram(&l, i, j)).abs() <= 1e-14 * size(i) * size(j));
            prop_assert!(i >= j || root[i][j] == 0.0, "above the diagonal");
            prop_assert!(root[i][i] >= 0.0, "on the diagonal");
        }
    }

    #[test]
    fn results_side_by_side_have_the_same_bits_on_threads(n in 0usize..300, size in 0usize..5) {
        let value = |k: usize, c: usize| ((k * 31 + c * 7) as f64).sin();
        let one = |k: usize| -> Vec<f64> { (0..size).map(|c| value(k, c)).collect() };
        let own = |k: usize, out: &mut [f64]| out.copy_from_slice(&one(k));
        let right: Vec<f64> = (0..n).flat_map(one).collect();
        for work in [0, 1_000_000] {
            prop_assert_eq!(&many::gather(n, work, one), &right);
            prop_assert_eq!(&many::fill(n, size, work, own), &right);
        }
        let add = |k: usize, out: &mut [f64]| (0..size).for_each(|c| out[c] += value(k, c));
        let sum: Vec<f64> = (0..size).map(|c| (0..n).map(|k| value(k, c)).sum()).collect();
        close(&many::pairwise(n, size, &add), &sum, 1e-13 * (n + 1) as f64)?;
    }
}
