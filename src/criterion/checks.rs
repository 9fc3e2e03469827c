//! What tests of engines share.

use super::engine::{At, Engine, Wanted};
use super::solution::Criterion;
use super::sums::Entry;

/// The criterion of the first response with exact derivatives.
pub(crate) fn evaluate(
    engine: &dyn Engine,
    g: &[Vec<f64>],
    entries: &[Entry],
    reml: bool,
) -> Criterion {
    let wanted = Wanted { reml, derivatives: true, exact: true };
    let shapes = vec![Vec::new(); g.len()];
    engine.evaluate(At { fit: 0, g, shapes: &shapes }, entries, wanted).expect("a direct engine")
}

/// Gradient and Hessian by all entries of G against central differences.
pub(crate) fn check_derivatives(engine: &dyn Engine, g: &[Vec<f64>], reml: bool) {
    let orders: Vec<usize> = engine.levels().iter().map(|level| level.0).collect();
    let of_level = |level: usize| {
        (0..orders[level]).flat_map(move |a| (0..=a).map(move |b| Entry { level, a, b }))
    };
    let entries: Vec<Entry> = (0..orders.len()).flat_map(of_level).collect();
    let here = evaluate(engine, g, &entries, reml);
    assert!(here.value.is_finite());
    let step = 1e-5;
    for (k, entry) in entries.iter().enumerate() {
        let q = orders[entry.level];
        let moved = |by: f64| {
            let mut g = g.to_vec();
            g[entry.level][entry.a * q + entry.b] += by;
            if entry.a != entry.b {
                g[entry.level][entry.b * q + entry.a] += by;
            }
            evaluate(engine, &g, &entries, reml)
        };
        let (up, down) = (moved(step), moved(-step));
        let close = |difference: f64, ours: f64, tolerance: f64, what: &str| {
            let slope = difference / (2.0 * step);
            let error = (slope - ours).abs();
            assert!(error < tolerance * (1.0 + slope.abs()), "reml {reml} {what}: {slope} {ours}");
        };
        close(up.value - down.value, here.gradient[k], 1e-6, &format!("gradient {k}"));
        for l in 0..entries.len() {
            let ours = here.hessian[k * entries.len() + l];
            close(up.gradient[l] - down.gradient[l], ours, 1e-5, &format!("hessian {k} {l}"));
        }
    }
}
