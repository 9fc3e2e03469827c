//! Sums over units of the diagonal blocks of H = Z'W^-1 Z, which give the traces tr(H E).
//!
//! In eigenvector coordinates of G, H = (I - A^-1) / (s s') where the roots s are not small, read off
//! the inverse on the factor's pattern. Where one is, its rows are K - K Lambda A^-1 Lambda'K, by a
//! solution for each that visits only what it reaches. Related units: see [`crate::crossed::prior`].

use crate::crossed::evaluation::{Factorisation, unit_information};
use crate::crossed::factor::panels::Panels;
use crate::crossed::factor::reach::Reach;
use crate::crossed::marginal::Marginal;
use crate::crossed::rest::RestLevel;
use crate::crossed::root::Root;
use crate::linalg::dense::{axpy, block, dot, multiply, solve_lower};
use crate::linalg::many::{gather, pairwise};
use crate::linalg::small::{product, solve_upper, transpose, transposed_times};
use crate::running::memory::zeros;
use crate::running::threads;

/// Numbers of right-hand sides that are held at once.
const SMALL_NUMBERS: usize = 1 << 20;
/// Most rows with a small root that are treated at once.
const SMALL_ROWS: usize = 256;
/// Tasks that a pass over all columns is cut into.
const TASKS: usize = 64;

/// What is known of A^-1 where A = L L' is not the identity.
pub(crate) enum Inverse {
    /// Its entries where L has nonzeros.
    Selected(Panels),
    /// L^-1, all of it.
    Root(Panels),
}

impl Inverse {
    pub(crate) fn selected(&self) -> Option<&Panels> {
        if let Self::Selected(v) = self { Some(v) } else { None }
    }
}

