//! Where the nonzeros of A's factor stand: supernodes, their panels, what updates what.
//!
//! A supernode is a stretch of units (in order of elimination) whose columns share their rows below
//! the diagonal. Its panel holds these columns as one dense row-major matrix: the rows of its own
//! units, then those of the units below. A dense A is the case of one supernode; wide ones are cut,
//! so that no panel has much more than [`WIDEST`] columns.

use std::ops::Range;

use super::elimination_tree::EliminationTree;
use super::graph::Graph;
use crate::crossed::rest::{Crossing, Rest};

/// Columns of a panel: products near the machine's peak, and enough panels to share out.
const WIDEST: usize = 160;
/// Order up to which a dense A is factored at once.
const SMALL: usize = 100;
/// Sparse operations cost about this many dense ones.
const SPARSE_COST: f64 = 2.0;
/// Entries of a factor beyond any memory.
const LARGEST: f64 = 5e8;
/// Subtrees are cut off the elimination tree where they hold less than this part of the work.
const SUBTREE: f64 = 1.0 / 24.0;
/// Operations that are not worth a task of their own.
const SMALLEST_TASK: f64 = 2e5;

/// Which form of A is factored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schur {
    /// Whichever is cheaper.
    Cheaper,
    /// All of its lower triangle.
    Dense,
    /// The nonzeros of its factor.
    Sparse,
}

/// Rows of one panel that lie in the columns of another.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// Supernode whose panel has the rows.
    pub from: u32,
    /// First of these rows in its list.
    pub begin: u32,
    /// End of them.
    pub end: u32,
}

/// The panels of a factor and its inverse; "block" is a unit by its place in the elimination.
#[derive(Debug)]
pub struct Structure {
    /// Whether all of the lower triangle is stored.
    pub is_dense: bool,
    /// Unit of each block.
    pub unit_of: Vec<u32>,
    /// Block of each unit.
    pub block_of: Vec<u32>,
    /// First column of each block in order of elimination; the order of A at the end.
    pub first_column: Vec<u32>,
    /// First column of each block in `Z_2`.
    pub natural: Vec<u32>,
    /// Position of each block's level among the rest.
    pub level_of: Vec<u32>,
    /// Supernode s holds the blocks `first_block[s]..first_block[s + 1]`.
    pub first_block: Vec<usize>,
    /// Supernode of each block.
    pub supernode_of: Vec<u32>,
    /// Rows of each panel.
    pub height: Vec<usize>,
    /// Blocks below the diagonal in panel s: `rows[first_row[s]..first_row[s + 1]]`.
    pub first_row: Vec<usize>,
    /// See `first_row`.
    pub rows: Vec<u32>,
    /// First row in the panel of each of `rows`.
    pub row_offset: Vec<u32>,
    /// First value of each panel; the number of values at the end.
    pub offset: Vec<usize>,
    /// Supernode t is updated by `updates[first_update[t]..first_update[t + 1]]`, ascending.
    pub first_update: Vec<usize>,
    /// See `first_update`.
    pub updates: Vec<Update>,
    /// Stretches of supernodes that no other stretch updates.
    pub groups: Vec<Range<usize>>,
    /// Supernodes of no group, ascending.
    pub top: Vec<usize>,
    /// Operations of a factorisation and the selected inverse, roughly.
    pub operations: f64,
}

/// Operations of a dense factorisation with the inverse.
#[must_use]
pub fn dense_operations(order: usize) -> f64 {
    (order as f64).powi(3)
}

impl Structure {
    /// The sparse structure, where it is wished for or cheaper than the dense one.
    #[must_use]
    pub fn sparse(crossing: &Crossing, rest: &Rest, wish: Schur) -> Option<Self> {
        let always = wish == Schur::Sparse;
        if wish == Schur::Dense || (!always && rest.order() <= SMALL) {
            return None;
        }
        let graph = Graph::new(crossing, rest, always)?;
        let tree = EliminationTree::new(rest, &graph, LARGEST)?;
        let supernodes = supernodes(rest, &graph, &tree);
        let out = Self::new(rest, tree.order, &supernodes, false);
        (always || SPARSE_COST * out.operations < dense_operations(rest.order())).then_some(out)
    }

    /// All of the lower triangle.
    #[must_use]
    pub fn dense(rest: &Rest) -> Self {
        let order = (0..rest.n_blocks() as u32).collect();
        Self::new(rest, order, &[(0, Vec::new())], true)
    }

