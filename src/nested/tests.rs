//! Derivatives against differences.

use super::elimination::small_results;
use super::reduction::Reduction;
use crate::criterion::asked::{Asked, Request};
use crate::criterion::checks::{check_derivatives, evaluate};
use crate::criterion::engine::Engine;
use crate::criterion::sums::Entry;
use crate::rows::basis::Basis;
use crate::rows::columns::{Column, RowColumns};
use crate::rows::nesting::Nesting;
use crate::rows::rotation::alike::rotate_alike;
use crate::rows::rotation::rotate::rotate;

/// Three nested levels with slopes, weights and unbalanced units.
fn reduction(n_levels: usize) -> Reduction {
    let n = 120;
    let wave = |k: f64| -> Vec<f64> {
        (0..n)
            .map(|i| (f64::from(i) * k + 0.3).sin() + 0.1 * (f64::from(i) * k * 7.1).cos())
            .collect()
    };
    let codes: Vec<Vec<i32>> = vec![
        (0..n).map(|i| i / 30).collect(),
        (0..n).map(|i| i / 10).collect(),
        (0..n).map(|i| i / 4 + i / 30).collect(),
    ];
    let compact: Vec<Vec<i32>> = codes.iter().map(|c| renumber(c)).collect();
    let used: Vec<&[i32]> = match n_levels {
        1 => vec![&compact[1]],
        2 => vec![&compact[0], &compact[1]],
        _ => vec![&compact[0], &compact[1], &compact[1]],
    };
    let units: Vec<usize> =
        used.iter().map(|c| *c.iter().max().expect("rows") as usize + 1).collect();
    let nesting = Nesting::new(n as usize, &used, &units).expect("nested");
    let (t, x, y) = (wave(0.37), wave(1.7), wave(0.05));
    let weights: Vec<f64> = wave(0.9).iter().map(|v| (v + 2.0).sqrt()).collect();
    let slope = vec![Column::plain(None), Column::plain(Some(&t[..]))];
    let z = match n_levels {
        1 => vec![slope],
        2 => vec![slope.clone(), slope],
        _ => vec![vec![Column::plain(None)], slope, vec![Column::plain(Some(&x[..]))]],
    };
    let terms = z.iter().map(|z| vec![(z.len(), Basis::Orthonormal)]).collect::<Vec<_>>();
    let columns = RowColumns {
        z,
        x: vec![Column::plain(None), Column::plain(Some(&t)), Column::plain(Some(&x))],
        y: vec![Column::plain(Some(&y))],
        sqrt_weights: Some(&weights),
        ..RowColumns::default()
    };
    let rotated = rotate(&nesting, &columns);
    Reduction::new(rotated, &nesting, &[0.0; 3], &terms, (0, 0, 0), true, None)
        .expect("full rank Z")
}

fn renumber(codes: &[i32]) -> Vec<i32> {
    let mut met = Vec::new();
    codes
        .iter()
        .map(|c| {
            if let Some(i) = met.iter().position(|m| m == c) {
                i as i32
            } else {
                met.push(*c);
                met.len() as i32 - 1
            }
        })
        .collect()
}

/// Subjects of up to 4 visits, a third of them missing, inside (or without) random effects.
fn repeated(n_levels: usize) -> Reduction {
    let n = 120;
    let rows: Vec<(i32, i32)> = (0..n)
        .map(|i| (i / 4, i % 4))
        .filter(|(s, v)| (s * 7 + v * 5) % 3 != 0 || *v == 1)
        .collect();
    let subject = renumber(&rows.iter().map(|r| r.0).collect::<Vec<_>>());
    let site: Vec<i32> = subject.iter().map(|s| s / 5).collect();
    let visits: Vec<i32> = rows.iter().map(|r| r.1).collect();
    let wave = |k: f64| -> Vec<f64> { (0..rows.len()).map(|i| (i as f64 * k).sin()).collect() };
    let (t, y) = (wave(0.7), wave(2.3));
    let codes: Vec<&[i32]> = [&site[..], &subject[..]][2 - n_levels..].to_vec();
    let units: Vec<usize> =
        codes.iter().map(|c| *c.iter().max().expect("rows") as usize + 1).collect();
    let nesting = Nesting::new(rows.len(), &codes, &units).expect("nested");
    let slope = vec![Column::plain(None), Column::plain(Some(&t[..]))];
    let columns = RowColumns {
        z: if n_levels == 2 { vec![slope, Vec::new()] } else { vec![Vec::new()] },
        x: vec![Column::plain(None), Column::plain(Some(&t))],
        y: vec![Column::plain(Some(&y))],
        visits: Some((&visits, 4)),
        ..RowColumns::default()
    };
    let terms =
        if n_levels == 2 { vec![vec![(2, Basis::Orthonormal)], vec![]] } else { vec![vec![]] };
    let rotated = rotate(&nesting, &columns);
    Reduction::new(rotated, &nesting, &[0.0; 2], &terms, (0, 0, 0), true, None)
        .expect("full rank Z")
}

