//! Many small designs: fits side by side, no memory but that of the results.

use std::ops::Range;

use super::at::{At, Failed};
use super::likelihood::{criteria, likelihood, second_sums, solutions};
use super::one_g::Shared;
use super::sizes::with_sizes;
use crate::criterion::asked::{Asked, Request};
use crate::linalg::lanes::{Four, LANES, Lane};
use crate::nested::reduction::Reduction;
use crate::running::memory::zeros;
use crate::running::{stop, threads};

/// Fits of one task, from more of which several threads take part.
const TASK: usize = 4 * LANES;
/// The same at one G, where each task first finds what its fits share, and how many fits there are at
/// least for that to pay.
const TASK_OF_ONE_G: usize = 16 * LANES;
const ENOUGH_OF_ONE_G: usize = 2 * LANES;
/// Fits from which they are taken side by side: lanes without a fit cost as much as the others.
const SIDE_BY_SIDE: usize = 2;
/// Columns of [X y] up to which fits are taken side by side: more do not fit the registers.
const MOST_COLUMNS: usize = 4;

/// What is asked of fits, each of a reduction with the sizes of the first, for which
/// [`super::is_small`] holds.
#[must_use]
pub fn small_results(fits: &[(&Reduction, usize)], request: Request) -> Vec<Vec<f64>> {
    let Some(&(first, _)) = fits.first() else { return Vec::new() };
    let sizes = request.asked.sizes(first.levels[0].q, first.rank());
    let mut out: Vec<Vec<f64>> = sizes.iter().map(|size| zeros(fits.len() * size)).collect();
    let mut rest: Vec<&mut [f64]> = out.iter_mut().map(|part| &mut part[..]).collect();
    let of_one_g = request.asked == Asked::Criteria && has_one_g(fits, request.g);
    let size = if of_one_g { TASK_OF_ONE_G } else { TASK };
    let mut tasks = Vec::with_capacity(fits.len().div_ceil(size));
    for first in (0..fits.len()).step_by(size) {
        let here = first..(first + size).min(fits.len());
        let own = cut(&mut rest, &sizes, here.len());
        tasks.push((here, own));
    }
    threads::each(tasks, |(here, mut slots): (Range<usize>, Vec<&mut [f64]>)| {
        let done = of_one_g && run_one_g(fits, here.clone(), request, &sizes, &mut slots).is_ok();
        if !done {
            run(fits, here, request, &sizes, &mut slots);
        }
    });
    out
}

/// Are fits responses of one design, looked at at one G?
fn has_one_g(fits: &[(&Reduction, usize)], g: &[f64]) -> bool {
    let size = g.len() / fits.len();
    let same = |own: &[f64]| own.iter().zip(&g[..size]).all(|(x, y)| x.to_bits() == y.to_bits());
    fits.len() >= ENOUGH_OF_ONE_G
        && fits.iter().all(|&(own, _)| std::ptr::eq(own, fits[0].0))
        && g.chunks_exact(size).all(same)
}

/// [`run`] of responses of one design at one G; nothing is written where that cannot be.
fn run_one_g(
    fits: &[(&Reduction, usize)],
    here: Range<usize>,
    request: Request,
    sizes: &[usize],
    slots: &mut [&mut [f64]],
) -> Result<(), Failed> {
    let (q, w) = (fits[0].0.levels[0].q, fits[0].0.rank() + 1);
    if w > MOST_COLUMNS {
        return Err(Failed);
    }
    with_sizes!(q, w, Four, one_g, (fits, here, request, sizes, slots); 1, 2, 3, 4)
}

fn one_g<V: Lane, const Q: usize, const W: usize, const N: usize>(
    fits: &[(&Reduction, usize)],
    here: Range<usize>,
    request: Request,
    sizes: &[usize],
    slots: &mut [&mut [f64]],
) -> Result<(), Failed> {
    let first = here.start..here.start + 1;
    let shared = Shared::<Q, W, N>::of(&At::of(fits, first, request)?)?;
    in_steps(LANES, here, sizes, slots, |some, own| {
        let found =
            At::of(fits, some.clone(), request).and_then(|at| shared.criteria::<V>(&at, own));
        if found.is_err() {
            each_alone(fits, some, request, sizes, own);
        }
    });
    Ok(())
}

