//! The factors of a crossed design: the leading one and the rest.

use std::ops::Range;

use crate::rows::nesting::rows_by_unit;
use crate::rows::relationship::Relationship;

/// Rows of a unit of the leading part where there is none.
pub(crate) const EMPTY_UNIT: usize = 4096;

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
    /// Position of a level whose effects are fixed: see `fixed`.
    pub fixed: Option<usize>,
}

impl Crossing<'_> {
    pub(crate) fn is_related(&self, level: usize) -> bool {
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
    /// Position of the leading factor among all levels; `NONE` where none leads, and the leading
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

    pub(crate) fn largest_q(&self) -> usize {
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