impl Factorisation<'_> {
    /// By level, the sum over units of the diagonal blocks of H; `small` from [`Self::small_sums`].
    pub(crate) fn information_sums(
        &self,
        inverse: Option<&Inverse>,
        small: &[Vec<f64>],
    ) -> Vec<Vec<f64>> {
        let (rest, structure) = (&self.reduction.rest, &*self.reduction.structure);
        let mut out = vec![Vec::new(); self.reduction.n_levels()];
        if rest.has_leading() && !rest.leads_fixed() {
            out[rest.leading] = self.leading_information(inverse);
        }
        let selected = inverse.and_then(Inverse::selected);
        let squares = match inverse {
            Some(Inverse::Root(root)) => self.own_blocks(root),
            _ => Vec::new(),
        };
        let related = selected.filter(|_| self.reduction.prior.is_some());
        let mut products = related.map_or_else(Vec::new, |v| self.related_sums(v));
        for (k, ((level, root), small)) in
            rest.levels.iter().zip(&self.roots).zip(small).enumerate()
        {
            let q = level.q;
            if self.reduction.is_related(k) {
                out[level.level] = from_eigenvectors(root, &std::mem::take(&mut products[k]));
                continue;
            }
            let add = |k: usize, sum: &mut [f64]| {
                let b = structure.block_of[level.first_block + k] as usize;
                let found = selected.and_then(|v| Some((v, v.find(b, b)?)));
                let square = squares.get(b);
                for i in (0..q).filter(|i| !root.is_small(*i)) {
                    for j in (0..q).filter(|j| !root.is_small(*j)) {
                        let own = match (found, square) {
                            (Some((v, (at, n))), _) => v.values[at + i * n + j],
                            (None, Some(square)) => square[i * q + j],
                            (None, None) => 0.0,
                        };
                        let identity = f64::from(u8::from(i == j));
                        sum[i * q + j] += (identity - own) / (root.s[i] * root.s[j]);
                    }
                }
            };
            let mut sum = pairwise(level.n_units, q * q, &add);
            axpy(1.0, small, &mut sum);
            out[level.level] = from_eigenvectors(root, &sum);
        }
        out
    }

    /// By rest level of related units, in eigenvector coordinates, the sum over units of the diagonal
    /// blocks of H (`K_0`^-1 (x) I) = Lambda^-1 B A^-1 Lambda^-1, B = Lambda'K Lambda.
    fn related_sums(&self, inverse: &Panels) -> Vec<Vec<f64>> {
        let (rest, structure) = (&self.reduction.rest, &*self.reduction.structure);
        let b = self.marginal().panels(&self.lambdas(), 0.0);
        let sizes: Vec<usize> = rest.levels.iter().map(|l| l.q * l.q).collect();
        let total = sizes.iter().sum();
        let add = |s: usize, sum: &mut [f64]| {
            let mut parts: Vec<&mut [f64]> = Vec::with_capacity(sizes.len());
            let mut left = sum;
            for &size in &sizes {
                let (own, after) = left.split_at_mut(size);
                parts.push(own);
                left = after;
            }
            self.add_related(s, b.panel(s), inverse.panel(s), &mut parts);
        };
        let n = structure.n_supernodes();
        let target = structure.n_values() / TASKS as f64;
        let mut tasks = vec![0];
        for s in 0..n {
            let held = structure.offset[s + 1] - structure.offset[tasks[tasks.len() - 1]];
            if held as f64 >= target || s + 1 == n {
                tasks.push(s + 1);
            }
        }
        let parts = threads::map(tasks.windows(2), |pair| {
            pairwise(pair[1] - pair[0], total, &|k, sum| add(pair[0] + k, sum))
        });
        let mut sum = pairwise(parts.len(), total, &|k, sum| axpy(1.0, &parts[k], sum));
        let mut out = Vec::with_capacity(sizes.len());
        for (size, root) in sizes.iter().zip(&self.roots) {
            let after = sum.split_off(*size);
            let (own, q) = (sum, root.q);
            out.push((0..*size).map(|i| own[i] / (root.s[i / q] * root.s[i % q])).collect());
            sum = after;
        }
        out
    }

    /// Adds to the diagonal blocks of B Z what one panel of each holds.
    fn add_related(&self, s: usize, b: &[f64], z: &[f64], sums: &mut [&mut [f64]]) {
        let structure = &*self.reduction.structure;
        let width = structure.width(s);
        let start = structure.columns(s).start;
        for (row, at) in structure.panel_rows(s) {
            let (n, of_row) = (structure.size(row), structure.level_of[row] as usize);
            let is_related = self.reduction.is_related(of_row);
            for column in structure.blocks(s).take_while(|c| *c <= row) {
                let of_column = structure.level_of[column] as usize;
                let first = structure.first_column[column] as usize - start;
                let m = structure.size(column);
                let value = |x: &[f64], i: usize, j: usize| x[(at + i) * width + first + j];
                if is_related {
                    for i in 0..n {
                        let own = &b[(at + i) * width + first..][..m];
                        for j in 0..n {
                            sums[of_row][i * n + j] +=
                                dot(own, &z[(at + j) * width + first..][..m]);
                        }
                    }
                }
                if row != column && self.reduction.is_related(of_column) {
                    for i in 0..m {
                        for j in 0..m {
                            sums[of_column][i * m + j] +=
                                (0..n).map(|k| value(b, k, i) * value(z, k, j)).sum::<f64>();
                        }
                    }
                }
            }
        }
    }

    /// By rest level, sums of the diagonal blocks of H in rows and columns with a small root, in
    /// eigenvector coordinates; zero elsewhere.
    pub(crate) fn small_sums(&self) -> Vec<Vec<f64>> {
        let marginal = self.marginal();
        let levels = self.reduction.rest.levels.iter().zip(&self.roots);
        levels
            .enumerate()
            .map(|(k, (level, root))| {
                // Related units need no rows of their own.
                let small: Vec<usize> = (0..root.q)
                    .filter(|&a| root.is_small(a) && !self.reduction.is_related(k))
                    .collect();
                match &self.factor {
                    _ if small.is_empty() => vec![0.0; root.q * root.q],
                    None => Self::marginal_sums(&marginal, level, root),
                    Some(factor) => self.solved_sums(&marginal, factor, level, root, &small),
                }
            })
            .collect()
    }

    /// Where A is the identity H is K.
    fn marginal_sums(marginal: &Marginal, level: &RestLevel, root: &Root) -> Vec<f64> {
        let q = root.q;
        let mut sum = vec![0.0; q * q];
        for unit in level.first_block..level.first_block + level.n_units {
            axpy(1.0, &marginal.diagonal(unit), &mut sum);
        }
        let half = multiply(&transpose(&root.vectors, q, q), &sum, q);
        multiply(&half, &root.vectors, q)
    }

    fn solved_sums(
        &self,
        marginal: &Marginal,
        factor: &Panels,
        level: &RestLevel,
        root: &Root,
        small: &[usize],
    ) -> Vec<f64> {
        let structure = &*self.reduction.structure;
        let mut blocks: Vec<usize> = (level.first_block..level.first_block + level.n_units)
            .map(|unit| structure.block_of[unit] as usize)
            .collect();
        // Neighbours in the elimination reach much the same.
        blocks.sort_unstable();
        let n_columns = (SMALL_NUMBERS / structure.order()).clamp(small.len(), SMALL_ROWS);
        let n_units = (n_columns / small.len()).max(1);
        let chunks: Vec<&[usize]> = blocks.chunks(n_units).collect();
        let tasks = chunks.len().div_ceil(chunks.len().div_ceil(TASKS));
        let task = |chunks: &&[&[usize]]| -> Vec<f64> {
            let mut reach = Reach::new(factor, n_units * small.len());
            let mut columns = zeros(structure.order() * root.q);
            let mut sum = vec![0.0; root.q * root.q];
            for chunk in *chunks {
                self.add_solved(marginal, chunk, root, small, &mut reach, &mut columns, &mut sum);
            }
            sum
        };
        let groups: Vec<&[&[usize]]> = chunks.chunks(chunks.len().div_ceil(tasks.max(1))).collect();
        let parts = threads::map(&groups, task);
        let mut sum = vec![0.0; root.q * root.q];
        parts.iter().for_each(|part| axpy(1.0, part, &mut sum));
        sum
    }

    /// Adds the sums of some units; `reach` and `columns` are zero before and after.
    #[allow(clippy::too_many_arguments)] // buffers that are kept from one call to the next
    fn add_solved(
        &self,
        marginal: &Marginal,
        blocks: &[usize],
        root: &Root,
        small: &[usize],
        reach: &mut Reach,
        columns: &mut [f64],
        sum: &mut [f64],
    ) {
        let structure = &*self.reduction.structure;
        let (q, n) = (root.q, small.len());
        let width = reach.width();
        for (k, &block) in blocks.iter().enumerate() {
            let met = marginal.blocks_met(block);
            marginal.add_columns(block, true, columns);
            for &row in &met {
                let size = structure.size(row);
                let first = structure.natural[row] as usize * q;
                let other = &self.roots[structure.level_of[row] as usize];
                // V'K V in the rows of one unit.
                let turned =
                    transposed_times(&other.vectors, size, &columns[first..first + size * q], q);
                columns[first..first + size * q].fill(0.0);
                let own = product(&turned, &root.vectors, size, q, q);
                if row == block {
                    for &a in small {
                        for &b in small {
                            sum[a * q + b] += own[a * q + b];
                        }
                    }
                }
                let at = structure.first_column[row] as usize;
                for i in 0..size {
                    for (slot, a) in small.iter().enumerate() {
                        reach.x[(at + i) * width + k * n + slot] = other.s[i] * own[i * q + a];
                    }
                }
                reach.mark(row);
            }
        }
        reach.solve_lower();
        for row in reach.rows() {
            for unit in row[..blocks.len() * n].chunks_exact(n) {
                for (a, x) in small.iter().zip(unit) {
                    for (b, y) in small.iter().zip(unit) {
                        sum[a * q + b] -= x * y;
                    }
                }
            }
        }
        if n < q {
            reach.solve_upper();
            for (k, &block) in blocks.iter().enumerate() {
                let at = structure.first_column[block] as usize;
                for b in (0..q).filter(|b| !root.is_small(*b)) {
                    for (slot, &a) in small.iter().enumerate() {
                        let value = reach.x[(at + b) * width + k * n + slot] / root.s[b];
                        sum[a * q + b] += value;
                        sum[b * q + a] += value;
                    }
                }
            }
        }
        reach.clear();
    }

    /// Sum over leading units of P - B V B', with P = T'W^-1 T, B = T'W^-1 N and
    /// V = Lambda A^-1 Lambda'.
    fn leading_information(&self, inverse: Option<&Inverse>) -> Vec<f64> {
        let reduction = self.reduction;
        let q = reduction.rest.leading_q;
        let add = |u: usize, sum: &mut [f64]| {
            let unit = block(u, q * q);
            axpy(1.0, &unit_information(&reduction.t[unit.clone()], &self.w[unit], q), sum);
        };
        let mut sum = pairwise(reduction.rest.leading_units, q * q, &add);
        let v = match inverse {
            None => return sum,
            Some(Inverse::Root(root)) => {
                axpy(-1.0, &self.leading_from_root(root), &mut sum);
                return sum;
            }
            Some(Inverse::Selected(v)) => v,
        };
        let structure = &*reduction.structure;
        let (lambda, b) = (self.lambdas(), self.cross_information());
        let target = structure.n_values() / TASKS as f64;
        let mut tasks = Vec::new();
        let mut first = 0;
        for s in 0..structure.n_supernodes() {
            let held = (structure.offset[s + 1] - structure.offset[first]) as f64;
            if held >= target || s + 1 == structure.n_supernodes() {
                tasks.push(first..s + 1);
                first = s + 1;
            }
        }
        let task = |supernodes: &std::ops::Range<usize>| -> Vec<f64> {
            let mut out = vec![0.0; q * q];
            let mut columns = zeros(structure.order() * reduction.rest.largest_q());
            for s in supernodes.clone() {
                for block in structure.blocks(s) {
                    self.add_leading(v, s, block, &lambda, &b, &mut columns, &mut out);
                }
            }
            out
        };
        let parts = threads::map(&tasks, task);
        for part in parts {
            axpy(-1.0, &part, &mut sum);
            axpy(-1.0, &transpose(&part, q, q), &mut sum);
        }
        sum
    }

    /// Adds to `out` the part of B V B' that the columns of one block hold on and below the
    /// diagonal of V, the diagonal by half.
    #[allow(clippy::too_many_arguments)] // buffers that are kept from one call to the next
    fn add_leading(
        &self,
        v: &Panels,
        s: usize,
        own: usize,
        lambda: &[Vec<f64>],
        b: &[f64],
        columns: &mut [f64],
        out: &mut [f64],
    ) {
        let (structure, incidence) = (&*self.reduction.structure, &self.reduction.incidence);
        let q = self.reduction.rest.leading_q;
        let (width, panel) = (structure.width(s), v.panel(s));
        let size = structure.size(own);
        let at_own = (structure.first_column[own] as usize) - structure.columns(s).start;
        let right = &lambda[structure.level_of[own] as usize];
        for (row, at) in structure.panel_rows(s).filter(|(row, _)| *row >= own) {
            let n = structure.size(row);
            let first = structure.natural[row] as usize;
            let left = &lambda[structure.level_of[row] as usize];
            if n == 1 && size == 1 {
                columns[first] = left[0] * panel[at * width + at_own] * right[0];
                continue;
            }
            let z: Vec<f64> =
                (0..n).flat_map(|i| &panel[(at + i) * width + at_own..][..size]).copied().collect();
            let half = transposed_times(&transpose(left, n, n), n, &z, size);
            let value = product(&half, &transpose(right, size, size), n, size, size);
            columns[first * size..(first + n) * size].copy_from_slice(&value);
        }
        let first = structure.natural[own] as usize;
        for i in 0..size {
            columns[(first + i) * size + i] *= 0.5;
            columns[(first + i) * size + i + 1..(first + i + 1) * size].fill(0.0);
        }
        let mut x = vec![0.0; q];
        for j in 0..size {
            for (u, place) in incidence.meets(first + j) {
                let places = place - j..incidence.first[u + 1];
                let rows = &incidence.columns[places.clone()];
                if q == 1 {
                    out[0] += gathered_dot(&columns[j..], size, rows, &b[places]) * b[place];
                    continue;
                }
                x.fill(0.0);
                for (row, b) in rows.iter().zip(b[places.start * q..places.end * q].chunks_exact(q))
                {
                    axpy(columns[*row as usize * size + j], b, &mut x);
                }
                for (a, value) in x.iter().enumerate() {
                    axpy(*value, &b[block(place, q)], &mut out[block(a, q)]);
                }
            }
        }
        for (row, _) in structure.panel_rows(s).filter(|(row, _)| *row >= own) {
            let first = structure.natural[row] as usize * size;
            columns[first..first + structure.size(row) * size].fill(0.0);
        }
    }

    /// B = T'W^-1 N in the pattern of N.
    pub(crate) fn cross_information(&self) -> Vec<f64> {
        let (reduction, incidence) = (self.reduction, &self.reduction.incidence);
        let q = reduction.rest.leading_q;
        let one = |u: usize| -> Vec<f64> {
            let places = incidence.first[u] * q..incidence.first[u + 1] * q;
            let mut own = incidence.values[places].to_vec();
            let (l, t) = (&self.w[block(u, q * q)], &reduction.t[block(u, q * q)]);
            for v in own.chunks_exact_mut(q) {
                solve_lower(l, q, v, 1);
                solve_upper(l, q, v, 1);
                let out = transposed_times(t, q, v, 1);
                v.copy_from_slice(&out);
            }
            own
        };
        gather(incidence.n_units(), incidence.values.len(), one)
    }
}

/// Sum of x[row `stride`] y over some rows, in four sums side by side.
fn gathered_dot(x: &[f64], stride: usize, rows: &[u32], y: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let (rows_4, y_4) = (rows.chunks_exact(4), y.chunks_exact(4));
    for (row, value) in rows_4.remainder().iter().zip(y_4.remainder()) {
        sums[0] += x[*row as usize * stride] * value;
    }
    for (rows, values) in rows_4.zip(y_4) {
        for k in 0..4 {
            sums[k] += x[rows[k] as usize * stride] * values[k];
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3])
}

/// Q X Q': back from eigenvector coordinates.
fn from_eigenvectors(root: &Root, x: &[f64]) -> Vec<f64> {
    let half = multiply(&root.vectors, x, root.q);
    multiply(&half, &transpose(&root.vectors, root.q, root.q), root.q)
}
