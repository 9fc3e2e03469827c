//! Solutions for sparse right-hand sides: only supernodes that they reach are visited.

use super::panels::Panels;
use crate::running::memory::zeros;

/// Right-hand sides, zero between uses.
pub struct Reach<'p> {
    factor: &'p Panels,
    /// Row-major, a row a column of A in order of elimination.
    pub x: Vec<f64>,
    width: usize,
    buffer: Vec<f64>,
    is_marked: Vec<bool>,
    /// Supernodes to visit, ascending once solved.
    visited: Vec<usize>,
}

impl<'p> Reach<'p> {
    /// `width` right-hand sides that are zero.
    #[must_use]
    pub fn new(factor: &'p Panels, width: usize) -> Self {
        let structure = &*factor.structure;
        Self {
            factor,
            x: zeros(structure.order() * width),
            width,
            buffer: Vec::new(),
            is_marked: vec![false; structure.n_supernodes()],
            visited: Vec::new(),
        }
    }

    /// Number of right-hand sides.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Says that rows of a block have been set, and with it which rows the solution may have: the
    /// paths from the blocks' supernodes to the roots of the elimination tree.
    pub fn mark(&mut self, block: usize) {
        let structure = &*self.factor.structure;
        let mut at = Some(structure.supernode_of[block] as usize);
        while let Some(s) = at.filter(|s| !self.is_marked[*s]) {
            self.is_marked[s] = true;
            self.visited.push(s);
            at = structure.parent(s);
        }
    }

    /// x <- L^-1 x.
    pub fn solve_lower(&mut self) {
        self.visited.sort_unstable();
        for &s in &self.visited {
            self.factor.eliminate(s, &mut self.x, self.width, &mut self.buffer);
        }
    }

    /// x <- L'^-1 x on the rows that may be reached, after [`Self::solve_lower`].
    pub fn solve_upper(&mut self) {
        for &s in self.visited.iter().rev() {
            self.factor.substitute(s, &mut self.x, self.width, &mut self.buffer);
        }
    }

    /// Rows that may be nonzero, `width` numbers each.
    pub fn rows(&self) -> impl Iterator<Item = &[f64]> + '_ {
        let structure = &*self.factor.structure;
        self.visited
            .iter()
            .flat_map(move |&s| structure.columns(s))
            .map(move |c| &self.x[c * self.width..(c + 1) * self.width])
    }

    /// Back to zero.
    pub fn clear(&mut self) {
        let structure = &*self.factor.structure;
        for &s in &self.visited {
            self.is_marked[s] = false;
            let columns = structure.columns(s);
            self.x[columns.start * self.width..columns.end * self.width].fill(0.0);
        }
        self.visited.clear();
    }
}
