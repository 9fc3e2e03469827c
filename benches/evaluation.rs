//! Times one evaluation of the criterion: `cargo bench`.
//!
//! Prints microseconds, medians over repetitions, of value and derivatives for a random-intercept,
//! a random-slope and a nested design, and the one pass that reduces the rows. No Python needed.

use std::time::Instant;

use mlmfast::criterion::engine::{At, Engine, Wanted};
use mlmfast::criterion::sums::Entry;
use mlmfast::nested::reduction::Reduction;
use mlmfast::rows::basis::Basis;
use mlmfast::rows::columns::{Column, RowColumns};
use mlmfast::rows::nesting::Nesting;
use mlmfast::rows::rotation::rotate::rotate;

const N_ROWS: usize = 200_000;
const N_FIXED: usize = 6;

fn wave(k: f64) -> Vec<f64> {
    (0..N_ROWS).map(|i| (i as f64 * k).sin() + 0.3 * (i as f64 * k * 0.013).cos()).collect()
}

/// Median seconds of `task`.
fn median(repetitions: usize, mut task: impl FnMut()) -> f64 {
    let mut seconds: Vec<f64> = (0..repetitions)
        .map(|_| {
            let start = Instant::now();
            task();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[repetitions / 2]
}

fn main() {
    let x: Vec<Vec<f64>> = (1..N_FIXED).map(|k| wave(0.37 * k as f64)).collect();
    let y = wave(1.9);
    // Unequal units, so that few of them share a factorization.
    let inner: Vec<i32> = (0..N_ROWS).map(|i| ((i * 10 + i % 7) / 200) as i32).collect();
    let outer: Vec<i32> = inner.iter().map(|u| u / 20).collect();
    for (name, levels, slopes) in
        [("(1 | g)", 1, 1), ("(x1 + x2 | g)", 1, 3), ("(1 | a/b)", 2, 1), ("(x1 | a/b)", 2, 2)]
    {
        let codes: Vec<&[i32]> = [&outer[..], &inner[..]][2 - levels..].to_vec();
        let units: Vec<usize> =
            codes.iter().map(|c| *c.last().expect("rows") as usize + 1).collect();
        let nesting = Nesting::new(N_ROWS, &codes, &units).expect("nested");
        let z: Vec<Column> =
            [Column::plain(None), Column::plain(Some(&x[0])), Column::plain(Some(&x[1]))][..slopes]
                .to_vec();
        let columns = RowColumns {
            z: vec![z; levels],
            x: std::iter::once(Column::plain(None))
                .chain(x.iter().map(|c| Column::plain(Some(c))))
                .collect(),
            y: vec![Column::plain(Some(&y))],
            ..RowColumns::default()
        };
        let terms = vec![vec![(slopes, Basis::Orthonormal)]; levels];
        let reduce = || {
            let rotated = rotate(&nesting, &columns);
            Reduction::new(rotated, &nesting, &[0.0; N_FIXED], &terms, (0, 0, 0), true, None)
                .expect("full rank")
        };
        let pass = median(5, || drop(reduce()));
        let reduction = reduce();
        let identity: Vec<f64> =
            (0..slopes * slopes).map(|i| f64::from(u8::from(i % (slopes + 1) == 0))).collect();
        let g = vec![identity; levels];
        let entries: Vec<Entry> = (0..levels)
            .flat_map(|level| {
                (0..slopes).flat_map(move |a| (0..=a).map(move |b| Entry { level, a, b }))
            })
            .collect();
        let at = At { fit: 0, g: &g, shapes: &[] };
        let wanted = |derivatives| Wanted { reml: true, derivatives, exact: true };
        let value = median(21, || drop(reduction.evaluate(at, &[], wanted(false))));
        let all = median(21, || drop(reduction.evaluate(at, &entries, wanted(true))));
        println!(
            "{name:16} {N_ROWS} rows: pass {:9.0} us, value {:7.0} us, derivatives {:7.0} us",
            1e6 * pass,
            1e6 * value,
            1e6 * all
        );
    }
}
