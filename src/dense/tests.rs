//! Derivatives against differences.

use super::*;
use crate::criterion::engine::{At, Engine, Wanted};
use crate::criterion::solution::Criterion;
use crate::criterion::sums::Entry;
use crate::rows::basis::Basis;
use crate::rows::columns::{Column, RowColumns, Values};
use crate::rows::relationship::Relationship;

fn plain(values: Option<&[f64]>) -> Column<'_> {
    Column { values: values.map(Values::contiguous), center: 0.0, scale: 1.0 }
}

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
        z: vec![vec![plain(None), plain(Some(&t))], vec![plain(None)]],
        x: vec![plain(None), plain(Some(&x))],
        y: vec![plain(Some(&y))],
        sqrt_weights: None,
        visits: Some((&visit, 4)),
        series: None,
    };
    let terms = [vec![(2, Basis::Orthonormal)], vec![(1, Basis::Orthonormal)]];
    Reduction::new(grouping, &columns, &[0.0; 2], &terms).expect("full rank Z")
}

fn evaluate(reduction: &Reduction, g: &[Vec<f64>], entries: &[Entry], reml: bool) -> Criterion {
    let wanted = Wanted { reml, derivatives: true, exact: true };
    let shapes = vec![Vec::new(); g.len()];
    reduction.evaluate(At { fit: 0, g, shapes: &shapes }, entries, wanted).expect("exact")
}

#[test]
fn derivatives_agree_with_central_differences() {
    let reduction = crossed();
    let r = [1.5, 0.4, 0.2, 0.1, 0.4, 1.2, 0.3, 0.2, 0.2, 0.3, 0.9, 0.4, 0.1, 0.2, 0.4, 1.1];
    let mut g = vec![vec![0.8, 0.2, 0.2, 0.5], vec![0.4], r.to_vec()];
    let mut entries = Vec::new();
    for (level, &q) in reduction.q.iter().enumerate() {
        for a in 0..q {
            entries.extend((0..=a).map(|b| Entry { level, a, b }));
        }
    }
    for reml in [true, false] {
        let at = evaluate(&reduction, &g, &entries, reml);
        assert!(at.value.is_finite());
        for (k, entry) in entries.iter().enumerate() {
            let mut moved = |by: f64| {
                let saved = g[entry.level].clone();
                let q = reduction.q[entry.level];
                g[entry.level][entry.a * q + entry.b] += by;
                if entry.a != entry.b {
                    g[entry.level][entry.b * q + entry.a] += by;
                }
                let out = evaluate(&reduction, &g, &entries, reml);
                g[entry.level] = saved;
                out
            };
            let (up, down) = (moved(1e-5), moved(-1e-5));
            let slope = (up.value - down.value) / 2e-5;
            assert!((slope - at.gradient[k]).abs() < 1e-6 * (1.0 + slope.abs()), "{k}");
            for l in 0..entries.len() {
                let curve = (up.gradient[l] - down.gradient[l]) / 2e-5;
                let ours = at.hessian[k * entries.len() + l];
                assert!((curve - ours).abs() < 1e-5 * (1.0 + curve.abs()), "{k} {l}");
            }
        }
    }
}
