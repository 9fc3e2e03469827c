//! A fit from G = 0 to its end, where nothing but ordinary steps is asked for on the way.
//!
//! What Python does in turns for any fit (`fitting/fit.py`): a look at the information at G = 0
//! (`fitting/undetermined/search.py`), the start from there (`criterion/scoring.py`), the steps, and a
//! look at the covariances of the end (`fitting/boundary.py`). A fit that asks for anything else is
//! left to it from the beginning; so both are the same fit.

use super::blocks::{Block, each_block};
use super::ordinary::{Criteria, Fits, Model, Settings, Stand, ordinary_steps};
use super::steps::scoring_step;
use super::unstructured::{matrix_one, nearest_one};
use super::with_order;
use crate::linalg::eigen::{Square, symmetric};

/// What a fit begins and ends by.
#[derive(Clone, Copy)]
pub struct Ends {
    /// Levels of the grouping factor with fewest.
    pub n_levels: usize,
    /// Share of information that is not shared, under which a coordinate is worth a look.
    pub suspect: f64,
    /// Residual variance within units over that of least squares.
    pub within: f64,
    /// What eigenvalues of the start are lifted to, over the largest, and at least.
    pub lift: f64,
    /// Eigenvalues of the end's covariances that are tried as 0.
    pub small: f64,
    /// The most steps.
    pub most: i64,
}

/// Numbers of the whole fit at this position, as [`super::ordinary::Outcomes`] has them; `None`
/// where anything but ordinary steps is asked for.
#[must_use]
pub fn whole_fit(
    model: &Model<'_, impl Criteria>,
    fit: usize,
    settings: Settings,
    ends: Ends,
) -> Option<Vec<f64>> {
    let order = |block: &Block| block.order * (block.order + 1) / 2;
    with_order!(model.blocks.iter().map(order).sum::<usize>(), whole(model, fit, settings, ends))
}

fn whole<const T: usize>(
    model: &Model<'_, impl Criteria>,
    fit: usize,
    settings: Settings,
    ends: Ends,
) -> Option<Vec<f64>> {
    let zero: Vec<Vec<f64>> = model.levels.iter().map(|q| vec![0.0; q * q]).collect();
    let [_, gradient, _, expected] = (model.criteria)(&[fit], &zero);
    let expected: Square<T> = super::matrix(&expected, 0);
    if is_suspect(&expected, ends) {
        return None;
    }
    let target = scoring_step(&super::vector::<T>(&gradient, 0), &expected);
    let start = start(model.blocks, &target, ends)?;
    let from = Fits {
        fits: &[fit],
        theta: &start,
        known: None,
        way: &[0.0; T],
        run: &[0],
        stretch: &[1.0],
        left: &[ends.most],
    };
    let found = ordinary_steps(model, &from, settings);
    let ended = found.stands == [Stand::Ended];
    (ended && is_inside(model.blocks, &found.numbers, ends.small)).then_some(found.numbers)
}

/// Whether the information may be singular, by its own scale, or is not finite.
fn is_suspect<const T: usize>(expected: &Square<T>, ends: Ends) -> bool {
    let own: [f64; T] = std::array::from_fn(|i| expected[i][i]);
    let low = own.iter().copied().fold(f64::INFINITY, f64::min);
    let high = own.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let finite = own.iter().all(|value| value.is_finite());
    // Columns have mean square 1: a variance of which the data tell has its levels' number at least.
    let told = high > ends.suspect * ends.n_levels as f64 && low >= ends.suspect * high;
    !(finite && told) || (T > 1 && has_small_pivot(*expected, ends.suspect))
}

/// Whether of some diagonal element elimination leaves all but nothing.
fn has_small_pivot<const T: usize>(mut rows: Square<T>, suspect: f64) -> bool {
    let own: [f64; T] = std::array::from_fn(|i| rows[i][i]);
    for k in 0..T {
        let top = rows[k];
        if top[k].is_nan() || top[k] < suspect * own[k] {
            return true;
        }
        for row in &mut rows[k + 1..] {
            let factor = row[k] / top[k];
            for j in k + 1..T {
                row[j] -= factor * top[j];
            }
        }
    }
    false
}

/// theta of the covariances nearest to the entries, relative to the residual variance within units;
/// `None` where several entries are no covariance.
fn start<const T: usize>(blocks: &[Block], entries: &[f64; T], ends: Ends) -> Option<[f64; T]> {
    let (mut theta, mut outside) = ([0.0; T], false);
    each_block(blocks, |block, own| {
        let of = (&entries[own.clone()], ends.lift, &mut theta[own]);
        outside |= with_order!(block.order, nearest_of(of); 1, 2, 3);
    });
    let factor = 1.0 / ends.within.sqrt();
    (T == 1 || !outside).then(|| theta.map(|value| value * factor))
}

fn nearest_of<const K: usize>((entries, lift, out): (&[f64], f64, &mut [f64])) -> bool {
    nearest_one::<K>(entries, lift, out)
}

/// Whether all eigenvalues of the covariances at theta are larger.
fn is_inside(blocks: &[Block], theta: &[f64], small: f64) -> bool {
    let mut inside = true;
    each_block(blocks, |block, own| {
        inside &= with_order!(block.order, is_larger((&theta[own], small)); 1, 2, 3);
    });
    inside
}

fn is_larger<const K: usize>((theta, small): (&[f64], f64)) -> bool {
    let mut matrix = [[0.0; K]; K];
    matrix_one::<K>(theta, |i, j, value| matrix[i][j] = value);
    symmetric(&matrix).0.iter().all(|&value| value > small)
}
