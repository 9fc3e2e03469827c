//! What Newton's iteration asks of small symmetric matrices, for all fits of a batch in one call.
//!
//! The iteration itself is Python's, but for steps that are ordinary; nothing here knows of models.
//! Orders are known to the compiler; each fit's numbers are its own, so they are the same alone and
//! in a batch.

pub mod autocorrelations;
pub mod blocks;
pub mod eigenvalues;
pub mod from_zero;
mod looks;
pub mod ordinary;
mod scored;
pub mod steps;
pub mod unstructured;

use std::ops::Range;

use crate::running::{stop, threads};

/// Largest order with code of its own.
pub const MOST: usize = 6;
/// Fits from which several threads take part, and fits of one task.
const MANY: usize = 256;
const TASK: usize = 64;

/// Calls a function with the order of matrices as a constant.
macro_rules! with_order {
    ($order:expr, $function:ident $arguments:tt) => {
        with_order!($order, $function $arguments; 1, 2, 3, 4, 5, 6)
    };
    ($order:expr, $function:ident $arguments:tt; $($known:literal),*) => {
        match $order {
            $($known => with_order!(@ $function, $known, $arguments),)*
            _ => unreachable!("the order was looked at"),
        }
    };
    // Of lanes.
    ($order:expr, $function:ident of $lane:ty, $arguments:tt; $($known:literal),*) => {
        match $order {
            $($known => with_order!(@ $function, $lane, $known, $arguments),)*
            _ => unreachable!("the order was looked at"),
        }
    };
    (@ $function:ident, $lane:ty, $order:literal, ($($argument:expr),*)) => {
        $function::<$lane, $order>($($argument),*)
    };
    (@ $function:ident, $order:literal, ($($argument:expr),*)) => {
        $function::<$order>($($argument),*)
    };
}
pub(crate) use with_order;

/// Results of `n` fits, `sizes` numbers each: `one` writes those of a fit.
pub(crate) fn by_fit<const M: usize>(
    n: usize,
    sizes: [usize; M],
    one: impl Fn(usize, [&mut [f64]; M]) + Sync + Send,
) -> [Vec<f64>; M] {
    side_by_side(n, sizes, 1, |fits, own| one(fits.start, own))
}

/// [`by_fit`] with `at_once` fits at a time, or the last: `some` writes theirs.
pub(crate) fn side_by_side<const M: usize>(
    n: usize,
    sizes: [usize; M],
    at_once: usize,
    some: impl Fn(Range<usize>, [&mut [f64]; M]) + Sync + Send,
) -> [Vec<f64>; M] {
    let mut out = sizes.map(|size| vec![0.0; n * size]);
    let run = |first: usize, n: usize, mut own: [&mut [f64]; M]| {
        for k in (0..n).step_by(at_once) {
            let here = at_once.min(n - k);
            some(first + k..first + k + here, cut(&mut own, sizes, here));
        }
    };
    let mut rest = out.each_mut().map(|part| &mut part[..]);
    if n < MANY {
        stop::check();
        run(0, n, rest);
        return out;
    }
    let mut tasks = Vec::with_capacity(n.div_ceil(TASK));
    for first in (0..n).step_by(TASK) {
        let here = TASK.min(n - first);
        tasks.push((first, here, cut(&mut rest, sizes, here)));
    }
    threads::each(tasks, |(first, here, own)| run(first, here, own));
    out
}

/// Takes the first `n` fits' numbers off each of some results.
#[inline(always)]
fn cut<'a, const M: usize>(
    rest: &mut [&'a mut [f64]; M],
    sizes: [usize; M],
    n: usize,
) -> [&'a mut [f64]; M] {
    let mut own: [&mut [f64]; M] = std::array::from_fn(|_| &mut [][..]);
    for ((own, rest), size) in own.iter_mut().zip(rest).zip(sizes) {
        let (head, tail) = std::mem::take(rest).split_at_mut(n * size);
        (*own, *rest) = (head, tail);
    }
    own
}

/// The k-th of some square matrices.
#[inline(always)]
pub(crate) fn matrix<const K: usize>(all: &[f64], k: usize) -> [[f64; K]; K] {
    let mut out = [[0.0; K]; K];
    for (row, from) in out.iter_mut().zip(all[k * K * K..(k + 1) * K * K].chunks_exact(K)) {
        row.copy_from_slice(from);
    }
    out
}

/// The k-th of some vectors.
#[inline(always)]
fn vector<const K: usize>(all: &[f64], k: usize) -> [f64; K] {
    let mut out = [0.0; K];
    out.copy_from_slice(&all[k * K..(k + 1) * K]);
    out
}