    fn new(
        rest: &Rest,
        unit_of: Vec<u32>,
        supernodes: &[(usize, Vec<u32>)],
        is_dense: bool,
    ) -> Self {
        let n = unit_of.len();
        let mut block_of = vec![0; n];
        let (mut first_column, mut natural, mut level_of) =
            (vec![0_u32], Vec::with_capacity(n), Vec::with_capacity(n));
        for (block, unit) in unit_of.iter().enumerate() {
            block_of[*unit as usize] = block as u32;
            let columns = rest.columns_of(*unit as usize);
            natural.push(columns.start as u32);
            level_of.push(rest.level_of(*unit as usize) as u32);
            first_column.push(first_column[block] + columns.len() as u32);
        }
        let mut out = Self {
            is_dense,
            unit_of,
            block_of,
            first_column,
            natural,
            level_of,
            first_block: vec![0],
            supernode_of: vec![0; n],
            height: Vec::new(),
            first_row: vec![0],
            rows: Vec::new(),
            row_offset: Vec::new(),
            offset: vec![0],
            first_update: Vec::new(),
            updates: Vec::new(),
            groups: Vec::new(),
            top: Vec::new(),
            operations: 0.0,
        };
        let mut ends = supernodes.iter().skip(1).map(|s| s.0).collect::<Vec<_>>();
        ends.push(n);
        for ((first, rows), end) in supernodes.iter().zip(ends) {
            out.add_panels(*first, end, rows);
        }
        out.list_updates();
        out.cut_subtrees();
        out
    }

    /// Columns of a block.
    #[must_use]
    pub fn size(&self, block: usize) -> usize {
        (self.first_column[block + 1] - self.first_column[block]) as usize
    }

    /// Order of A.
    #[must_use]
    pub fn order(&self) -> usize {
        self.first_column[self.unit_of.len()] as usize
    }

    /// Values of all panels.
    #[must_use]
    pub fn n_values(&self) -> f64 {
        self.offset[self.n_supernodes()] as f64
    }

    /// Number of supernodes.
    #[must_use]
    pub fn n_supernodes(&self) -> usize {
        self.height.len()
    }

    /// Blocks of a supernode.
    #[must_use]
    pub fn blocks(&self, s: usize) -> Range<usize> {
        self.first_block[s]..self.first_block[s + 1]
    }

    /// Columns of a supernode in order of elimination.
    #[must_use]
    pub fn columns(&self, s: usize) -> Range<usize> {
        let blocks = self.blocks(s);
        self.first_column[blocks.start] as usize..self.first_column[blocks.end] as usize
    }

    /// Columns of a panel.
    #[must_use]
    pub fn width(&self, s: usize) -> usize {
        self.columns(s).len()
    }

    /// Values of a panel.
    #[must_use]
    pub fn values(&self, s: usize) -> Range<usize> {
        self.offset[s]..self.offset[s + 1]
    }

    /// Blocks below the diagonal of a panel.
    #[must_use]
    pub fn rows(&self, s: usize) -> &[u32] {
        &self.rows[self.first_row[s]..self.first_row[s + 1]]
    }

    /// First row in the panel of the k-th block below its diagonal; its height at the end.
    #[must_use]
    pub fn row_start(&self, s: usize, k: usize) -> usize {
        let at = self.first_row[s] + k;
        if at < self.first_row[s + 1] { self.row_offset[at] as usize } else { self.height[s] }
    }

    /// First rows of the blocks of a panel, in the panel, for each block that it has.
    pub fn place_rows(&self, s: usize, places: &mut [u32]) {
        let first = self.columns(s).start as u32;
        for b in self.blocks(s) {
            places[b] = self.first_column[b] - first;
        }
        let own = self.first_row[s]..self.first_row[s + 1];
        for (row, at) in self.rows[own.clone()].iter().zip(&self.row_offset[own]) {
            places[*row as usize] = *at;
        }
    }

    /// Blocks of a panel with their first rows, those of the diagonal before the others.
    pub fn panel_rows(&self, s: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let first = self.columns(s).start;
        let below = self.first_row[s]..self.first_row[s + 1];
        self.blocks(s).map(move |b| (b, self.first_column[b] as usize - first)).chain(
            self.rows[below.clone()]
                .iter()
                .zip(&self.row_offset[below])
                .map(|(b, at)| (*b as usize, *at as usize)),
        )
    }

    /// Appends the panels of one supernode.
    fn add_panels(&mut self, first: usize, end: usize, rows: &[u32]) {
        let n_columns = (self.first_column[end] - self.first_column[first]) as usize;
        let target = n_columns.div_ceil(n_columns.div_ceil(WIDEST).max(1)).max(1);
        let mut start = first;
        while start < end {
            let mut stop = start + 1;
            while stop < end
                && (self.first_column[stop + 1] - self.first_column[start]) as usize <= target
            {
                stop += 1;
            }
            let s = self.n_supernodes();
            self.supernode_of[start..stop].fill(s as u32);
            self.first_block.push(stop);
            let width = (self.first_column[stop] - self.first_column[start]) as usize;
            let mut height = width;
            for row in (stop as u32..end as u32).chain(rows.iter().copied()) {
                self.rows.push(row);
                self.row_offset.push(height as u32);
                height += self.size(row as usize);
            }
            self.first_row.push(self.rows.len());
            self.height.push(height);
            self.offset.push(self.offset[s] + height * width);
            start = stop;
        }
    }