#[test]
fn derivatives_by_residual_covariances_agree_with_central_differences() {
    let r = [1.5, 0.4, 0.2, 0.1, 0.4, 1.2, 0.3, 0.2, 0.2, 0.3, 0.9, 0.4, 0.1, 0.2, 0.4, 1.1];
    for n_levels in 1..=2 {
        let g = vec![vec![0.8, 0.2, 0.2, 0.5], r.to_vec()][2 - n_levels..].to_vec();
        for reml in [true, false] {
            check_derivatives(&repeated(n_levels), &g, reml);
        }
    }
}

/// Covariances of the units of `repeated(1)` at (s, t), with derivatives: `R = exp(s) (I + t A)`.
fn unit_covariances(n_units: usize, s: f64, t: f64) -> Vec<f64> {
    let scale = s.exp();
    let parts: [(f64, f64); 6] = [
        (scale, scale * t),
        (scale, scale * t),
        (0.0, scale),
        (scale, scale * t),
        (0.0, scale),
        (0.0, 0.0),
    ];
    let mut out = Vec::new();
    for (identity, off) in parts {
        for unit in 0..n_units {
            for i in 0..4 {
                for j in 0..4 {
                    let a = if i == j { 0.0 } else { 0.3 + 0.05 * ((unit % 3) as f64) };
                    out.push(if i == j { identity } else { off * a });
                }
            }
        }
    }
    out
}

#[test]
fn derivatives_by_covariances_of_units_agree_with_central_differences() {
    let mut reduction = repeated(1);
    let units: usize = reduction.patterns.iter().map(|p| p.n_blocks).sum();
    // One pattern a unit, as without sharing.
    reduction.patterns = (0..units)
        .map(|first| crate::nested::patterns::Pattern { first, n_blocks: 1, n_full: 1, count: 1 })
        .collect();
    let entries = [Entry { level: 0, a: 0, b: 0 }; 2];
    let at =
        |s: f64, t: f64| evaluate(&reduction, &[unit_covariances(units, s, t)], &entries, true);
    let (s, t, step) = (0.2, 0.7, 1e-5);
    let here = at(s, t);
    for (k, (up, down)) in
        [(at(s + step, t), at(s - step, t)), (at(s, t + step), at(s, t - step))].iter().enumerate()
    {
        let slope = (up.value - down.value) / (2.0 * step);
        assert!((slope - here.gradient[k]).abs() < 1e-6 * (1.0 + slope.abs()));
        for l in 0..2 {
            let curve = (up.gradient[l] - down.gradient[l]) / (2.0 * step);
            assert!((curve - here.hessian[k * 2 + l]).abs() < 1e-5 * (1.0 + curve.abs()));
        }
    }
}

#[test]
fn derivatives_agree_with_central_differences() {
    for n_levels in 1..=3 {
        for reml in [true, false] {
            let reduction = reduction(n_levels);
            let g: Vec<Vec<f64>> = reduction
                .levels
                .iter()
                .enumerate()
                .map(|(l, b)| match b.q {
                    1 => vec![0.4 + l as f64],
                    _ => vec![0.8, 0.2, 0.2, 0.5 + l as f64],
                })
                .collect();
            check_derivatives(&reduction, &g, reml);
        }
    }
}

