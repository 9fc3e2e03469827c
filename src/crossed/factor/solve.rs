//! Solutions of systems in a factored matrix.

use faer::linalg::triangular_solve::{
    solve_lower_triangular_in_place, solve_upper_triangular_in_place,
};
use faer::{MatMut, MatRef, Par};

use super::panels::{Panels, below_rows};
use super::tiles::{FEW, multiply, multiply_add};
use crate::linalg::dense::axpy;
use crate::running::threads;

/// Right-hand sides solved at once.
const CHUNK: usize = 64;

impl Panels {
    /// (L L')^-1 x for the row-major x of `width` columns, a row a column of `Z_2`.
    #[must_use]
    pub fn solve(&self, x: &[f64], width: usize) -> Vec<f64> {
        self.solve_with(x, width, |factor, part, n| {
            factor.solve_lower(part, n);
            factor.solve_upper(part, n);
        })
    }

    /// What `solve` makes of the row-major x of `width` columns, a row a column of `Z_2`; it takes
    /// some of the columns at once, in order of elimination.
    #[must_use]
    pub fn solve_with(
        &self,
        x: &[f64],
        width: usize,
        solve: impl Fn(&Self, &mut [f64], usize) + Sync,
    ) -> Vec<f64> {
        let mut own = self.to_elimination(x, width);
        if width <= CHUNK {
            solve(self, &mut own, width);
            return self.to_natural(own, width);
        }
        let starts: Vec<usize> = (0..width).step_by(CHUNK).collect();
        let some = |first: &usize| -> Vec<f64> {
            let n = CHUNK.min(width - first);
            let mut part: Vec<f64> =
                own.chunks_exact(width).flat_map(|row| &row[*first..first + n]).copied().collect();
            solve(self, &mut part, n);
            part
        };
        let parts = threads::map(&starts, some);
        for (first, part) in starts.iter().zip(&parts) {
            let n = CHUNK.min(width - first);
            for (row, from) in own.chunks_exact_mut(width).zip(part.chunks_exact(n)) {
                row[*first..first + n].copy_from_slice(from);
            }
        }
        self.to_natural(own, width)
    }

    /// x <- L^-1 x for the row-major x of `width` columns, in order of elimination.
    pub fn solve_lower(&self, x: &mut [f64], width: usize) {
        let mut product = Vec::new();
        for s in 0..self.structure.n_supernodes() {
            self.eliminate(s, x, width, &mut product);
        }
    }

    /// x <- L'^-1 x for the row-major x of `width` columns, in order of elimination.
    pub fn solve_upper(&self, x: &mut [f64], width: usize) {
        let mut gathered = Vec::new();
        for s in (0..self.structure.n_supernodes()).rev() {
            self.substitute(s, x, width, &mut gathered);
        }
    }

    /// One supernode's step of [`Self::solve_lower`].
    pub fn eliminate(&self, s: usize, x: &mut [f64], width: usize, product: &mut Vec<f64>) {
        let structure = &*self.structure;
        let (columns, panel) = (structure.columns(s), self.panel(s));
        let n = columns.len();
        let (head, below) = x.split_at_mut(columns.end * width);
        let own = &mut head[columns.start * width..];
        let end = columns.end;
        let height = structure.height[s];
        if n * width * height <= FEW {
            for i in 0..n {
                let (above, row) = own.split_at_mut(i * width);
                for (k, other) in above.chunks_exact(width).enumerate() {
                    axpy(-panel[i * n + k], other, &mut row[..width]);
                }
                row[..width].iter_mut().for_each(|v| *v /= panel[i * n + i]);
            }
            for (b, at) in below_rows(structure, s) {
                for r in 0..structure.size(b) {
                    let to = structure.first_column[b] as usize + r - end;
                    let target = &mut below[to * width..(to + 1) * width];
                    for (k, other) in own.chunks_exact(width).enumerate() {
                        axpy(-panel[(at + r) * n + k], other, target);
                    }
                }
            }
            return;
        }
        let mut own = MatMut::from_row_major_slice_mut(own, n, width);
        let matrix = MatRef::from_row_major_slice(panel, height, n);
        solve_lower_triangular_in_place(matrix.subrows(0, n), own.as_mut(), Par::Seq);
        product.resize((height - n) * width, 0.0);
        multiply(
            MatMut::from_row_major_slice_mut(product, height - n, width),
            matrix.subrows(n, height - n),
            own.as_ref(),
        );
        for (b, at) in below_rows(structure, s) {
            let (to, size) = (structure.first_column[b] as usize - end, structure.size(b));
            let from = &product[(at - n) * width..(at - n + size) * width];
            axpy(-1.0, from, &mut below[to * width..(to + size) * width]);
        }
    }

    /// One supernode's step of [`Self::solve_upper`].
    pub fn substitute(&self, s: usize, x: &mut [f64], width: usize, gathered: &mut Vec<f64>) {
        let structure = &*self.structure;
        let (columns, panel) = (structure.columns(s), self.panel(s));
        let (n, height) = (columns.len(), structure.height[s]);
        let (head, below) = x.split_at_mut(columns.end * width);
        let own = &mut head[columns.start * width..];
        let end = columns.end;
        if n * width * height <= FEW {
            for (b, at) in below_rows(structure, s) {
                for r in 0..structure.size(b) {
                    let from = structure.first_column[b] as usize + r - end;
                    let source = &below[from * width..(from + 1) * width];
                    for (k, target) in own.chunks_exact_mut(width).enumerate() {
                        axpy(-panel[(at + r) * n + k], source, target);
                    }
                }
            }
            for i in (0..n).rev() {
                let (above, row) = own.split_at_mut(i * width);
                let row = &mut row[..width];
                row.iter_mut().for_each(|v| *v /= panel[i * n + i]);
                for (k, target) in above.chunks_exact_mut(width).enumerate() {
                    axpy(-panel[i * n + k], row, target);
                }
            }
            return;
        }
        gathered.clear();
        for (b, _) in below_rows(structure, s) {
            let (from, size) = (structure.first_column[b] as usize - end, structure.size(b));
            gathered.extend_from_slice(&below[from * width..(from + size) * width]);
        }
        let matrix = MatRef::from_row_major_slice(panel, height, n);
        let mut own = MatMut::from_row_major_slice_mut(own, n, width);
        multiply_add(
            own.as_mut(),
            matrix.subrows(n, height - n).transpose(),
            MatRef::from_row_major_slice(gathered, height - n, width),
            -1.0,
        );
        solve_upper_triangular_in_place(matrix.subrows(0, n).transpose(), own, Par::Seq);
    }
}
