//! theta of several unstructured covariances, one after the other.

use std::ops::Range;

use super::steps::{self, led_one};
use super::unstructured::{Axes, axes_one, chart_at, matrix_one, moved_at};
use super::with_order;
use crate::linalg::eigen::Square;
use crate::linalg::lanes::Lane;

/// An unstructured covariance: its level, first row there and order (up to 3).
#[derive(Clone, Copy)]
pub struct Block {
    /// Position of the level.
    pub level: usize,
    /// First row and column in the level's G.
    pub first: usize,
    /// Order.
    pub order: usize,
}

/// A criterion by the entries of G at a theta.
#[derive(Clone, Copy)]
pub(super) struct Point<const T: usize> {
    pub(super) theta: [f64; T],
    pub(super) value: f64,
    pub(super) gradient: [f64; T],
    pub(super) hessian: Square<T>,
    pub(super) expected: Square<T>,
}

impl Block {
    /// Its stretch of theta, from a place on.
    #[inline(always)]
    fn stretch(&self, first: usize) -> Range<usize> {
        first..first + self.order * (self.order + 1) / 2
    }

    /// The covariance at its theta.
    pub(super) fn matrix(&self, theta: &[f64], put: impl FnMut(usize, usize, f64)) {
        with_order!(self.order, matrix_of(theta, put); 1, 2, 3);
    }
}

fn matrix_of<const K: usize>(theta: &[f64], put: impl FnMut(usize, usize, f64)) {
    matrix_one::<K>(theta, put);
}

/// Gradient, Hessian and expected Hessian of a criterion.
pub(super) type Derivatives<const T: usize, V> = ([V; T], Square<T, V>, Square<T, V>);

/// Calls with each block and its stretch of theta.
#[inline(always)]
pub(super) fn each_block(blocks: &[Block], mut of_block: impl FnMut(&Block, Range<usize>)) {
    let mut own = 0..0;
    for block in blocks {
        own = block.stretch(own.end);
        of_block(block, own.clone());
    }
}

/// Q and D of each block, one after the other in the block's stretch of theta.
pub(super) type AxesOf<const T: usize, V> = [[V; 2]; T];

/// Those of some blocks at theta, of a fit or of one in each lane.
#[inline(always)]
pub(super) fn axes<V: Lane, const T: usize>(blocks: &[Block], theta: &[V; T]) -> AxesOf<T, V> {
    let mut out = [[V::splat(0.0); 2]; T];
    // A closure is not always inlined, and lanes then go through memory.
    let mut own = 0..0;
    for block in blocks {
        own = block.stretch(own.end);
        let of_block = (&theta[own.clone()], out[own.clone()].as_flattened_mut());
        with_order!(block.order, axes_of of V, (of_block); 1, 2, 3);
    }
    out
}

#[inline(always)]
fn axes_of<V: Lane, const K: usize>((theta, out): (&[V], &mut [V])) {
    let (u, d) = axes_one::<V, K>(theta);
    out[..K * K].copy_from_slice(u.as_flattened());
    out[K * K..].copy_from_slice(&d);
}

#[inline(always)]
fn read<V: Lane, const K: usize>(axes: &[[V; 2]]) -> Axes<K, V> {
    let zero = V::splat(0.0);
    let (axes, mut u, mut d) = (axes.as_flattened(), [[zero; K]; K], [zero; K]);
    u.as_flattened_mut().copy_from_slice(&axes[..K * K]);
    d.copy_from_slice(&axes[K * K..]);
    (u, d)
}

/// Derivatives by local coordinates.
#[inline(always)]
pub(super) fn led<V: Lane, const T: usize>(
    blocks: &[Block],
    axes: &AxesOf<T, V>,
    (by, second, average): &Derivatives<T, V>,
) -> Derivatives<T, V> {
    let zero = V::splat(0.0);
    let (mut jacobian, mut curvature) = ([[zero; T]; T], [[zero; T]; T]);
    let mut own = 0..0;
    for block in blocks {
        own = block.stretch(own.end);
        let of_block = (&axes[own.clone()], &by[own.clone()], own.start);
        with_order!(block.order, chart_of of V, (of_block, &mut jacobian, &mut curvature); 1, 2, 3);
    }
    let (mut gradient, mut hessian, mut expected) = ([zero; T], [[zero; T]; T], [[zero; T]; T]);
    led_one(
        (T, T),
        jacobian.as_flattened(),
        curvature.as_flattened(),
        steps::Derivatives {
            gradient: by,
            hessian: second.as_flattened(),
            expected: average.as_flattened(),
        },
        [&mut gradient, hessian.as_flattened_mut(), expected.as_flattened_mut()],
    );
    (gradient, hessian, expected)
}

#[inline(always)]
fn chart_of<V: Lane, const K: usize>(
    (axes, weight, first): (&[[V; 2]], &[V], usize),
    jacobian: &mut [impl AsMut<[V]>],
    curvature: &mut [impl AsMut<[V]>],
) {
    chart_at::<V, K>(
        &read(axes),
        weight,
        |row, column, value| jacobian[first + row].as_mut()[first + column] = value,
        |row, column, value| curvature[first + row].as_mut()[first + column] = value,
    );
}

/// theta at local coordinates `step` around one with these axes.
#[inline(always)]
pub(super) fn moved<V: Lane, const T: usize>(
    blocks: &[Block],
    axes: &AxesOf<T, V>,
    step: &[V; T],
) -> [V; T] {
    let mut out = [V::splat(0.0); T];
    let mut own = 0..0;
    for block in blocks {
        own = block.stretch(own.end);
        let of_block = (&axes[own.clone()], &step[own.clone()], &mut out[own.clone()]);
        with_order!(block.order, moved_of of V, (of_block); 1, 2, 3);
    }
    out
}

#[inline(always)]
fn moved_of<V: Lane, const K: usize>((axes, step, out): (&[[V; 2]], &[V], &mut [V])) {
    moved_at::<V, K>(&read(axes), step, out);
}