/// Calls with some fits at a time, `at_once` of them or the last, and with their numbers.
fn in_steps(
    at_once: usize,
    here: Range<usize>,
    sizes: &[usize],
    slots: &mut [&mut [f64]],
    mut of_some: impl FnMut(Range<usize>, &mut [&mut [f64]]),
) {
    let mut rest: Vec<&mut [f64]> = slots.iter_mut().map(|slot| &mut **slot).collect();
    for first in here.clone().step_by(at_once) {
        stop::check();
        let some = first..(first + at_once).min(here.end);
        let mut own = cut(&mut rest, sizes, some.len());
        of_some(some, &mut own);
    }
}

/// Takes the first `n` fits' numbers off each of some results.
fn cut<'a>(rest: &mut [&'a mut [f64]], sizes: &[usize], n: usize) -> Vec<&'a mut [f64]> {
    let mut out = Vec::with_capacity(sizes.len());
    for (rest, size) in rest.iter_mut().zip(sizes) {
        let (head, tail) = std::mem::take(rest).split_at_mut(n * size);
        *rest = tail;
        out.push(head);
    }
    out
}

/// Fits of one task: side by side where there are enough, have the same patterns and V is positive
/// definite in all; else one after the other, to the same bits.
fn run(
    fits: &[(&Reduction, usize)],
    here: Range<usize>,
    request: Request,
    sizes: &[usize],
    slots: &mut [&mut [f64]],
) {
    in_steps(LANES, here, sizes, slots, |some, own| {
        let enough = some.len() >= SIDE_BY_SIDE;
        if !(enough && four(fits, some.clone(), request, own).is_ok()) {
            each_alone(fits, some, request, sizes, own);
        }
    });
}

/// Fits one after the other.
fn each_alone(
    fits: &[(&Reduction, usize)],
    some: Range<usize>,
    request: Request,
    sizes: &[usize],
    slots: &mut [&mut [f64]],
) {
    in_steps(1, some, sizes, slots, |one_fit, alone| {
        // What lanes wrote before one failed.
        alone.iter_mut().for_each(|slot| slot.fill(0.0));
        if one(fits, one_fit.start, request, alone).is_err() {
            request.asked.fail(alone);
        }
    });
}

fn four(
    fits: &[(&Reduction, usize)],
    some: Range<usize>,
    request: Request,
    slots: &mut [&mut [f64]],
) -> Result<(), Failed> {
    if fits[some.start].0.rank() + 1 > MOST_COLUMNS {
        return Err(Failed);
    }
    let at = At::of(fits, some, request)?;
    let (q, w) = (at.q, at.w);
    match request.asked {
        Asked::Criteria => with_sizes!(q, w, Four, criteria, (&at, slots); 1, 2, 3, 4),
        Asked::Likelihood => with_sizes!(q, w, Four, likelihood, (&at, slots); 1, 2, 3, 4),
        Asked::Solutions => with_sizes!(q, w, Four, solutions, (&at, slots); 1, 2, 3, 4),
        Asked::SecondSums => with_sizes!(q, w, Four, second_sums, (&at, slots); 1, 2, 3, 4),
    }
}

fn one(
    fits: &[(&Reduction, usize)],
    k: usize,
    request: Request,
    slots: &mut [&mut [f64]],
) -> Result<(), Failed> {
    let at = At::of(fits, k..k + 1, request)?;
    let (q, w) = (at.q, at.w);
    match request.asked {
        Asked::Criteria => with_sizes!(q, w, f64, criteria, (&at, slots)),
        Asked::Likelihood => with_sizes!(q, w, f64, likelihood, (&at, slots)),
        Asked::Solutions => with_sizes!(q, w, f64, solutions, (&at, slots)),
        Asked::SecondSums => with_sizes!(q, w, f64, second_sums, (&at, slots)),
    }
}
