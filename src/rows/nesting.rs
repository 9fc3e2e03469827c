//! Nested grouping factors: which rows belong to which unit of which level.

use std::ops::Range;

use crate::running::memory::filled;

/// Two grouping factors are not nested: a unit of the inner one meets two units of the outer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotNested {
    /// Position of the inner factor in the list given.
    pub inner: usize,
}

/// One grouping factor of the nesting.
#[derive(Clone, Debug)]
pub struct Level {
    /// Code of each unit, in the order in which units are stored.
    pub codes: Vec<u32>,
    /// Unit u owns `first_child[u]..first_child[u + 1]` of the next inner level (or of the rows).
    pub first_child: Vec<usize>,
}

impl Level {
    /// Number of units.
    #[must_use]
    pub fn n_units(&self) -> usize {
        self.codes.len()
    }

    /// Units of the next inner level (rows, at the innermost) that `unit` owns.
    #[must_use]
    pub fn children(&self, unit: usize) -> Range<usize> {
        self.first_child[unit]..self.first_child[unit + 1]
    }
}

/// Rows sorted into units of nested factors, outermost first.
#[derive(Clone, Debug)]
pub struct Nesting {
    /// Number of rows.
    pub n_rows: usize,
    /// Levels, outermost first; empty where there is no grouping factor.
    pub levels: Vec<Level>,
    /// Row numbers in unit order, or `None` where the rows already stand in that order.
    pub row_order: Option<Vec<u32>>,
}

impl Nesting {
    /// By level, rotated rows that units keep: at most `orders[l]` of those that reach a unit of level
    /// l, which passes the others up; all of them where it has none of its own, as series do.
    #[must_use]
    pub fn n_kept(&self, orders: &[usize]) -> Vec<usize> {
        let (mut kept, mut passed) = (Vec::new(), None::<Vec<usize>>);
        for (level, &order) in self.levels.iter().zip(orders).rev() {
            let pass_up = |unit| {
                let own = level.children(unit);
                let n = passed.as_ref().map_or(own.len(), |p| p[own.clone()].iter().sum());
                let here = if order == 0 { n } else { n.min(order) };
                (here, n - here)
            };
            let (here, up): (Vec<usize>, Vec<usize>) = (0..level.n_units()).map(pass_up).unzip();
            kept.push(here.iter().sum());
            passed = Some(up);
        }
        kept.reverse();
        kept
    }

    /// Sorts rows by the units of nested factors.
    ///
    /// `codes[l][row]` is a code in `0..n_units[l]`, every code met; factors go from the outermost
    /// in. Units stand in order of first appearance, so rows sorted by cluster are never moved.
    ///
    /// # Errors
    /// [`NotNested`] names the first factor that is not nested in the one before it.
    pub fn new(n_rows: usize, codes: &[&[i32]], n_units: &[usize]) -> Result<Self, NotNested> {
        let mut levels: Vec<Level> = Vec::with_capacity(codes.len());
        let mut outer_rank: Option<Vec<u32>> = None;
        for l in 0..codes.len() {
            let parents = match l {
                0 => vec![0_u32; n_units[0]],
                _ => parent_codes(codes[l - 1], codes[l], n_units[l])
                    .ok_or(NotNested { inner: l })?,
            };
            let n_outer = if l == 0 { 1 } else { n_units[l - 1] };
            let rank_of_parent = outer_rank.unwrap_or_else(|| vec![0]);
            let owner: Vec<u32> = parents.iter().map(|&p| rank_of_parent[p as usize]).collect();
            let appearance = first_appearance(codes[l], n_units[l]);
            let (first_child, sorted) = counting_sort(
                appearance.into_iter(),
                |unit| owner[unit as usize] as usize,
                n_outer,
            );
            let mut rank = vec![0_u32; n_units[l]];
            for (position, &code) in sorted.iter().enumerate() {
                rank[code as usize] = position as u32;
            }
            if let Some(outer) = levels.last_mut() {
                outer.first_child = first_child;
            }
            levels.push(Level { codes: sorted, first_child: Vec::new() });
            outer_rank = Some(rank);
        }
        let row_order = match (levels.last_mut(), outer_rank) {
            (Some(innermost), Some(rank)) => {
                let (first_row, order) = sort_rows(codes[codes.len() - 1], &innermost.codes, &rank);
                innermost.first_child = first_row;
                order
            }
            _ => None,
        };
        Ok(Self { n_rows, levels, row_order })
    }

