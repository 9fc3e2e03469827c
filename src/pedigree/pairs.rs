//! Relationships of parents from those of few other pairs.
//!
//! The relationship of an animal to an older one is the mean of its parents' to that one (the tabular
//! method). Beginning with the parents of each animal, the pairs that others are computed from are
//! listed, the youngest animal first; then they are computed, the oldest first. There are as many as
//! the Cholesky factor of A^-1 has nonzeros where offspring are eliminated before their parents: few
//! where a population renews itself, though each animal may descend from all earlier ones.

use super::birth_order::Parents;
use super::coefficients::{Inbreeding, segregation};
use crate::running::memory::{buffer, filled, grow, zeros};
use crate::running::stop::check;

/// Animals between two looks for a signal.
const PATIENCE: usize = 64;

/// Pairs that are needed: of animal i with the older ones
/// `partners[first[i]..first[i + 1]]`, ascending.
struct Pairs {
    first: Vec<usize>,
    partners: Vec<u32>,
}

impl Pairs {
    /// `None` where there are more than `most`.
    fn needed(parents: Parents, most: usize) -> Option<Self> {
        let n = parents.len();
        let mut lists: Vec<Vec<u32>> = filled(Vec::new(), n);
        let mut total = 0;
        for animal in (0..n).rev() {
            if animal % PATIENCE == 0 {
                check();
            }
            let mut own = std::mem::take(&mut lists[animal]);
            own.sort_unstable();
            own.dedup();
            total += own.len();
            if total > most {
                return None;
            }
            let mut need = |a: i32, b: i32| {
                if a >= 0 && b >= 0 && a != b {
                    let list = &mut lists[a.max(b) as usize];
                    grow(list, 1);
                    list.push(a.min(b) as u32);
                }
            };
            let [sire, dam] = parents[animal];
            need(sire, dam);
            for &partner in &own {
                need(sire, partner as i32);
                need(dam, partner as i32);
            }
            own.shrink_to_fit();
            lists[animal] = own;
        }
        let mut first = buffer(n + 1);
        let mut partners = buffer(total);
        first.push(0);
        for own in lists {
            partners.extend(own);
            first.push(partners.len());
        }
        Some(Self { first, partners })
    }

    /// Place of a pair of two animals.
    fn place(&self, a: usize, b: usize) -> Option<usize> {
        let (young, old) = (a.max(b), a.min(b) as u32);
        let start = self.first[young];
        let own = &self.partners[start..self.first[young + 1]];
        own.binary_search(&old).ok().map(|k| start + k)
    }
}

/// Inbreeding of animals that come after their parents; `None` where more than `most` pairs are
/// needed.
pub fn by_pairs(parents: Parents, most: usize) -> Option<Inbreeding> {
    let n = parents.len();
    let pairs = Pairs::needed(parents, most)?;
    let mut values = zeros(pairs.partners.len());
    let mut found = Inbreeding { coefficients: buffer(n), segregation: buffer(n) };
    for (animal, &[sire, dam]) in parents.iter().enumerate() {
        if animal % PATIENCE == 0 {
            check();
        }
        let between = |a: i32, b: i32, values: &[f64]| {
            if a < 0 || b < 0 {
                0.0
            } else if a == b {
                1.0 + found.coefficients[a as usize]
            } else {
                pairs.place(a as usize, b as usize).map_or(0.0, |place| values[place])
            }
        };
        for k in pairs.first[animal]..pairs.first[animal + 1] {
            let old = pairs.partners[k] as i32;
            let of_parents = between(sire, old, &values) + between(dam, old, &values);
            values[k] = 0.5 * of_parents;
        }
        let coefficient = 0.5 * between(sire, dam, &values);
        let variance = segregation([sire, dam], &found.coefficients);
        found.coefficients.push(coefficient);
        found.segregation.push(variance);
    }
    Some(found)
}
