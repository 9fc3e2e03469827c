//! Known relationships between the units of factors that are not the leading one.
//!
//! Where the effects of a factor have the covariance `K_0`^-1 (x) G, the prior precision of Lambda^-1 g
//! is `K_0` (x) I, which takes the place of the identity:
//!
//! ```text
//! A = K_0 + Lambda'K Lambda      log|W| = sum log|W_u| + log|A| - log|K_0|
//! tr(H (K_0^-1 (x) E)):  Lambda'H Lambda K_0^-1 = B A^-1,  B = Lambda'K Lambda
//! ```
//!
//! B has no nonzeros where A has none, so the trace takes entries of the selected inverse alone, and
//! nothing is taken as a difference: it is as exact where G is small.

use std::sync::Arc;

use super::factor::panels::Panels;
use super::factor::structure::{Schur, Structure};
use super::rest::{Crossing, Rest, RestLevel};
use crate::linalg::dense::{NotPositiveDefinite, axpy, block};
use crate::linalg::many::fill;
use crate::rows::relationship::Relationship;

/// Roots of G that related factors have at least: their squares are beyond rounding, and quotients
/// by them, which scale exactly, keep all digits.
pub const SMALLEST_ROOT: f64 = 1e-10;

/// One nonzero of `K_0` in the lower triangle, in order of elimination.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// First value of its block in the panels.
    at: usize,
    /// Columns of the panel.
    width: u32,
    value: f64,
}

/// `K_0` of every factor that has one.
#[derive(Clone, Debug)]
pub struct Prior {
    structure: Arc<Structure>,
    /// By rest level its `K_0` over units, if it is not the identity.
    precisions: Vec<Option<Relationship>>,
    /// Their nonzeros.
    places: Vec<Vec<Place>>,
    /// Diagonal of `K_0`^-1 by rest level; empty where units are independent.
    variances: Vec<Vec<f64>>,
    /// log|`K_0`|, `q` times for each factor.
    pub logdet: f64,
}

impl Prior {
    /// `precisions` by level; `None` where no factor has one.
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] where one of them is not.
    pub fn new(
        rest: &Rest,
        structure: &Arc<Structure>,
        precisions: &[Option<Relationship>],
    ) -> Result<Option<Self>, NotPositiveDefinite> {
        if precisions.iter().all(Option::is_none) {
            return Ok(None);
        }
        let own: Vec<Option<Relationship>> =
            rest.levels.iter().map(|l| precisions[l.level].clone()).collect();
        let frame = Panels { structure: Arc::clone(structure), values: Vec::new() };
        let places = rest
            .levels
            .iter()
            .zip(&own)
            .map(|(level, k)| k.as_ref().map_or_else(Vec::new, |k| places(&frame, level, k)))
            .collect();
        let mut out = Self {
            structure: Arc::clone(structure),
            variances: vec![Vec::new(); own.len()],
            precisions: own,
            places,
            logdet: 0.0,
        };
        let factor = out.factor(rest)?;
        out.logdet = factor.logdet();
        let inverse = factor.into_inverse();
        for (k, level) in
            rest.levels.iter().enumerate().filter(|(k, _)| out.precisions[*k].is_some())
        {
            let diagonal = (0..level.n_units).filter_map(|unit| {
                let b = structure.block_of[level.first_block + unit] as usize;
                inverse.find(b, b).map(|(at, _)| inverse.values[at])
            });
            out.variances[k] = diagonal.collect();
        }
        Ok(Some(out))
    }

    /// Has the k-th rest level a precision of its own?
    #[must_use]
    pub fn is_related(&self, k: usize) -> bool {
        self.precisions[k].is_some()
    }

    /// Variances of the units of a level at G = 1, if they are related.
    #[must_use]
    pub fn variances(&self, rest: &Rest, level: usize) -> Option<&[f64]> {
        let k = rest.levels.iter().position(|l| l.level == level)?;
        self.is_related(k).then(|| self.variances[k].as_slice())
    }

    /// The Cholesky factor of `K_0`, with ones for the other factors.
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] where it is not.
    pub fn factor(&self, rest: &Rest) -> Result<Panels, NotPositiveDefinite> {
        let mut out = Panels::zero(&self.structure);
        self.add_to(rest, &mut out.values);
        for (level, _) in rest.levels.iter().zip(&self.precisions).filter(|(_, k)| k.is_none()) {
            for unit in level.first_block..level.first_block + level.n_units {
                let b = self.structure.block_of[unit] as usize;
                if let Some((at, width)) = out.find(b, b) {
                    (0..level.q).for_each(|i| out.values[at + i * width + i] = 1.0);
                }
            }
        }
        out.cholesky()?;
        Ok(out)
    }

    /// Adds `K_0` to panels.
    pub fn add_to(&self, rest: &Rest, values: &mut [f64]) {
        for (level, places) in rest.levels.iter().zip(&self.places) {
            for place in places {
                for i in 0..level.q {
                    values[place.at + i * (place.width as usize + 1)] += place.value;
                }
            }
        }
    }

    /// `K_0` x in the rows of related factors, for the row-major x of `width` columns, a row a column
    /// of `Z_2`; the other rows stay.
    #[must_use]
    pub fn multiply(&self, rest: &Rest, x: &[f64], width: usize) -> Vec<f64> {
        let mut out = x.to_vec();
        for (level, precision) in rest.levels.iter().zip(&self.precisions) {
            let Some(precision) = precision else { continue };
            let (size, columns) = (level.q * width, level.columns());
            let own = &x[columns.start * width..columns.end * width];
            let one = |unit: usize, row: &mut [f64]| {
                for (other, value) in precision.row(unit) {
                    axpy(value, &own[block(other, size)], row);
                }
            };
            let work = precision.values.len() * size;
            let product = fill(level.n_units, size, work, one);
            out[columns.start * width..columns.end * width].copy_from_slice(&product);
        }
        out
    }
}

/// Diagonal of the inverse of a sparse precision, and its log-determinant.
///
/// # Errors
/// [`NotPositiveDefinite`] where it is not.
pub fn precision_variances(
    precision: Relationship,
) -> Result<(Vec<f64>, f64), NotPositiveDefinite> {
    let (n, precisions) = (precision.len(), [Some(precision)]);
    // One row of the first unit: a factor that no row has is none.
    let codes = vec![&[0_i32][..]];
    let crossing =
        Crossing { n_rows: 1, codes, n_units: vec![n], precisions: &precisions, fixed: None };
    let rest = Rest::new(&crossing, &[1]);
    let sparse = Structure::sparse(&crossing, &rest, Schur::Cheaper);
    let structure = Arc::new(sparse.unwrap_or_else(|| Structure::dense(&rest)));
    let prior = Prior::new(&rest, &structure, &precisions)?;
    Ok(prior.map_or_else(Default::default, |mut prior| {
        (std::mem::take(&mut prior.variances[0]), prior.logdet)
    }))
}

fn places(frame: &Panels, level: &RestLevel, precision: &Relationship) -> Vec<Place> {
    let structure = &frame.structure;
    let mut out = Vec::new();
    for unit in 0..level.n_units {
        let row = structure.block_of[level.first_block + unit] as usize;
        for (other, value) in precision.row(unit) {
            let column = structure.block_of[level.first_block + other] as usize;
            if column > row {
                continue;
            }
            let Some((at, width)) = frame.find(row, column) else { continue };
            out.push(Place { at, width: width as u32, value });
        }
    }
    out
}