    /// Puts the rows of each innermost unit in the order of `positions` (by row), ties as they stand.
    pub fn sort_units(&mut self, positions: &[i32]) {
        let Some(innermost) = self.levels.last() else { return };
        let mut order: Vec<u32> = match self.row_order.take() {
            Some(order) => order,
            None => (0..self.n_rows as u32).collect(),
        };
        for bounds in innermost.first_child.windows(2) {
            let rows = &mut order[bounds[0]..bounds[1]];
            if !rows.is_sorted_by_key(|&row| positions[row as usize]) {
                rows.sort_by_key(|&row| positions[row as usize]);
            }
        }
        let moved = order.iter().enumerate().any(|(position, &row)| position != row as usize);
        self.row_order = moved.then_some(order);
    }

    /// Row number at a position in unit order.
    #[must_use]
    pub fn row_at(&self, position: usize) -> usize {
        self.row_order.as_ref().map_or(position, |order| order[position] as usize)
    }

    /// Rows (in unit order) that units `units` of level `level` own.
    #[must_use]
    pub fn rows(&self, level: usize, units: Range<usize>) -> Range<usize> {
        let (mut first, mut last) = (units.start, units.end);
        for level in &self.levels[level..] {
            first = level.first_child[first];
            last = level.first_child[last];
        }
        first..last
    }
}

/// The outer code that each inner code stands with, or `None` if one stands with two.
fn parent_codes(outer: &[i32], inner: &[i32], n_inner: usize) -> Option<Vec<u32>> {
    let mut parents = vec![u32::MAX; n_inner];
    for (&o, &i) in outer.iter().zip(inner) {
        let slot = &mut parents[i as usize];
        if *slot == u32::MAX {
            *slot = o as u32;
        } else if *slot != o as u32 {
            return None;
        }
    }
    Some(parents)
}

/// Codes in order of first appearance.
fn first_appearance(codes: &[i32], n_codes: usize) -> Vec<u32> {
    let mut met = vec![false; n_codes];
    let mut order = Vec::with_capacity(n_codes);
    let mut previous = -1;
    for &code in codes {
        if code != previous && !met[code as usize] {
            met[code as usize] = true;
            order.push(code as u32);
            if order.len() == n_codes {
                break;
            }
        }
        previous = code;
    }
    order
}

/// Where the items of each owner begin, and the items by owner; of one owner they stay in order.
fn counting_sort(
    items: impl Iterator<Item = u32> + Clone,
    owner: impl Fn(u32) -> usize,
    n_owners: usize,
) -> (Vec<usize>, Vec<u32>) {
    let first = offsets(items.clone().map(&owner), n_owners);
    let mut next = first.clone();
    let mut sorted = filled(0_u32, first[n_owners]);
    for item in items {
        let slot = &mut next[owner(item)];
        sorted[*slot] = item;
        *slot += 1;
    }
    (first, sorted)
}

/// Where the items of each owner begin when they are sorted by owner.
fn offsets(owners: impl Iterator<Item = usize>, n_owners: usize) -> Vec<usize> {
    let mut first = vec![0_usize; n_owners + 1];
    owners.for_each(|owner| first[owner + 1] += 1);
    for i in 0..n_owners {
        first[i + 1] += first[i];
    }
    first
}

/// Ranges of `n` items (units, as a rule) that own about `enough` rows; `rows` is how many some own.
///
/// They depend on the data only, so that sums over them have the same bits for any threads.
#[must_use]
pub fn chunks(n: usize, enough: usize, rows: impl Fn(Range<usize>) -> usize) -> Vec<Range<usize>> {
    let (mut chunks, mut first) = (Vec::new(), 0);
    for item in 0..n {
        if rows(first..item + 1) >= enough || item + 1 == n {
            chunks.push(first..item + 1);
            first = item + 1;
        }
    }
    chunks
}

