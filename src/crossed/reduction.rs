//! What the iterations read of a crossed design.

use std::sync::Arc;

use super::factor::structure::Structure;
use super::incidence::Incidence;
use super::prior::Prior;
use super::rest::Rest;
use super::rows::gram::RestGram;
use crate::rows::basis::FixedBasis;

/// What the iterations read of a crossed design.
#[derive(Clone, Debug)]
pub struct Reduction {
    /// Number of rows.
    pub n_rows: usize,
    /// Number of responses.
    pub n_fits: usize,
    /// Rows that the leading factor's effects can fit.
    pub(crate) n_random: usize,
    /// Map of the fixed effects.
    pub fixed: FixedBasis,
    /// By level, upper triangular B with z = (transformed z) B.
    pub bases: Vec<Vec<f64>>,
    /// The factors.
    pub rest: Rest,
    /// Per leading unit, T, `q` x `q`.
    pub(crate) t: Vec<f64>,
    /// N of all leading units.
    pub(crate) incidence: Incidence,
    /// `Z_2`'`Z_2`.
    pub(crate) gram: RestGram,
    /// What takes the place of the identity in A for related units.
    pub(crate) prior: Option<Prior>,
    /// Where A's factor has nonzeros.
    pub structure: Arc<Structure>,
    /// Per fit, per leading unit, `q` rows of Q'[X y].
    pub(crate) leading_data: Vec<Vec<f64>>,
    /// Per fit, per column of `Z_2`, its product with what of [X y] the leading factor does not span.
    pub(crate) rest_data: Vec<Vec<f64>>,
    /// Per fit, cross-product of [X y] outside the span of the leading factor, lower triangle.
    pub(crate) remainder: Vec<f64>,
}

impl Reduction {
    /// Rank of X.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.fixed.kept.len()
    }

    /// Random effects of a unit of a level.
    #[must_use]
    pub fn q(&self, level: usize) -> usize {
        if level == self.rest.leading {
            return self.rest.leading_q;
        }
        self.rest.levels.iter().find(|l| l.level == level).map_or(0, |l| l.q)
    }

    /// Units of a level.
    #[must_use]
    pub fn n_units(&self, level: usize) -> usize {
        if level == self.rest.leading {
            return self.rest.leading_units;
        }
        self.rest.levels.iter().find(|l| l.level == level).map_or(0, |l| l.n_units)
    }

    /// Are the units of the k-th rest level related?
    #[must_use]
    pub(crate) fn is_related(&self, k: usize) -> bool {
        self.prior.as_ref().is_some_and(|p| p.is_related(k))
    }

    /// Are the units of some level related?
    #[must_use]
    pub fn has_prior(&self) -> bool {
        self.prior.is_some()
    }

    /// The leading factor's G; zero where none leads.
    pub(crate) fn leading_g<'g>(&self, g: &'g [Vec<f64>]) -> &'g [f64] {
        g.get(self.rest.leading).map_or(&[0.0], Vec::as_slice)
    }

    /// Number of levels.
    #[must_use]
    pub fn n_levels(&self) -> usize {
        self.bases.len()
    }
}
