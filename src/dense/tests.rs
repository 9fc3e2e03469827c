//! Derivatives against differences.

use super::*;
use crate::criterion::checks::check_derivatives;
use crate::rows::basis::Basis;
use crate::rows::columns::{Column, RowColumns};
use crate::rows::relationship::Relationship;

/// Items across subjects with visits, the items related.
fn crossed() -> Reduction {
    let n = 60;
    let subject: Vec<i32> = (0..n).map(|i| i / 6).collect();
    let visit: Vec<i32> = (0..n).map(|i| i % 6 % 3 + 3 * i32::from(i % 7 == 0)).collect();
    let unit: Vec<i32> = (0..n).map(|i| (i / 3) % 20).collect();
    let item: Vec<i32> = (0..n).map(|i| (i * 5 + i / 7) % 8).collect();
    let wave = |k: f64| -> Vec<f64> { (0..n).map(|i| (f64::from(i) * k + 0.2).sin()).collect() };
    let (t, x, y) = (wave(0.37), wave(1.7), wave(0.05));
    let visit: Vec<i32> =
        unit.iter().enumerate().map(|(i, _)| if visit[i] > 2 { 3 } else { i as i32 % 3 }).collect();
    let related =
        |i: usize, j: usize| if i == j { 1.3 } else { 0.5_f64.powi(i.abs_diff(j) as i32) };
    let relationship = Relationship {
        first: (0..=8).map(|i| i * 8).collect(),
        columns: (0..64).map(|i| i % 8).collect(),
        values: (0..64).map(|i| related(i / 8, i % 8)).collect(),
    };
    let components = vec![0; n as usize];
    let grouping = Grouping {
        n_rows: n as usize,
        codes: vec![&item, &subject, &unit],
        n_units: vec![8, 10, 20],
        components: (&components, 1),
        relationships: vec![Some(relationship), None],
    };
    let columns = RowColumns {
        z: vec![vec![Column::plain(None), Column::plain(Some(&t))], vec![Column::plain(None)]],
        x: vec![Column::plain(None), Column::plain(Some(&x))],
        y: vec![Column::plain(Some(&y))],
        visits: Some((&visit, 4)),
        ..RowColumns::default()
    };
    let terms = [vec![(2, Basis::Orthonormal)], vec![(1, Basis::Orthonormal)]];
    Reduction::new(grouping, &columns, &[0.0; 2], &terms).expect("full rank Z")
}

#[test]
fn derivatives_agree_with_central_differences() {
    let r = [1.5, 0.4, 0.2, 0.1, 0.4, 1.2, 0.3, 0.2, 0.2, 0.3, 0.9, 0.4, 0.1, 0.2, 0.4, 1.1];
    let g = [vec![0.8, 0.2, 0.2, 0.5], vec![0.4], r.to_vec()];
    for reml in [true, false] {
        check_derivatives(&crossed(), &g, reml);
    }
}
