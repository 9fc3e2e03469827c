//! Inbreeding coefficients by tracing the ancestors of each animal's parents.
//!
//! Meuwissen and Luo (1992), Genet. Sel. Evol. 24, 305: with the row `l` of T that belongs to an
//! animal, found by going from the animal to its ancestors, its relationship to itself is `sum_j l_j^2
//! d_j`. Here two rows are traced at once, those of sire and dam, whose relationship
//! `sum_j l_sj l_dj d_j` is twice the inbreeding of their offspring: a sum of positive terms, which
//! keeps its digits however small it is, and is at an end where one of the two has no ancestors left.

use std::collections::HashMap;

use super::ancestors::Ancestors;
use super::birth_order::Parents;
use super::coefficients::{Inbreeding, segregation};
use crate::running::memory::{buffer, filled};
use crate::running::stop::check;

/// Animals between two looks for a signal.
const PATIENCE: usize = 64;

/// Inbreeding of animals that come after their parents; `None` where more than `most` ancestors would
/// be visited.
pub fn by_tracing(parents: Parents, most: usize) -> Option<Inbreeding> {
    let n = parents.len();
    let mut found = Inbreeding { coefficients: buffer(n), segregation: buffer(n) };
    let mut known: HashMap<[i32; 2], f64> = HashMap::new();
    let mut trace = Trace::new(n);
    for (animal, &own) in parents.iter().enumerate() {
        if animal % PATIENCE == 0 {
            check();
        }
        if trace.visited > most {
            return None;
        }
        let variance = segregation(own, &found.coefficients);
        found.segregation.push(variance);
        let [a, b] = [own[0].min(own[1]), own[0].max(own[1])];
        let coefficient = if a < 0 {
            0.0
        } else if a == b {
            0.5 + 0.5 * found.coefficients[a as usize]
        } else {
            let trace = || 0.5 * trace.relationship([a as usize, b as usize], parents, &found);
            *known.entry([a, b]).or_insert_with(trace)
        };
        found.coefficients.push(coefficient);
    }
    Some(found)
}

/// Rows of T of two animals while they are traced.
struct Trace {
    rows: Vec<[f64; 2]>,
    waiting: Ancestors,
    /// Ancestors that were looked at.
    visited: usize,
}

impl Trace {
    fn new(n: usize) -> Self {
        Self { rows: filled([0.0; 2], n), waiting: Ancestors::new(n), visited: 0 }
    }

    /// Relationship of two animals.
    fn relationship(&mut self, pair: [usize; 2], parents: Parents, known: &Inbreeding) -> f64 {
        let mut left = [0_usize; 2];
        self.add(pair[0], [1.0, 0.0], &mut left);
        self.add(pair[1], [0.0, 1.0], &mut left);
        let mut sum = 0.0;
        while left[0] > 0 && left[1] > 0 {
            let Some(animal) = self.waiting.pop() else { break };
            self.visited += 1;
            let own = std::mem::replace(&mut self.rows[animal], [0.0; 2]);
            left[0] -= usize::from(own[0] > 0.0);
            left[1] -= usize::from(own[1] > 0.0);
            sum += own[0] * own[1] * known.segregation[animal];
            let half = [0.5 * own[0], 0.5 * own[1]];
            for parent in parents[animal].into_iter().filter(|p| *p >= 0) {
                self.add(parent as usize, half, &mut left);
            }
        }
        while let Some(animal) = self.waiting.pop() {
            self.rows[animal] = [0.0; 2];
        }
        sum
    }

    fn add(&mut self, animal: usize, part: [f64; 2], left: &mut [usize; 2]) {
        let row = &mut self.rows[animal];
        if row[0] == 0.0 && row[1] == 0.0 {
            self.waiting.insert(animal);
        }
        for side in 0..2 {
            // What is too small for a number beside nothing is nothing.
            left[side] += usize::from(row[side] == 0.0 && part[side] > 0.0);
            row[side] += part[side];
        }
    }
}
