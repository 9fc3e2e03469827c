//! theta of several unstructured covariances, one after the other.

use std::ops::Range;

use super::steps::{self, led_one};
use super::unstructured::{Axes, axes_one, chart_at, matrix_one, moved_at};
use super::with_order;
use crate::linalg::eigen::Square;

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
    /// The covariance at its theta.
    pub(super) fn matrix(&self, theta: &[f64], put: impl FnMut(usize, usize, f64)) {
        with_order!(self.order, matrix_of(theta, put); 1, 2, 3);
    }
}

fn matrix_of<const K: usize>(theta: &[f64], put: impl FnMut(usize, usize, f64)) {
    matrix_one::<K>(theta, put);
}

/// Gradient, Hessian and expected Hessian of a criterion.
type Derivatives<const T: usize> = ([f64; T], Square<T>, Square<T>);

/// Calls with each block and its stretch of theta.
pub(super) fn each_block(blocks: &[Block], mut of_block: impl FnMut(&Block, Range<usize>)) {
    let mut first = 0;
    for block in blocks {
        let end = first + block.order * (block.order + 1) / 2;
        of_block(block, first..end);
        first = end;
    }
}

/// Q and D of each block, one after the other in the block's stretch of theta.
pub(super) type AxesOf<const T: usize> = [[f64; 2]; T];

/// Those of some blocks at theta.
pub(super) fn axes<const T: usize>(blocks: &[Block], theta: &[f64; T]) -> AxesOf<T> {
    let mut out = [[0.0; 2]; T];
    each_block(blocks, |block, own| {
        let own = (&theta[own.clone()], out[own].as_flattened_mut());
        with_order!(block.order, axes_of(own); 1, 2, 3);
    });
    out
}

fn axes_of<const K: usize>((theta, out): (&[f64], &mut [f64])) {
    let (u, d) = axes_one::<K>(theta);
    out[..K * K].copy_from_slice(u.as_flattened());
    out[K * K..].copy_from_slice(&d);
}

fn read<const K: usize>(axes: &[[f64; 2]]) -> Axes<K> {
    let (axes, mut u, mut d) = (axes.as_flattened(), [[0.0; K]; K], [0.0; K]);
    u.as_flattened_mut().copy_from_slice(&axes[..K * K]);
    d.copy_from_slice(&axes[K * K..]);
    (u, d)
}

/// Derivatives by local coordinates.
pub(super) fn led<const T: usize>(
    blocks: &[Block],
    axes: &AxesOf<T>,
    (by, second, average): Derivatives<T>,
) -> Derivatives<T> {
    let (mut jacobian, mut curvature) = ([[0.0; T]; T], [[0.0; T]; T]);
    each_block(blocks, |block, own| {
        let first = own.start;
        let moves =
            |row: usize, column: usize, value| jacobian[first + row][first + column] = value;
        let bend =
            |row: usize, column: usize, value| curvature[first + row][first + column] = value;
        let own = (&axes[own.clone()], &by[own]);
        with_order!(block.order, chart_of(own, moves, bend); 1, 2, 3);
    });
    let (mut gradient, mut hessian, mut expected) = ([0.0; T], [[0.0; T]; T], [[0.0; T]; T]);
    led_one(
        (T, T),
        jacobian.as_flattened(),
        curvature.as_flattened(),
        steps::Derivatives {
            gradient: &by,
            hessian: second.as_flattened(),
            expected: average.as_flattened(),
        },
        [&mut gradient, hessian.as_flattened_mut(), expected.as_flattened_mut()],
    );
    (gradient, hessian, expected)
}

fn chart_of<const K: usize>(
    (axes, weight): (&[[f64; 2]], &[f64]),
    jacobian: impl FnMut(usize, usize, f64),
    curvature: impl FnMut(usize, usize, f64),
) {
    chart_at::<K>(&read(axes), weight, jacobian, curvature);
}

/// theta at local coordinates `step` around one with these axes.
pub(super) fn moved<const T: usize>(
    blocks: &[Block],
    axes: &AxesOf<T>,
    step: &[f64; T],
) -> [f64; T] {
    let mut out = [0.0; T];
    each_block(blocks, |block, own| {
        let own = (&axes[own.clone()], &step[own.clone()], &mut out[own]);
        with_order!(block.order, moved_of(own); 1, 2, 3);
    });
    out
}

fn moved_of<const K: usize>((axes, step, out): (&[[f64; 2]], &[f64], &mut [f64])) {
    moved_at::<K>(&read(axes), step, out);
}
