//! Random numbers of many streams at once, the same bits as numpy's, by state.
//!
//! A stream is a state of PCG64DXSM: what is drawn from it depends on that alone, so that streams are
//! drawn side by side in any order.

mod pcg;
mod tables;
mod ziggurat;

use crate::running::{memory, stop, threads};
use pcg::Pcg;

/// Words of a state.
const WORDS: usize = 4;
/// Numbers below which threads cost more than they save.
const PARALLEL: usize = 50_000;
/// Numbers of a task.
const TASK: usize = 10_000;

/// What a part of a stream's numbers is drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Standard normal.
    Normal,
    /// Uniform over [0, 1).
    Uniform,
}

/// The numbers of `parts`, drawn one after the other from each stream; stream by stream.
///
/// # Parameters
/// Four words of each stream, in `states`: state and increment, high words first.
#[must_use]
pub fn numbers(states: &[u64], parts: &[(Kind, usize)]) -> Vec<f64> {
    let width: usize = parts.iter().map(|(_, n)| n).sum();
    let mut out = memory::zeros((states.len() / WORDS).saturating_mul(width));
    if out.is_empty() {
        return out;
    }
    let streams = if out.len() < PARALLEL { states.len() } else { (TASK / width).max(1) };
    let tasks = states.chunks(streams * WORDS).zip(out.chunks_mut(streams * width));
    threads::each(tasks, |(states, out)| {
        for (state, own) in states.chunks_exact(WORDS).zip(out.chunks_exact_mut(width)) {
            stop::check();
            draw(Pcg::new(state), parts, own);
        }
    });
    out
}

fn draw(mut stream: Pcg, parts: &[(Kind, usize)], mut out: &mut [f64]) {
    for &(kind, n) in parts {
        let (own, rest) = out.split_at_mut(n);
        match kind {
            Kind::Normal => own.fill_with(|| ziggurat::normal(&mut stream)),
            Kind::Uniform => own.fill_with(|| stream.uniform()),
        }
        out = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(n: u64) -> Vec<u64> {
        (0..n).flat_map(|k| [k, 3 * k + 1, 7, 2 * k + 1]).collect()
    }

    #[test]
    fn streams_are_the_same_alone_and_among_many() {
        let (states, parts) = (states(600), [(Kind::Normal, 90), (Kind::Uniform, 10)]);
        let together = numbers(&states, &parts);
        for (state, found) in states.chunks(WORDS).zip(together.chunks(100)) {
            assert_eq!(numbers(state, &parts), found);
        }
    }

    #[test]
    fn moments_and_tails_are_those_of_the_normal_distribution() {
        let z = numbers(&states(1 << 10), &[(Kind::Normal, 1 << 10)]);
        let n = z.len() as f64;
        let mean = |f: &dyn Fn(f64) -> f64| z.iter().map(|&x| f(x)).sum::<f64>() / n;
        // Five Monte Carlo standard errors.
        assert!(mean(&|x| x).abs() < 5.0 / n.sqrt());
        assert!((mean(&|x| x * x) - 1.0).abs() < 5.0 * (2.0 / n).sqrt());
        assert!((mean(&|x| x.powi(4)) - 3.0).abs() < 5.0 * (96.0 / n).sqrt());
        // 2 (1 - Phi(3.7)), beyond the last layer.
        let beyond = 2.155_987_6e-4;
        let found = mean(&|x| f64::from(u8::from(x.abs() > 3.7)));
        assert!((found - beyond).abs() < 5.0 * (beyond / n).sqrt());
    }

    #[test]
    fn uniform_numbers_fill_the_unit_interval() {
        let u = numbers(&states(1 << 8), &[(Kind::Uniform, 1 << 10)]);
        assert!(u.iter().all(|x| (0.0..1.0).contains(x)));
        let n = u.len() as f64;
        assert!((u.iter().sum::<f64>() / n - 0.5).abs() < 5.0 * (1.0 / 12.0 / n).sqrt());
    }
}
