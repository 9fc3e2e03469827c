//! Independent designs of one structure, each reduced by itself: an engine whose fits have each their
//! own.

use super::elimination::{is_lower, is_small, small_results};
use super::reduction::Reduction;
use crate::criterion::asked::Request;
use crate::criterion::derivatives::LikelihoodDerivatives;
use crate::criterion::engine::{At, Engine, Unsolved, Wanted};
use crate::criterion::solution::{Criterion, Shape, Solution};
use crate::criterion::sums::Entry;
use crate::rows::basis::FixedBasis;

/// Reductions of one structure, one a fit, none with a residual covariance.
#[derive(Debug)]
pub struct Batch {
    /// Of one response each.
    pub reductions: Vec<Reduction>,
    fixed: FixedBasis,
    orders: Vec<usize>,
}

impl Batch {
    /// Designs of `rank` fixed effects that kept all of them; `orders` are random effects of a unit
    /// by level.
    #[must_use]
    pub fn new(reductions: Vec<Reduction>, rank: usize, orders: Vec<usize>) -> Self {
        let all = |part: fn(&FixedBasis) -> &Vec<f64>| -> Vec<f64> {
            reductions.iter().flat_map(|own| part(&own.fixed).iter().copied()).collect()
        };
        let fixed = FixedBasis {
            kept: (0..rank).collect(),
            factor: all(|own| &own.factor),
            ols: all(|own| &own.ols),
            y_scale: all(|own| &own.y_scale),
        };
        Self { reductions, fixed, orders }
    }

    /// The design of a fit, and the place asked for there.
    fn place<'a>(&self, at: At<'a>) -> (&Reduction, At<'a>) {
        (&self.reductions[at.fit], At { fit: 0, ..at })
    }
}

impl Engine for Batch {
    fn name(&self) -> &'static str {
        "nested"
    }

    fn lacks(&self) -> &'static [&'static str] {
        &["within", "visit_moments", "conditional", "prediction_error"]
    }

    /// Factors of all fits stand one after the other.
    fn fixed(&self) -> &FixedBasis {
        &self.fixed
    }

    /// That of the first: numbers of rows may differ.
    fn shape(&self) -> Shape {
        let n_rows = self.reductions.first().map_or(0, |own| own.n_rows);
        Shape { n_rows, rank: self.fixed.rank(), profiled: true }
    }

    /// Bases differ by fit: none is given.
    fn levels(&self) -> Vec<(usize, &[f64])> {
        self.orders.iter().map(|&q| (q, &[][..])).collect()
    }

    /// Those of one design after the other.
    fn size(&self) -> (usize, usize) {
        let sizes = self.reductions.iter().map(Engine::size);
        sizes.fold((0, 0), |(patterns, blocks), one| (patterns + one.0, blocks + one.1))
    }

    fn solve(&self, at: At) -> Result<Solution, Unsolved> {
        let (design, at) = self.place(at);
        design.solve(at)
    }

    fn evaluate(&self, at: At, entries: &[Entry], wanted: Wanted) -> Result<Criterion, Unsolved> {
        let (design, at) = self.place(at);
        design.evaluate(at, entries, wanted)
    }

    fn small_results(
        &self,
        fits: &[usize],
        entries: Option<&[Entry]>,
        request: Request,
    ) -> Option<Vec<Vec<f64>>> {
        let first = self.reductions.first()?;
        if !is_small(first) || entries.is_some_and(|own| !is_lower(own, self.orders[0])) {
            return None;
        }
        let fits: Vec<_> = fits.iter().map(|&fit| (&self.reductions[fit], 0)).collect();
        Some(small_results(&fits, request))
    }

    fn likelihood_derivatives(
        &self,
        at: At,
        entries: &[Entry],
        wanted: Wanted,
    ) -> Result<LikelihoodDerivatives, Unsolved> {
        let (design, at) = self.place(at);
        design.likelihood_derivatives(at, entries, wanted)
    }

    fn information_derivatives(&self, at: At, entries: &[Entry]) -> Result<Vec<f64>, Unsolved> {
        let (design, at) = self.place(at);
        design.information_derivatives(at, entries)
    }

    fn information_second_derivatives(
        &self,
        at: At,
        entries: &[Entry],
        weights: Option<&[f64]>,
    ) -> Result<Vec<f64>, Unsolved> {
        let (design, at) = self.place(at);
        design.information_second_derivatives(at, entries, weights)
    }
}