/// Rows by unit: where those of each unit begin, and the row numbers, of one unit in the order in
/// which `before` has them (ascending without it).
#[must_use]
pub fn rows_by_unit(
    codes: &[i32],
    n_units: usize,
    before: Option<&[u32]>,
) -> (Vec<usize>, Vec<u32>) {
    let unit = |row: u32| codes[row as usize] as usize;
    match before {
        Some(rows) => counting_sort(rows.iter().copied(), unit, n_units),
        None => match ascending(codes, n_units) {
            Some(first) => (first, (0..codes.len() as u32).collect()),
            None => counting_sort(0..codes.len() as u32, unit, n_units),
        },
    }
}

/// Where the rows of each unit begin, if rows are sorted by unit.
fn ascending(codes: &[i32], n_units: usize) -> Option<Vec<usize>> {
    let (mut first, mut known) = (filled(codes.len(), n_units + 1), 0);
    let mut previous = -1;
    for (row, &code) in codes.iter().enumerate() {
        if code == previous {
            continue;
        }
        if code < previous {
            return None;
        }
        previous = code;
        first[known..=code as usize].fill(row);
        known = code as usize + 1;
    }
    Some(first)
}

/// Row offsets of the innermost units, whose codes stand in `units`, and the row order (`None` for the
/// identity); `rank` has the place of each code.
fn sort_rows(codes: &[i32], units: &[u32], rank: &[u32]) -> (Vec<usize>, Option<Vec<u32>>) {
    if codes.is_sorted_by_key(|&code| rank[code as usize]) {
        return (offsets(codes.iter().map(|&code| rank[code as usize] as usize), rank.len()), None);
    }
    // Counted by code, not by place: rows in any order then meet one table instead of two.
    let mut next = vec![0_u32; rank.len()];
    codes.iter().for_each(|&code| next[code as usize] += 1);
    let (mut first, mut total) = (Vec::with_capacity(rank.len() + 1), 0);
    for &code in units {
        first.push(total as usize);
        total += std::mem::replace(&mut next[code as usize], total);
    }
    first.push(total as usize);
    let mut order = filled(0_u32, codes.len());
    for (row, &code) in codes.iter().enumerate() {
        let slot = &mut next[code as usize];
        order[*slot as usize] = row as u32;
        *slot += 1;
    }
    (first, Some(order))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_units_own_contiguous_rows() {
        let school = [1, 0, 1, 0, 1];
        let class = [2, 0, 3, 1, 2];
        let nesting = Nesting::new(5, &[&school, &class], &[2, 4]).expect("nested");
        assert_eq!(nesting.levels[0].codes, vec![1, 0]);
        assert_eq!(nesting.levels[0].first_child, vec![0, 2, 4]);
        assert_eq!(nesting.levels[1].codes, vec![2, 3, 0, 1]);
        assert_eq!(nesting.levels[1].first_child, vec![0, 2, 3, 4, 5]);
        assert_eq!(nesting.row_order, Some(vec![0, 4, 2, 1, 3]));
        assert_eq!(nesting.rows(0, 0..1), 0..3);
    }

    #[test]
    fn crossed_factors_are_named() {
        let result = Nesting::new(4, &[&[0, 0, 1, 1], &[0, 1, 0, 1]], &[2, 2]);
        assert_eq!(result.err(), Some(NotNested { inner: 1 }));
    }

    #[test]
    fn rows_sorted_by_unit_begin_where_counting_says() {
        for codes in [&[0, 0, 2, 2, 2, 5][..], &[1][..], &[][..]] {
            let (first, order) = rows_by_unit(codes, 7, None);
            let sorted =
                counting_sort(0..codes.len() as u32, |row| codes[row as usize] as usize, 7);
            assert_eq!((first, order), sorted);
        }
        assert!(ascending(&[0, 2, 1], 3).is_none());
    }

    #[test]
    fn sorted_rows_stay_where_they_are() {
        let nesting = Nesting::new(4, &[&[1, 1, 0, 2]], &[3]).expect("one factor");
        assert!(nesting.row_order.is_none());
    }
}