/// Two arms of subjects with up to 3 visits, the means of an arm equal at each, in mixed order.
#[test]
fn subjects_alike_give_the_sums_of_all_of_them() {
    let n = 1200;
    let at: Vec<(i32, i32)> = (0..n)
        .map(|i| (i * 7 % n / 3, i * 7 % n % 3))
        .filter(|(s, v)| *v == 0 || (s * 5 + v * 11) % 7 > 1)
        .collect();
    let subject = renumber(&at.iter().map(|r| r.0).collect::<Vec<_>>());
    let visits: Vec<i32> = at.iter().map(|r| r.1).collect();
    let wave = |k: f64| -> Vec<f64> { (0..at.len()).map(|i| (i as f64 * k).sin()).collect() };
    let arm: Vec<f64> = at.iter().map(|r| f64::from(r.0 % 2)).collect();
    let late: Vec<f64> = at.iter().map(|r| f64::from(u8::from(r.1 == 2))).collect();
    let (y, other) = (wave(2.3), wave(0.9));
    let weights: Vec<f64> = at.iter().map(|r| 1.0 + f64::from(r.0 % 4 / 3)).collect();
    let n_units = *subject.iter().max().expect("rows") as usize + 1;
    let nesting = Nesting::new(at.len(), &[&subject], &[n_units]).expect("one factor");
    for weighted in [false, true] {
        let columns = RowColumns {
            z: vec![Vec::new()],
            x: vec![Column::plain(None), Column::plain(Some(&arm)), Column::plain(Some(&late))],
            y: vec![Column::plain(Some(&y)), Column::plain(Some(&other))],
            visits: Some((&visits, 3)),
            sqrt_weights: weighted.then_some(&weights[..]),
            ..RowColumns::default()
        };
        let few = rotate_alike(&nesting, &columns).expect("many are alike");
        assert!(
            few.levels[0].response.len() < rotate(&nesting, &columns).levels[0].response.len() / 4
        );
        let reductions = [few, rotate(&nesting, &columns)].map(|rotated| {
            Reduction::new(rotated, &nesting, &[0.0; 3], &[vec![]], (0, 0, 0), true, None)
                .expect("no random effects")
        });
        let [few, all] = &reductions;
        let g = [vec![1.5, 0.4, 0.2, 0.4, 1.2, 0.3, 0.2, 0.3, 0.9]];
        let entries: Vec<Entry> =
            (0..3).flat_map(|a| (0..=a).map(move |b| Entry { level: 0, a, b })).collect();
        let [own, whole] = [few, all].map(|r| evaluate(r, &g, &entries, true));
        assert!((own.value - whole.value).abs() < 1e-10 * whole.value.abs());
        let close = |a: &[f64], b: &[f64]| {
            a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9 * (1.0 + b.abs()))
        };
        assert!(close(&own.gradient, &whole.gradient) && close(&own.hessian, &whole.hessian));
        assert!(close(&few.fixed.y_scale, &all.fixed.y_scale));
        assert_eq!(few.within().1, all.within().1);
        let moments = [few, all].map(|r| Engine::visit_moments(r, 1).expect("visits"));
        assert!(close(&moments[0].0, &moments[1].0) && close(&moments[0].1, &moments[1].1));
    }
}

/// Responses of one design at one G share what depends on that alone, a negative variance too.
#[test]
fn criteria_at_one_g_are_those_at_any() {
    let (n, n_fits) = (60, 11);
    let codes: Vec<i32> = (0..n).map(|i| i / 5).collect();
    let nesting = Nesting::new(n as usize, &[&codes], &[12]).expect("one factor");
    let value = |k: f64| (k * 0.61).sin();
    let x: Vec<Vec<f64>> =
        (1..4).map(|k| (0..n).map(|i| value(f64::from(k * i))).collect()).collect();
    let y: Vec<f64> = (0..n * n_fits).map(|k| value(f64::from(7 * k))).collect();
    for q in 1..4 {
        let column = |k: usize| Column::plain(if k == 0 { None } else { Some(&x[k - 1][..]) });
        let z: Vec<Column> = (0..q).map(column).collect();
        let columns = RowColumns {
            z: vec![z.clone()],
            x: z[..q.min(2)].to_vec(),
            y: y.chunks_exact(n as usize).map(|own| Column::plain(Some(own))).collect(),
            ..RowColumns::default()
        };
        let terms = [vec![(q, Basis::Orthonormal)]];
        let rotated = rotate(&nesting, &columns);
        let noise = [0.0; 2];
        let reduction =
            Reduction::new(rotated, &nesting, &noise[..q.min(2)], &terms, (0, 0, 0), true, None)
                .expect("full rank Z");
        let fits: Vec<(&Reduction, usize)> =
            (0..n_fits as usize).map(|fit| (&reduction, fit)).collect();
        for (variance, reml) in [(0.0, true), (0.7, true), (0.7, false), (-40.0, true)] {
            let mut g = crate::linalg::small::identity(q);
            g.iter_mut().for_each(|value| *value *= variance);
            let g: Vec<f64> = fits.iter().flat_map(|_| g.iter().copied()).collect();
            let criteria = |fits: &[(&Reduction, usize)], g: &[f64]| {
                let asked = Asked::Criteria;
                small_results(fits, Request { asked, g, weights: &[], reml })
            };
            let all = criteria(&fits, &g);
            for (k, fit) in fits.iter().enumerate() {
                let alone = criteria(&[*fit], &g[..q * q]);
                for (all, alone) in all.iter().zip(&alone) {
                    let own = &all[k * alone.len()..(k + 1) * alone.len()];
                    let bits = |values: &[f64]| -> Vec<u64> {
                        values.iter().map(|x| x.to_bits()).collect()
                    };
                    assert_eq!(bits(own), bits(alone), "{q} {variance} {k}");
                }
            }
        }
    }
}
