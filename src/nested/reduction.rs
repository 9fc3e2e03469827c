//! Rotated rows in the coordinates of the iterations: what these read.

use super::blocks::{Blocks, change_basis};
use super::patterns::{Pattern, compress, copy_units, group_by_fixed, group_by_root, merge_alike};
use super::series::chain::ChainParameters;
use super::series::items::Series;
use crate::criterion::solution::within;
use crate::rows::basis::{Basis, CollinearRandomEffects, FixedBasis, random_bases};
use crate::rows::level_rows::{Alike, RotatedRows};
use crate::rows::nesting::Nesting;

/// What the iterations read.
#[derive(Clone, Debug)]
pub struct Reduction {
    /// Number of rows, or of observations that they stand for.
    pub n_rows: usize,
    /// Number of responses.
    pub n_fits: usize,
    /// Rotated rows that are not among those of `unreached`.
    n_random: usize,
    /// Map of the fixed effects.
    pub fixed: FixedBasis,
    /// Levels, outermost first.
    pub levels: Vec<Blocks>,
    /// Units of the innermost level grouped by T.
    pub patterns: Vec<Pattern>,
    /// Per fit, the lower triangle of the cross-product of the rows without random effects,
    /// `rank + 1` squared.
    pub remainder: Vec<f64>,
    /// The same of all rows that no random effect reaches, those in the blocks of units too.
    pub unreached: Vec<f64>,
}

/// Coordinates that several reductions share, each of a part of the rows, so that their sums add up.
#[derive(Clone, Debug)]
pub struct Coordinates {
    /// Map of the fixed effects, of all rows.
    pub fixed: FixedBasis,
    /// By level, B with z = (transformed z) B.
    pub bases: Vec<Vec<f64>>,
}

impl Reduction {
    /// Changes the basis of rotated rows.
    ///
    /// `noise[j]` is the norm below which column j of X is rounding error of its centring.
    /// `terms[l]` lists the random-effect terms of level l as (columns, how they may be changed); an
    /// empty list marks the residual's level.
    /// `series` counts the classes of items, the weights each is given, and the classes of ends if
    /// the iterations walk along the rows, where the residual's units are series.
    /// With `share` units are grouped by T; without it each unit keeps its own block, in order.
    /// `given` are coordinates in place of those that the rows themselves suggest.
    ///
    /// # Errors
    /// [`CollinearRandomEffects`] where a term's columns are linearly dependent.
    pub fn new(
        rotated: RotatedRows,
        nesting: &Nesting,
        noise: &[f64],
        terms: &[Vec<(usize, Basis)>],
        series: (usize, usize, usize),
        share: bool,
        given: Option<&Coordinates>,
    ) -> Result<Self, CollinearRandomEffects> {
        let (mut unreached, n_random) = rotated.unreached(nesting);
        let RotatedRows { levels, mut remainder, mut total, n_obs, counts, alike } = rotated;
        let n_fits = total.residual_squares.len();
        let (fixed, bases) = match given {
            Some(own) => (own.fixed.clone(), own.bases.clone()),
            None => {
                (FixedBasis::new(&mut total, noise, n_obs), random_bases(&levels, nesting, terms)?)
            }
        };
        let n_levels = levels.len();
        let innermost_bundles = levels.last().map_or(0, |leaf| leaf.bundles.len());
        let mut blocks = Vec::with_capacity(levels.len());
        for (l, level) in levels.into_iter().enumerate() {
            let mut block = change_basis(&level, l, nesting, &fixed, &bases, n_fits);
            block.is_residual = terms[l].is_empty();
            if level.shares.is_some() {
                block.series = Some(Series::new(
                    series,
                    block.n_outer + fixed.kept.len(),
                    &level.bundles,
                    &level.classes,
                    &std::mem::take(&mut block.design),
                    &std::mem::take(&mut block.response),
                ));
            } else if l + 2 == n_levels && innermost_bundles > 0 {
                block.first_child = (0..=innermost_bundles).collect();
            }
            blocks.push(block);
        }
        let (gram, unreached) = (fixed.grams(&mut remainder), fixed.grams(&mut unreached));
        let mut reduction = Self {
            n_rows: n_obs,
            n_fits,
            n_random,
            fixed,
            levels: blocks,
            patterns: Vec::new(),
            remainder: gram,
            unreached,
        };
        if alike.is_empty() {
            reduction.find_patterns(share, &counts);
        } else {
            reduction.take_patterns(&alike);
        }
        Ok(reduction)
    }

