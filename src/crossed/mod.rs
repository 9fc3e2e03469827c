//! Crossed random effects: the leading factor eliminated, the others by a Cholesky factor, sparse or
//! dense.
//!
//! Let `Z_0` be the columns of the leading factor (most random effects), `Z_2` those of all others.
//! With W = I + Z G Z', and per unit u of the leading factor the numbers of [`rows`],
//!
//! ```text
//! W_u = I + T_u G_0 T_u'        F_u = L_u^-1 N_u,  L_u L_u' = W_u
//! K   = M + sum F_u'F_u         (= Z_2' W_0^-1 Z_2, W_0 the leading factor's part of W)
//! A   = I + Lambda'K Lambda     Lambda Lambda' = G_2
//! log|W| = sum log|W_u| + log|A|
//! ```
//!
//! (Bates et al. 2015, J. Stat. Softw. 67(1), section 3, with the leading block in a form that is
//! regular where `G_0` is singular or infinite). Lambda is taken from the eigenvectors of G, so that it
//! need not have full rank: a variance of 0 is nothing special. Known relationships between levels put
//! their precision in the place of I, see `prior`.

mod conditional;
mod derivatives;
mod evaluation;
mod exact;
mod factor;
mod fixed;
mod gram;
mod information;
mod prior;
mod root;
mod rows;

use crate::criterion::solution::within;
use crate::rows::nesting::rows_by_unit;
use std::ops::Range;
use std::sync::Arc;

pub use self::derivatives::Curvature;
pub use self::evaluation::Factorisation;
pub use self::factor::incidence::Incidence;
pub use self::factor::structure::{Schur, Structure, dense_operations};
pub use self::fixed::FixedMoments;
use self::gram::RestGram;
pub use self::prior::Prior;
pub use self::rows::Unusable;
pub use crate::criterion::sums::Conditional;
use crate::rows::basis::FixedBasis;
use crate::rows::relationship::Relationship;

/// Rows of a unit of the leading part where there is none.
const EMPTY_UNIT: usize = 4096;
/// The leading factor's position where there is none.
const NONE: usize = usize::MAX;
/// Pairs of units that the leading factor may join, over those that are joined already.
const MORE_PAIRS: f64 = 2.0;

/// Grouping factors in any relation to each other.
pub struct Crossing<'a> {
    /// Number of rows.
    pub n_rows: usize,
    /// By level, the unit of each row.
    pub codes: Vec<&'a [i32]>,
    /// By level, number of units.
    pub n_units: Vec<usize>,
    /// By level, the precision of its units' effects at G = 1; empty where all are independent.
    pub precisions: &'a [Option<Relationship>],
    /// Position of a level whose effects are fixed: see [`fixed`].
    pub fixed: Option<usize>,
}

impl Crossing<'_> {
    fn is_related(&self, level: usize) -> bool {
        self.precisions.get(level).is_some_and(Option::is_some)
    }
}

/// One factor that is not the leading one.
#[derive(Clone, Debug)]
pub struct RestLevel {
    /// Its position among all levels.
    pub level: usize,
    /// Random effects of a unit.
    pub q: usize,
    /// Number of units.
    pub n_units: usize,
    /// Its first unit among the units of all these factors.
    pub first_block: usize,
    /// Its first column of `Z_2`.
    pub first_column: usize,
}

impl RestLevel {
    /// Columns of `Z_2`.
    #[must_use]
    pub fn columns(&self) -> Range<usize> {
        self.first_column..self.first_column + self.q * self.n_units
    }
}

/// Where the columns of `Z_2` stand.
#[derive(Clone, Debug)]
pub struct Rest {
    /// Position of the leading factor among all levels; [`NONE`] where none leads, and the leading
    /// part is empty.
    pub leading: usize,
    /// Random effects of one of its units.
    pub leading_q: usize,
    /// Its units.
    pub leading_units: usize,
    /// The other factors.
    pub levels: Vec<RestLevel>,
    /// Position among all levels of one whose effects are fixed.
    pub fixed: Option<usize>,
}

impl Rest {
    /// The leading factor is that of most random effects among those whose units are independent;
    /// `q` by level.
    #[must_use]
    pub fn new(crossing: &Crossing, q: &[usize]) -> Self {
        let n_units = &crossing.n_units;
        let leading = leading(crossing, q);
        let (mut first_block, mut first_column) = (0, 0);
        let mut levels = Vec::new();
        for level in (0..q.len()).filter(|&l| l != leading) {
            levels.push(RestLevel {
                level,
                q: q[level],
                n_units: n_units[level],
                first_block,
                first_column,
            });
            first_block += n_units[level];
            first_column += n_units[level] * q[level];
        }
        let (leading_q, leading_units) = if leading == NONE {
            (1, crossing.n_rows.div_ceil(EMPTY_UNIT).max(1))
        } else {
            (q[leading], n_units[leading])
        };
        Self { leading, leading_q, leading_units, levels, fixed: crossing.fixed }
    }

    /// Is the leading part that of a factor?
    #[must_use]
    pub fn has_leading(&self) -> bool {
        self.leading != NONE
    }

