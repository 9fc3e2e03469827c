//! The columns of a design as they lie in memory.

use std::hint::black_box;
use std::ops::Range;

use super::series_columns::SeriesColumns;
use crate::linalg::beside::read;
use crate::linalg::dense::{Kernel, vectorised};
use crate::linalg::lanes::{Four, Lane};

/// Values of a column that stand `stride` apart in memory, the first at `offset`.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// Memory that holds the column.
    pub data: &'a [f64],
    /// Position of the first row's value.
    pub offset: usize,
    /// Distance from a row's value to the next row's.
    pub stride: usize,
}

impl<'a> Values<'a> {
    /// A column of its own, one value after the other.
    #[must_use]
    pub fn contiguous(data: &'a [f64]) -> Self {
        Self { data, offset: 0, stride: 1 }
    }

    /// Value of a row.
    #[inline(always)]
    #[must_use]
    pub fn row(&self, row: usize) -> f64 {
        self.data[self.offset + row * self.stride]
    }
}

/// Rows that the statistics of all columns read before they go on: these stay in the cache.
pub const STATISTICS_ROWS: usize = 4096;

/// Sum, sum of squares (both about `origin`), smallest and largest value over a range of rows.
///
/// One pass; the squares serve to choose a scale, for which few digits are enough.
#[must_use]
pub fn statistics(values: Values, rows: Range<usize>, origin: f64) -> [f64; 4] {
    vectorised(Statistics { values, rows, origin })
}

struct Statistics<'a> {
    values: Values<'a>,
    rows: Range<usize>,
    origin: f64,
}

impl Kernel for Statistics<'_> {
    type Output = [f64; 4];

    #[inline(always)]
    fn call(self) -> [f64; 4] {
        let Self { values, rows, origin } = self;
        let mut sums = NO_STATISTICS.map(Four::splat);
        let (n, step) = (rows.len(), values.stride);
        let (whole, mut row) = (n - n % 4, 0);
        let mut last = &[][..];
        if step == 1 {
            let own = &values.data[values.offset..][rows];
            while row < whole {
                visit(&mut sums, read(own, row), origin);
                row += 4;
            }
            last = &own[whole..];
        } else if n > 0 {
            let data = &values.data[values.offset + rows.start * step..];
            while row < whole {
                let four = &data[row * step..(row + 3) * step + 1];
                visit(&mut sums, Four::from_lanes(|lane| four[lane * step]), origin);
                row += 4;
            }
            last = &data[(whole * step).min(data.len())..];
        }
        // Seen through, the sums would be formed by pairs of lanes, a sum and its squares in each.
        let mut sums = black_box(sums).map(|own| std::array::from_fn(|lane| own.lane(lane)));
        for (lane, &value) in last.iter().step_by(step.max(1)).take(n - whole).enumerate() {
            visit_one(&mut sums, lane, value, origin);
        }
        statistics_together(&sums)
    }
}

/// Statistics from the four of each that were formed side by side.
#[inline(always)]
pub(super) fn statistics_together(sums: &[[f64; 4]; 4]) -> [f64; 4] {
    [
        sums[0].iter().sum(),
        sums[1].iter().sum(),
        sums[2].iter().copied().fold(f64::INFINITY, f64::min),
        sums[3].iter().copied().fold(f64::NEG_INFINITY, f64::max),
    ]
}

/// Statistics of no values: sum, sum of squares, smallest, largest.
pub const NO_STATISTICS: [f64; 4] = [0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY];

/// Statistics of some rows and of more.
#[must_use]
pub fn put_together(a: [f64; 4], b: [f64; 4]) -> [f64; 4] {
    [a[0] + b[0], a[1] + b[1], a[2].min(b[2]), a[3].max(b[3])]
}

/// Adds four values to the sums of their places in four.
#[inline(always)]
fn visit(sums: &mut [Four; 4], value: Four, origin: f64) {
    let shifted = value - Four::splat(origin);
    sums[0] += shifted;
    sums[1] += shifted * shifted;
    sums[2] = sums[2].where_above(value, value, sums[2]);
    sums[3] = value.where_above(sums[3], value, sums[3]);
}