    /// Residual sum of squares of each response over rows that no random effect reaches, and its
    /// degrees of freedom: an estimate of `sigma^2` that needs no G.
    ///
    /// From the rows that units pass up; where these leave nothing, from those in their blocks too.
    #[must_use]
    pub fn within(&self) -> (Vec<f64>, usize) {
        let of = |grams| within(grams, self.rank(), self.n_rows, self.n_random);
        let passed_up = of(&self.remainder);
        if passed_up.0.iter().all(|rss| *rss == 0.0) { of(&self.unreached) } else { passed_up }
    }

    /// Has the residual a covariance of its own, so that `sigma^2` is not profiled out?
    #[must_use]
    pub fn has_residual(&self) -> bool {
        self.levels.last().is_some_and(|level| level.is_residual)
    }

    /// Parameters of the innermost level's classes, where residuals are chains with parameters by
    /// visit.
    #[must_use]
    pub fn chain(&self) -> Option<&ChainParameters> {
        self.levels.last()?.series.as_ref()?.chain.as_ref()
    }

    /// Rank of X.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.fixed.kept.len()
    }

    /// Patterns of units that were found alike before, of the only level.
    fn take_patterns(&mut self, alike: &[Alike]) {
        let rank = self.rank();
        let leaf = &mut self.levels[0];
        let q = leaf.q;
        let (mut design, mut responses) = (Vec::new(), vec![Vec::new(); self.n_fits]);
        let mut unit = 0;
        for own in alike {
            let members: Vec<usize> = (unit..unit + own.n_units).collect();
            unit += own.n_units;
            let first = design.len() / (q * (q + rank));
            let mut n_full = own.n_full;
            if n_full > q * rank + q && own.n_units > 2 * q * rank + q {
                compress(leaf, &members, rank, self.n_fits, &mut design, &mut responses);
                n_full = design.len() / (q * (q + rank)) - first;
            } else {
                copy_units(leaf, &members, q + rank, &mut design, &mut responses);
            }
            let n_blocks = design.len() / (q * (q + rank)) - first;
            self.patterns.push(Pattern { first, n_blocks, n_full, count: own.count });
        }
        leaf.design = design;
        leaf.response = responses.concat();
    }

    fn find_patterns(&mut self, share: bool, counts: &[usize]) {
        let count = |unit: usize| counts.get(unit).copied().unwrap_or(1);
        let n_levels = self.levels.len();
        let rank = self.rank();
        let Some(leaf) = self.levels.last_mut() else {
            return;
        };
        if let Some(series) = &leaf.series {
            self.patterns = (0..series.n_bundles())
                .map(|first| Pattern { first, n_blocks: 1, n_full: 1, count: 1 })
                .collect();
            return;
        }
        let (q, columns) = (leaf.q, leaf.q + leaf.n_outer + rank);
        let n_units = leaf.design.len() / (q * columns);
        let groups =
            if share && n_levels == 1 { group_by_root(leaf, columns, n_units) } else { None };
        let Some(groups) = groups else {
            self.patterns = (0..n_units)
                .map(|first| Pattern { first, n_blocks: 1, n_full: 1, count: count(first) })
                .collect();
            return;
        };
        let mut design = Vec::new();
        let mut responses = vec![Vec::new(); self.n_fits];
        for members in groups {
            let first = design.len() / (q * columns);
            let alike = leaf.is_residual.then(|| group_by_fixed(leaf, &members, columns));
            let alike = alike.filter(|a| a.len() < members.len() && a.len() <= q * rank + q);
            if let Some(groups) = &alike {
                merge_alike(leaf, groups, rank, self.n_fits, &mut design, &mut responses);
            } else if members.len() > 2 * q * rank + q {
                compress(leaf, &members, rank, self.n_fits, &mut design, &mut responses);
            } else {
                copy_units(leaf, &members, columns, &mut design, &mut responses);
            }
            let n_blocks = design.len() / (q * columns) - first;
            let n_full = alike.map_or(n_blocks, |groups| groups.len());
            let count = members.iter().map(|&unit| count(unit)).sum();
            self.patterns.push(Pattern { first, n_blocks, n_full, count });
        }
        leaf.design = design;
        leaf.response = responses.concat();
    }
}