    /// Columns of `Z_2`.
    #[must_use]
    pub fn order(&self) -> usize {
        self.levels.last().map_or(0, |l| l.columns().end)
    }

    /// Units of all these factors.
    #[must_use]
    pub fn n_blocks(&self) -> usize {
        self.levels.last().map_or(0, |l| l.first_block + l.n_units)
    }

    fn largest_q(&self) -> usize {
        self.levels.iter().map(|l| l.q).max().unwrap_or(0)
    }

    /// Position among these factors of a unit's level.
    #[must_use]
    pub fn level_of(&self, unit: usize) -> usize {
        self.levels.partition_point(|l| l.first_block <= unit) - 1
    }

    /// The unit of a column.
    #[must_use]
    pub fn unit_of(&self, column: usize) -> usize {
        let level = &self.levels[self.levels.partition_point(|l| l.first_column <= column) - 1];
        level.first_block + (column - level.first_column) / level.q
    }

    /// Columns of one unit.
    #[must_use]
    pub fn columns_of(&self, unit: usize) -> Range<usize> {
        let level = &self.levels[self.level_of(unit)];
        let first = level.first_column + (unit - level.first_block) * level.q;
        first..first + level.q
    }
}

/// What the iterations read of a crossed design.
#[derive(Clone, Debug)]
pub struct Reduction {
    /// Number of rows.
    pub n_rows: usize,
    /// Number of responses.
    pub n_fits: usize,
    /// Rows that the leading factor's effects can fit.
    n_random: usize,
    /// Map of the fixed effects.
    pub fixed: FixedBasis,
    /// By level, upper triangular B with z = (transformed z) B.
    pub bases: Vec<Vec<f64>>,
    /// The factors.
    pub rest: Rest,
    /// Per leading unit, T, `q` x `q`.
    t: Vec<f64>,
    /// N of all leading units.
    incidence: Incidence,
    /// `Z_2`'`Z_2`.
    gram: RestGram,
    /// What takes the place of the identity in A for related units.
    prior: Option<Prior>,
    /// Where A's factor has nonzeros.
    pub structure: Arc<Structure>,
    /// Per fit, per leading unit, `q` rows of Q'[X y].
    leading_data: Vec<Vec<f64>>,
    /// Per fit, per column of `Z_2`, its product with what of [X y] the leading factor does not span.
    rest_data: Vec<Vec<f64>>,
    /// Per fit, cross-product of [X y] outside the span of the leading factor, lower triangle.
    remainder: Vec<f64>,
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
    fn is_related(&self, k: usize) -> bool {
        self.prior.as_ref().is_some_and(|p| p.is_related(k))
    }

    /// Are the units of some level related?
    #[must_use]
    pub fn has_prior(&self) -> bool {
        self.prior.is_some()
    }

    /// The leading factor's G; zero where none leads.
    fn leading_g<'g>(&self, g: &'g [Vec<f64>]) -> &'g [f64] {
        g.get(self.rest.leading).map_or(&[0.0], Vec::as_slice)
    }

    /// Number of levels.
    #[must_use]
    pub fn n_levels(&self) -> usize {
        self.bases.len()
    }

    /// Residual sum of squares of each response outside the span of X and the leading factor, and
    /// its degrees of freedom.
    #[must_use]
    pub fn within(&self) -> (Vec<f64>, usize) {
        within(&self.remainder, self.rank(), self.n_rows, self.n_random)
    }
}

/// The leading factor, [`NONE`] where none shall lead.
fn leading(crossing: &Crossing, q: &[usize]) -> usize {
    let size = |l: &usize| (crossing.n_units[*l] * q[*l], *l);
    if !(0..q.len()).any(|l| crossing.is_related(l)) {
        return (0..q.len()).max_by_key(size).unwrap_or(0);
    }
    let known: usize = crossing.precisions.iter().flatten().map(|k| k.values.len()).sum();
    let joined = (known + crossing.n_rows * q.len().pow(2)) as f64;
    // A factor whose units meet many others would join them all where their precision is sparse.
    (0..q.len())
        .filter(|&l| !crossing.is_related(l) && pairs(crossing, l) <= MORE_PAIRS * joined)
        .max_by_key(size)
        .unwrap_or(NONE)
}

/// Sum over a level's units of the squared number of other units met.
fn pairs(crossing: &Crossing, leading: usize) -> f64 {
    let codes = crossing.codes[leading];
    let (first, order) = rows_by_unit(codes, crossing.n_units[leading], None);
    let others = || (0..crossing.codes.len()).filter(|&l| l != leading);
    let mut mark: Vec<Vec<u32>> = crossing.n_units.iter().map(|&n| vec![u32::MAX; n]).collect();
    first
        .windows(2)
        .enumerate()
        .map(|(u, rows)| {
            let mut met = 0.0_f64;
            for &row in &order[rows[0]..rows[1]] {
                for l in others() {
                    let slot = &mut mark[l][crossing.codes[l][row as usize] as usize];
                    if *slot != u as u32 {
                        *slot = u as u32;
                        met += 1.0;
                    }
                }
            }
            met * met
        })
        .sum()
}
