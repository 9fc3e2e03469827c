//! What Newton's iteration asks of small symmetric matrices, for all fits of a batch in one call.
//!
//! The iteration itself is Python's, but for steps that are ordinary; nothing here knows of models.
//! Orders are known to the compiler; each fit's numbers are its own, so they are the same alone and
//! in a batch.

pub mod autocorrelations;
pub mod blocks;
pub mod from_zero;
pub mod ordinary;
mod scored;
pub mod steps;
pub mod unstructured;

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
    let mut out = sizes.map(|size| vec![0.0; n * size]);
    if n < MANY {
        stop::check();
        run(0, n, sizes, out.each_mut().map(|part| &mut part[..]), &one);
        return out;
    }
    let mut tasks = Vec::with_capacity(n.div_ceil(TASK));
    let mut rest = out.each_mut().map(|part| &mut part[..]);
    for first in (0..n).step_by(TASK) {
        let here = TASK.min(n - first);
        let mut own: [&mut [f64]; M] = std::array::from_fn(|_| &mut [][..]);
        for ((own, rest), size) in own.iter_mut().zip(&mut rest).zip(sizes) {
            let (head, tail) = std::mem::take(rest).split_at_mut(here * size);
            (*own, *rest) = (head, tail);
        }
        tasks.push((first, here, own));
    }
    threads::each(tasks, |(first, here, own)| run(first, here, sizes, own, &one));
    out
}

fn run<const M: usize>(
    first: usize,
    n: usize,
    sizes: [usize; M],
    mut out: [&mut [f64]; M],
    one: &impl Fn(usize, [&mut [f64]; M]),
) {
    for k in 0..n {
        let mut at = 0;
        let own = out.each_mut().map(|part| {
            let size = sizes[at];
            at += 1;
            &mut part[k * size..(k + 1) * size]
        });
        one(first + k, own);
    }
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
