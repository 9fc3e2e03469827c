//! Which designs have code of their own, and how their sizes become constants.

use crate::criterion::asked::MOST_EFFECTS;
use crate::criterion::sums::Entry;
use crate::nested::reduction::Reduction;

/// Most columns of [X y] with code of their own, whatever their number.
pub(super) const MOST_COLUMNS: usize = 6;
/// Most where columns of zeros make up for what is lacking: see [`padded`].
const MOST_PADDED: usize = 12;

/// Calls a function of (number of lanes, order of G, columns, entries of G) with these as constants;
/// the caller has looked that they are small.
macro_rules! with_sizes {
    (columns $w:expr, $lane:ty, $function:ident, $arguments:tt, $q:literal, $n:literal; $($k:literal),*) => {
        match $w {
            $($k => with_sizes!(call $lane, $function, $arguments, $q, $k, $n),)*
            _ => unreachable!("the number of columns was looked at"),
        }
    };
    (call $lane:ty, $function:ident, ($($argument:expr),*), $q:literal, $k:literal, $n:literal) => {
        $function::<$lane, $q, $k, $n>($($argument),*)
    };
    ($q:expr, $w:expr, $lane:ty, $function:ident, $arguments:tt; $($known:literal),*) => {
        match $q {
            1 => with_sizes!(columns $w, $lane, $function, $arguments, 1, 1; $($known),*),
            2 => with_sizes!(columns $w, $lane, $function, $arguments, 2, 3; $($known),*),
            3 => with_sizes!(columns $w, $lane, $function, $arguments, 3, 6; $($known),*),
            _ => unreachable!("the order of G was looked at"),
        }
    };
    ($q:expr, $w:expr, $lane:ty, $function:ident, $arguments:tt) => {
        with_sizes!($q, $w, $lane, $function, $arguments; 1, 2, 3, 4, 5, 6)
    };
}
pub(super) use with_sizes;

/// Have all fits of a reduction one level of random effects whose sizes have code of their own?
#[must_use]
pub fn is_small(reduction: &Reduction) -> bool {
    is_within(reduction, MOST_COLUMNS)
}

/// The same with columns of zeros.
pub(super) fn is_small_padded(reduction: &Reduction) -> bool {
    is_within(reduction, MOST_PADDED)
}

/// The least number of columns with code of its own that holds `w`.
pub(super) fn padded(w: usize) -> usize {
    if w <= MOST_COLUMNS { w } else { w + w % 2 }
}

fn is_within(reduction: &Reduction, most: usize) -> bool {
    let [level] = &reduction.levels[..] else { return false };
    let plain = !level.is_residual && level.series.is_none();
    plain
        && (1..=MOST_EFFECTS).contains(&level.q)
        && (1..=most).contains(&(level.n_outer + reduction.rank() + 1))
}

/// Are the entries the lower triangle of one G of order `q`, row by row?
#[must_use]
pub fn is_lower(entries: &[Entry], q: usize) -> bool {
    let all = (0..q).flat_map(|a| (0..=a).map(move |b| (a, b)));
    entries.len() == q * (q + 1) / 2
        && all.zip(entries).all(|((a, b), entry)| (entry.level, entry.a, entry.b) == (0, a, b))
}