    fn list_updates(&mut self) {
        let mut found: Vec<(u32, Update)> = Vec::new();
        for s in 0..self.n_supernodes() {
            let rows = self.rows(s);
            let mut begin = 0;
            while begin < rows.len() {
                let target = self.supernode_of[rows[begin] as usize];
                let last = self.first_block[target as usize + 1] as u32;
                let end = begin + rows[begin..].partition_point(|r| *r < last);
                let (from, begin_32, end_32) = (s as u32, begin as u32, end as u32);
                found.push((target, Update { from, begin: begin_32, end: end_32 }));
                begin = end;
            }
        }
        self.first_update = vec![0; self.n_supernodes() + 1];
        found.iter().for_each(|(t, _)| self.first_update[*t as usize + 1] += 1);
        for t in 0..self.n_supernodes() {
            self.first_update[t + 1] += self.first_update[t];
        }
        // Stable: ascending by the panel that updates.
        found.sort_by_key(|(t, _)| *t);
        self.updates = found.into_iter().map(|(_, update)| update).collect();
    }

    /// Supernode of the first row below a supernode's diagonal.
    #[must_use]
    pub fn parent(&self, s: usize) -> Option<usize> {
        self.rows(s).first().map(|row| self.supernode_of[*row as usize] as usize)
    }

    fn work(&self, s: usize) -> f64 {
        let (width, below) = (self.width(s) as f64, (self.height[s] - self.width(s)) as f64);
        width.powi(3) + 2.0 * width * width * below + 3.0 * width * below * below + 100.0
    }

    fn cut_subtrees(&mut self) {
        let n = self.n_supernodes();
        let mut below: Vec<f64> = (0..n).map(|s| self.work(s)).collect();
        for s in 0..n {
            if let Some(parent) = self.parent(s) {
                below[parent] += below[s];
            }
        }
        self.operations = (0..n).map(|s| self.work(s)).sum();
        let limit = (self.operations * SUBTREE).max(SMALLEST_TASK);
        let (mut first, mut held) = (0, 0.0);
        for s in 0..n {
            if below[s] > limit {
                if first < s {
                    self.groups.push(first..s);
                }
                self.top.push(s);
                (first, held) = (s + 1, 0.0);
                continue;
            }
            held += self.work(s);
            // Only between subtrees may a group end.
            let is_root = self.parent(s).is_none_or(|p| below[p] > limit);
            if is_root && held > limit {
                self.groups.push(first..s + 1);
                (first, held) = (s + 1, 0.0);
            }
        }
        if first < n {
            self.groups.push(first..n);
        }
    }
}

/// Supernodes by their first blocks, and the blocks below their diagonals.
fn supernodes(rest: &Rest, graph: &Graph, tree: &EliminationTree) -> Vec<(usize, Vec<u32>)> {
    let firsts = merge(rest, tree);
    let n = tree.order.len();
    let mut supernode_of = vec![0_u32; n];
    for (s, first) in firsts.iter().enumerate() {
        let end = firsts.get(s + 1).copied().unwrap_or(n);
        supernode_of[*first..end].fill(s as u32);
    }
    let mut children: Vec<Vec<u32>> = vec![Vec::new(); firsts.len()];
    let mut out: Vec<(usize, Vec<u32>)> = Vec::with_capacity(firsts.len());
    let mut mark = vec![u32::MAX; n];
    for (s, &first) in firsts.iter().enumerate() {
        let end = firsts.get(s + 1).copied().unwrap_or(n);
        let mut rows = Vec::new();
        let mut add = |row: u32| {
            if row as usize >= end && mark[row as usize] != s as u32 {
                mark[row as usize] = s as u32;
                rows.push(row);
            }
        };
        for unit in &tree.order[first..end] {
            for other in graph.of(*unit as usize) {
                add(tree.place_of[*other as usize]);
            }
        }
        for child in &children[s] {
            out[*child as usize].1.iter().copied().for_each(&mut add);
        }
        rows.sort_unstable();
        if let Some(row) = rows.first() {
            children[supernode_of[*row as usize] as usize].push(s as u32);
        }
        out.push((first, rows));
    }
    out
}

/// First blocks of supernodes: a column joins the one before it where its rows are the same, or
/// nearly so.
fn merge(rest: &Rest, tree: &EliminationTree) -> Vec<usize> {
    let mut firsts: Vec<usize> = Vec::new();
    // Of the last supernode: columns, rows of its first column, zeros stored.
    let (mut width, mut height, mut zeros) = (0, 0, 0);
    for (block, unit) in tree.order.iter().enumerate() {
        let own = rest.columns_of(*unit as usize).len();
        let below = tree.height[block];
        if block > 0 && tree.parent[block - 1] as usize == block {
            let joined = width + own;
            let more = zeros + width * (width + below - height);
            let all = joined * (joined + 1) / 2 + joined * (below - own);
            let allowed = match joined {
                ..=8 => 0.5,
                9..=32 => 0.2,
                _ => 0.05,
            };
            if more as f64 <= allowed * all as f64 {
                (width, height, zeros) = (joined, width + below, more);
                continue;
            }
        }
        firsts.push(block);
        (width, height, zeros) = (own, below, 0);
    }
    firsts
}
