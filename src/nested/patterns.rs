//! Units that share T share their factorization, and many of them are replaced by few.

use std::collections::HashMap;
use std::ops::Range;

use super::blocks::Blocks;
use crate::linalg::dense::block;
use crate::linalg::triangle::Triangle;
use crate::rows::SAMPLE;
use crate::rows::hashes::mixed;
use crate::running::memory::append;
use crate::running::threads;

/// Units per task.
const CHUNK_UNITS: usize = 65_536;

/// Units with equal T: one factorization, `n_blocks` blocks of [T A], determinant counted `count` times.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    /// First block.
    pub first: usize,
    /// Blocks, possibly pseudo-units.
    pub n_blocks: usize,
    /// Blocks with columns of X; those after them have only a response.
    pub n_full: usize,
    /// Units that the pattern stands for.
    pub count: usize,
}

impl Pattern {
    /// Is this, at place `k` of all patterns, a unit that stands for itself alone?
    #[must_use]
    pub fn is_unit((k, own): (usize, &Self)) -> bool {
        (own.first, own.n_blocks, own.count) == (k, 1, 1)
    }
}

/// Units with bit-equal T, or `None` where too few are equal for it to pay.
pub(super) fn group_by_root(
    leaf: &Blocks,
    columns: usize,
    n_units: usize,
) -> Option<Vec<Vec<usize>>> {
    let alike = Alike { leaf, columns, compared: 0..leaf.q };
    // Most often all differ.
    let mut sample: Vec<u64> = (0..n_units.min(SAMPLE)).map(|unit| alike.hash(unit)).collect();
    let sampled = sample.len();
    sample.sort_unstable();
    sample.dedup();
    (4 * sample.len() <= 3 * sampled).then(|| alike.groups(0..n_units))
}

/// Units are told apart by the bits of some columns.
struct Alike<'a> {
    leaf: &'a Blocks,
    columns: usize,
    compared: Range<usize>,
}

impl Alike<'_> {
    /// The numbers that are compared.
    #[inline(always)]
    fn bits(&self, unit: usize) -> impl Iterator<Item = u64> {
        let rows =
            self.leaf.design[block(unit, self.leaf.q * self.columns)].chunks_exact(self.columns);
        rows.flat_map(|row| &row[self.compared.clone()]).map(|value| value.to_bits())
    }

    fn hash(&self, unit: usize) -> u64 {
        self.bits(unit).fold(0, mixed)
    }

    /// Units that are alike, in the order of their first.
    fn groups(&self, units: impl IntoIterator<Item = usize>) -> Vec<Vec<usize>> {
        // By hash, the groups that have it: as a rule one.
        let mut index: HashMap<u64, Vec<usize>> = HashMap::new();
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut last = 0;
        for unit in units {
            let is_of = |group: &Vec<usize>| self.bits(group[0]).eq(self.bits(unit));
            // Neighbours are often alike.
            if !groups.get(last).is_some_and(is_of) {
                let same_hash = index.entry(self.hash(unit)).or_default();
                if let Some(&found) = same_hash.iter().find(|&&group| is_of(&groups[group])) {
                    last = found;
                } else {
                    last = groups.len();
                    same_hash.push(last);
                    groups.push(Vec::new());
                }
            }
            groups[last].push(unit);
        }
        groups
    }
}

/// Replaces the members of a pattern by at most q rank + q pseudo-units with the same sums.
///
/// The rows vec(A)' of the members are replaced by their own triangular factor: sum of A'K A over
/// members is unchanged for every K. Each response is factored alone, so that its numbers do not
/// depend on which others stand beside it.
pub(super) fn compress(
    leaf: &Blocks,
    members: &[usize],
    rank: usize,
    n_fits: usize,
    design: &mut Vec<f64>,
    responses: &mut [Vec<f64>],
) {
    let q = leaf.q;
    let columns = q + rank;
    let n_units = leaf.response.len() / (q * n_fits.max(1));
    let width = q * rank + q;
    let root = leaf.design[block(members[0], q * columns)].to_vec();
    for (f, response) in responses.iter_mut().enumerate() {
        let factor = |members: &[usize]| {
            let mut triangle = Triangle::new(width, 0);
            let mut row = vec![0.0; width];
            for &unit in members {
                let rows = leaf.design[block(unit, q * columns)].chunks_exact(columns);
                for (a, design_row) in rows.enumerate() {
                    row[block(a, rank)].copy_from_slice(&design_row[q..]);
                }
                let at = (f * n_units + unit) * q;
                row[q * rank..].copy_from_slice(&leaf.response[at..at + q]);
                triangle.push_row(&row);
            }
            triangle
        };
        let mut parts = threads::map(members.chunks(CHUNK_UNITS), factor);
        let (first, others) = parts.split_at_mut(1);
        let triangle = &mut first[0];
        others.iter_mut().for_each(|part| triangle.merge(part));
        for pseudo in triangle.factor().chunks_exact(width) {
            append(response, &pseudo[q * rank..]);
            if f == 0 {
                for (a, root_row) in root.chunks_exact(columns).enumerate() {
                    append(design, &root_row[..q]);
                    append(design, &pseudo[block(a, rank)]);
                }
            }
        }
    }
}