/// Adds one value to the sums of a place.
#[inline(always)]
fn visit_one(sums: &mut [[f64; 4]; 4], lane: usize, value: f64, origin: f64) {
    let shifted = value - origin;
    sums[0][lane] += shifted;
    sums[1][lane] += shifted * shifted;
    sums[2][lane] = if value < sums[2][lane] { value } else { sums[2][lane] };
    sums[3][lane] = if value > sums[3][lane] { value } else { sums[3][lane] };
}

/// Partial sums that are formed side by side.
const LANES: usize = 8;

/// Sum of the squares about `center`.
#[must_use]
pub fn squares_about(values: &[f64], center: f64) -> f64 {
    // Sums of blocks: rounding errors grow with their number only.
    let block = |rows: &[f64]| {
        let mut lanes = [0.0; LANES];
        let chunks = rows.chunks_exact(LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *lane += (value - center) * (value - center);
            }
        }
        for (lane, value) in lanes.iter_mut().zip(rest) {
            *lane += (value - center) * (value - center);
        }
        lanes.iter().sum::<f64>()
    };
    vectorised(|| values.chunks(STATISTICS_ROWS).map(block).sum())
}

/// A column of X, Z or Y, read as (value - center) * scale.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    /// One value per row; `None` is the constant 1.
    pub values: Option<Values<'a>>,
    /// Subtracted from every value.
    pub center: f64,
    /// Multiplied to every centred value.
    pub scale: f64,
}

impl<'a> Column<'a> {
    /// Values as they are; `None` is the constant 1.
    #[must_use]
    pub fn plain(values: Option<&'a [f64]>) -> Self {
        Self { values: values.map(Values::contiguous), center: 0.0, scale: 1.0 }
    }

    /// Value of a row.
    #[inline(always)]
    #[must_use]
    pub fn at(&self, row: usize) -> f64 {
        (self.values.map_or(1.0, |v| v.row(row)) - self.center) * self.scale
    }
}

/// What the pass reads: columns by role, and the rows' weights.
#[derive(Default)]
pub struct RowColumns<'a> {
    /// Random-effect columns by level, outermost first.
    pub z: Vec<Vec<Column<'a>>>,
    /// Fixed-effect columns.
    pub x: Vec<Column<'a>>,
    /// Responses.
    pub y: Vec<Column<'a>>,
    /// Square roots of the weights; `None` for weight 1.
    pub sqrt_weights: Option<&'a [f64]>,
    /// Position of each row in the residual covariance of its unit, and the order of that
    /// covariance. The innermost level is then the residual's, and has no columns of Z.
    pub visits: Option<(&'a [i32], usize)>,
    /// How rows enter the inverse covariance of their unit, where units are series. The innermost
    /// level is then theirs, and has no columns of Z.
    pub series: Option<SeriesColumns<'a>>,
    /// Observations that the rows stand for; `None` where these are the rows.
    pub n_obs: Option<usize>,
    /// Units that each innermost unit stands for, by its code; `None` for itself.
    pub counts: Option<&'a [i64]>,
}

impl<'a> RowColumns<'a> {
    /// The fixed effects and the responses alone.
    #[must_use]
    pub fn fixed(&self) -> RowColumns<'a> {
        RowColumns {
            x: self.x.clone(),
            y: self.y.clone(),
            sqrt_weights: self.sqrt_weights,
            n_obs: self.n_obs,
            ..RowColumns::default()
        }
    }

    /// All columns in the order in which they are eliminated: by level, the innermost first, those of
    /// X and the responses.
    #[must_use]
    pub fn in_order(&self) -> Vec<Column<'a>> {
        let random = self.z.iter().rev().flatten();
        random.chain(&self.x).chain(&self.y).copied().collect()
    }

    /// Square root of the weight of a row.
    #[inline(always)]
    #[must_use]
    pub fn weight(&self, row: usize) -> f64 {
        self.sqrt_weights.map_or(1.0, |w| w[row])
    }
}

/// Values of some columns in one row, times `weight`.
#[inline(always)]
pub fn read_row(columns: &[Column], row: usize, weight: f64, out: &mut [f64]) {
    for (o, column) in out.iter_mut().zip(columns) {
        *o = column.at(row) * weight;
    }
}
