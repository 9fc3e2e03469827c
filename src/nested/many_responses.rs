//! Many responses of one design, reduced in groups side by side.
//!
//! A response's numbers do not depend on which others stand beside it, so neither on the groups; the
//! columns of X and Z are rotated again for each, which is little beside the responses.

use super::reduction::{Coordinates, Reduction};
use crate::rows::basis::{Basis, CollinearRandomEffects};
use crate::rows::columns::{Column, RowColumns};
use crate::rows::level_rows::RotatedRows;
use crate::rows::nesting::Nesting;
use crate::rows::rotation::alike::rotate_alike;
use crate::rows::rotation::rotate::rotate_in;
use crate::running::memory::append;
use crate::running::threads;

/// Responses of a group: their rows of one unit stay in the cache.
const GROUP: usize = 128;

/// What a reduction is made with beside the rows; see [`Reduction::new`].
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    /// Rows by unit.
    pub nesting: &'a Nesting,
    /// Rounding errors of X's columns.
    pub noise: &'a [f64],
    /// Random-effect terms by level.
    pub terms: &'a [Vec<(usize, Basis)>],
    /// Classes of series.
    pub series: (usize, usize, usize),
    /// Are units grouped?
    pub share: bool,
    /// Coordinates in place of those that the rows suggest.
    pub given: Option<&'a Coordinates>,
}

/// The rows of all responses rotated, with room to stage them in: see [`rotate_in`].
#[must_use]
pub fn rotated(plan: Plan, rows: &RowColumns, room: &mut [f64]) -> RotatedRows {
    let few = if plan.share { rotate_alike(plan.nesting, rows) } else { None };
    few.unwrap_or_else(|| rotate_in(plan.nesting, rows, room))
}

/// The reduction of all rows, which may have been rotated before: the room that this took is free
/// by then.
///
/// # Errors
/// [`CollinearRandomEffects`] where a term's columns are linearly dependent.
pub fn reduce(
    plan: Plan,
    rows: &RowColumns,
    before: Option<RotatedRows>,
) -> Result<Reduction, CollinearRandomEffects> {
    if let Some(all) = before {
        return condensed(plan, all);
    }
    let whole = |rows: &RowColumns| condensed(plan, rotated(plan, rows, &mut []));
    if rows.y.len() < 2 * GROUP || rows.series.is_some() || plan.given.is_some() {
        return whole(rows);
    }
    let group = |y: &[Column]| {
        let own = RowColumns {
            z: rows.z.clone(),
            x: rows.x.clone(),
            y: y.to_vec(),
            sqrt_weights: rows.sqrt_weights,
            visits: rows.visits,
            n_obs: rows.n_obs,
            counts: rows.counts,
            series: None,
        };
        whole(&own)
    };
    let parts = threads::map(rows.y.chunks(GROUP), group);
    let mut parts = parts.into_iter();
    let Some(first) = parts.next() else { unreachable!("there are groups") };
    let mut out = first?;
    for part in parts {
        let part = part?;
        out.n_fits += part.n_fits;
        append(&mut out.fixed.ols, &part.fixed.ols);
        append(&mut out.fixed.y_scale, &part.fixed.y_scale);
        append(&mut out.remainder, &part.remainder);
        append(&mut out.unreached, &part.unreached);
        for (level, own) in out.levels.iter_mut().zip(&part.levels) {
            append(&mut level.response, &own.response);
        }
    }
    Ok(out)
}

fn condensed(plan: Plan, rotated: RotatedRows) -> Result<Reduction, CollinearRandomEffects> {
    let Plan { nesting, noise, terms, series, share, given } = plan;
    Reduction::new(rotated, nesting, noise, terms, series, share, given)
}