/// Units as they are, of `columns` numbers a row of the design.
pub(super) fn copy_units(
    leaf: &Blocks,
    members: &[usize],
    columns: usize,
    design: &mut Vec<f64>,
    responses: &mut [Vec<f64>],
) {
    let q = leaf.q;
    let n_units = leaf.design.len() / (q * columns);
    for &unit in members {
        append(design, &leaf.design[block(unit, q * columns)]);
        for (f, response) in responses.iter_mut().enumerate() {
            append(response, &leaf.response[block(f * n_units + unit, q)]);
        }
    }
}

/// Members of a pattern with bit-equal columns of X, in the order of their first.
pub(super) fn group_by_fixed(leaf: &Blocks, members: &[usize], columns: usize) -> Vec<Vec<usize>> {
    let alike = Alike { leaf, columns, compared: leaf.q..columns };
    alike.groups(members.iter().copied())
}

/// Replaces the members of a pattern, grouped by equal columns of X, by one pseudo-unit a group and
/// at most q that have only a response.
///
/// With y = mean + (y - mean) in a group, sums of A'K A, A'K y are those of the means, and y'K y
/// that of the means plus that of the deviations, whatever K is.
pub(super) fn merge_alike(
    leaf: &Blocks,
    groups: &[Vec<usize>],
    rank: usize,
    n_fits: usize,
    design: &mut Vec<f64>,
    responses: &mut [Vec<f64>],
) {
    let q = leaf.q;
    let columns = q + rank;
    let n_units = leaf.response.len() / (q * n_fits.max(1));
    let root = leaf.design[block(groups[0][0], q * columns)].to_vec();
    let n_deviations: usize = groups.iter().map(|group| group.len() - 1).sum();
    for group in groups {
        let scale = (group.len() as f64).sqrt();
        for row in leaf.design[block(group[0], q * columns)].chunks_exact(columns) {
            append(design, &row[..q]);
            design.extend(row[q..].iter().map(|value| scale * value));
        }
    }
    for _ in 0..n_deviations.min(q) {
        for row in root.chunks_exact(columns) {
            append(design, &row[..q]);
            design.extend(std::iter::repeat_n(0.0, rank));
        }
    }
    for (f, response) in responses.iter_mut().enumerate() {
        let of = |unit: usize| &leaf.response[block(f * n_units + unit, q)];
        let mut deviations = Deviations::new(q, n_deviations);
        for group in groups {
            let mut mean = of(group[0]).to_vec();
            for (k, &unit) in group.iter().enumerate().skip(1) {
                // The deviations from the mean of those before, scaled, are as good as centred ones.
                let (n, y) = (k as f64, of(unit));
                let scale = (n / (n + 1.0)).sqrt();
                let row: Vec<f64> = y.iter().zip(&mean).map(|(y, m)| scale * (y - m)).collect();
                deviations.push(&row);
                mean.iter_mut().zip(y).for_each(|(m, y)| *m += (y - *m) / (n + 1.0));
            }
            let scale = (group.len() as f64).sqrt();
            response.extend(mean.iter().map(|value| scale * value));
        }
        append(response, deviations.rows());
    }
}

/// Rows of which only the cross-product matters: as they are, or their triangular factor.
struct Deviations {
    few: Vec<f64>,
    many: Option<Triangle>,
}

impl Deviations {
    fn new(q: usize, n: usize) -> Self {
        Self { few: Vec::new(), many: (n > q).then(|| Triangle::new(q, 0)) }
    }

    fn push(&mut self, row: &[f64]) {
        match &mut self.many {
            Some(triangle) => triangle.push_row(row),
            None => self.few.extend_from_slice(row),
        }
    }

    fn rows(&mut self) -> &[f64] {
        match &mut self.many {
            Some(triangle) => triangle.factor(),
            None => &self.few,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Neighbours alike, alike ones apart, columns that are not compared, zeros of both signs.
    #[test]
    fn units_are_grouped_by_the_bits_of_the_columns_compared() {
        let (q, columns, n_units) = (2, 4, 600);
        let value = |unit: usize, k: usize| match k % columns {
            0 => [0.0, -0.0, 1.5][unit / 7 % 3],
            3 => unit as f64,
            _ => (unit * unit % 5) as f64 * 0.1,
        };
        let all = (0..n_units).flat_map(|unit| (0..q * columns).map(move |k| value(unit, k)));
        let leaf = Blocks {
            q,
            n_outer: 0,
            first_child: Vec::new(),
            design: all.collect(),
            response: Vec::new(),
            basis: Vec::new(),
            is_residual: false,
            series: None,
        };
        let mut expected: BTreeMap<[u64; 2], Vec<usize>> = BTreeMap::new();
        for unit in 0..n_units {
            expected
                .entry([value(unit, 0), value(unit, 1)].map(f64::to_bits))
                .or_default()
                .push(unit);
        }
        let mut expected: Vec<Vec<usize>> = expected.into_values().collect();
        expected.sort_unstable_by_key(|group| group[0]);
        let alike = Alike { leaf: &leaf, columns, compared: 0..3 };
        assert_eq!(alike.groups(0..n_units), expected);
    }
}
