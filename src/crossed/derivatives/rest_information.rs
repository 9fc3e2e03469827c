//! H of the rest, where roots of G are small and where they are not.

use crate::crossed::evaluation::Factorisation;
use crate::crossed::factor::panels::Panels;
use crate::crossed::factor::tiles::{multiply, multiply_add};
use crate::crossed::root::apply_transposed;
use crate::linalg::small::{identity, transpose};
use crate::running::memory::{copied, zeros};

/// Rows of the rest with a small root of G, in eigenvector coordinates.
pub(crate) struct SmallRows {
    /// Their columns of `Z_2`.
    pub rows: Vec<usize>,
    /// A^-1 diag(s) K over them, row-major.
    pub solved: Vec<f64>,
    /// H over them.
    pub h: Vec<f64>,
}

impl Factorisation<'_> {
    /// Root of the eigenvalue that each column of `Z_2` has in eigenvector coordinates, and whether
    /// it is small.
    pub(crate) fn scales(&self) -> Vec<(f64, bool)> {
        let levels = self.reduction.rest.levels.iter().zip(&self.roots);
        levels
            .flat_map(|(l, r)| (0..l.q * l.n_units).map(|c| (r.s[c % l.q], r.is_small(c % l.q))))
            .collect()
    }

    pub(crate) fn small_rows(&self, inverse: &[f64], prior: Option<&Panels>) -> Option<SmallRows> {
        let scale = self.scales();
        let n = scale.len();
        let rows: Vec<usize> = (0..n).filter(|&c| scale[c].1).collect();
        if rows.is_empty() {
            return None;
        }
        let k = self.marginal().panels(&self.vectors(), 0.0).to_dense();
        let k = match prior {
            Some(root) => half_solved(root, k, n),
            None => k,
        };
        let m = rows.len();
        let mut scaled = zeros(n * m);
        for (c, (s, _)) in scale.iter().enumerate() {
            for (a, &row) in rows.iter().enumerate() {
                scaled[c * m + a] = s * k[row * n + c];
            }
        }
        let mut h = zeros(m * m);
        for (a, &row) in rows.iter().enumerate() {
            for (b, &other) in rows.iter().enumerate() {
                h[a * m + b] = k[row * n + other];
            }
        }
        drop(k);
        let mut solved = zeros(n * m);
        let matrix = faer::MatRef::from_row_major_slice(&scaled, n, m);
        multiply(
            faer::MatMut::from_row_major_slice_mut(&mut solved, n, m),
            faer::MatRef::from_row_major_slice(inverse, n, n),
            matrix,
        );
        // K_ss - K_s. diag(s) A^-1 diag(s) K_.s.
        multiply_add(
            faer::MatMut::from_row_major_slice_mut(&mut h, m, m),
            matrix.transpose(),
            faer::MatRef::from_row_major_slice(&solved, n, m),
            -1.0,
        );
        Some(SmallRows { rows, solved, h })
    }

    /// H of the rest, row-major over the columns of `Z_2`.
    pub(crate) fn rest_information(
        &self,
        inverse: Option<&[f64]>,
        small: Option<&SmallRows>,
    ) -> Vec<f64> {
        let Some(v) = inverse else {
            let one = self.roots.iter().map(|r| identity(r.q)).collect::<Vec<_>>();
            return self.marginal().panels(&one, 0.0).to_dense();
        };
        let scale = self.scales();
        let n = scale.len();
        let mut h = zeros(n * n);
        for (i, (s_i, _)) in scale.iter().enumerate().filter(|(_, s)| !s.1) {
            for (k, (s_k, _)) in scale.iter().enumerate().filter(|(_, s)| !s.1) {
                let identity = f64::from(u8::from(i == k));
                h[i * n + k] = (identity - v[i * n + k]) / (s_i * s_k);
            }
        }
        if let Some(small) = small {
            let m = small.rows.len();
            for (a, &row) in small.rows.iter().enumerate() {
                for (b, &other) in small.rows.iter().enumerate() {
                    h[row * n + other] = small.h[a * m + b];
                }
                for (i, (s, _)) in scale.iter().enumerate().filter(|(_, s)| !s.1) {
                    h[row * n + i] = small.solved[i * m + a] / s;
                    h[i * n + row] = h[row * n + i];
                }
            }
        }
        self.turn_back(h)
    }

    /// [V | I - V K], which multiplies B in the leading rows of H, V = Lambda A^-1 Lambda'.
    ///
    /// `own` is A^-1 in the coordinates of H, v in those of the effects.
    pub(crate) fn right_factor(
        &self,
        v: &[f64],
        own: &[f64],
        small: Option<&SmallRows>,
        prior: Option<&Panels>,
    ) -> Vec<f64> {
        let scale = self.scales();
        let n = scale.len();
        let mut j = zeros(n * n);
        for (i, (s_i, _)) in scale.iter().enumerate() {
            for (k, (s_k, _)) in scale.iter().enumerate().filter(|(_, s)| !s.1) {
                j[i * n + k] = s_i * own[i * n + k] / s_k;
            }
        }
        if let Some(small) = small {
            let m = small.rows.len();
            for (a, &row) in small.rows.iter().enumerate() {
                for (i, (s, _)) in scale.iter().enumerate() {
                    let identity = f64::from(u8::from(i == row));
                    j[i * n + row] = identity - s * small.solved[i * m + a];
                }
            }
        }
        let mut j = self.turn_back(j);
        if let Some(root) = prior {
            j = root.solve_with(&j, n, Panels::solve_upper);
        }
        let mut right = zeros(2 * n * n);
        for (row, j) in right.chunks_exact_mut(2 * n).zip(j.chunks_exact(n)) {
            row[n..].copy_from_slice(j);
        }
        drop(j);
        let mut covariance = copied(v);
        for (row, (s, _)) in covariance.chunks_exact_mut(n).zip(&scale) {
            row.iter_mut().zip(&scale).for_each(|(v, (s_k, _))| *v *= s * s_k);
        }
        let covariance = self.turn_back(covariance);
        for (row, v) in right.chunks_exact_mut(2 * n).zip(covariance.chunks_exact(n)) {
            row[..n].copy_from_slice(v);
        }
        right
    }

    /// L with `K_0` = L L', ones where units are independent; `None` where all are.
    pub(crate) fn prior_factor(&self) -> Option<Panels> {
        let prior = self.reduction.prior.as_ref()?;
        // It was positive definite when the design was reduced.
        prior.factor(&self.reduction.rest).ok()
    }

    pub(crate) fn prior_times(&self, x: &[f64], width: usize) -> Vec<f64> {
        let prior = self.reduction.prior.as_ref();
        prior.map_or_else(|| copied(x), |p| p.multiply(&self.reduction.rest, x, width))
    }

    /// From eigenvector coordinates on both sides.
    pub(crate) fn turn_back(&self, x: Vec<f64>) -> Vec<f64> {
        // Without correlated effects the eigenvectors are the coordinates themselves.
        if self.roots.iter().all(|r| r.vectors == identity(r.q)) {
            return x;
        }
        let (rest, back) = (&self.reduction.rest, self.vectors_transposed());
        let n = rest.order();
        let left = apply_transposed(rest, &back, &x, n);
        transpose(&apply_transposed(rest, &back, &transpose(&left, n, n), n), n, n)
    }

    /// All of A^-1 of a sparse factor, column by column.
    pub(crate) fn whole_inverse(&self) -> Option<Vec<f64>> {
        let factor = self.factor.as_ref().filter(|f| !f.structure.is_dense)?;
        let n = self.reduction.rest.order();
        Some(factor.solve(&identity(n), n))
    }
}

/// L^-1 X L'^-1 for a symmetric X of order `n`.
pub(crate) fn half_solved(root: &Panels, x: Vec<f64>, n: usize) -> Vec<f64> {
    let left = root.solve_with(&x, n, Panels::solve_lower);
    drop(x);
    root.solve_with(&transpose(&left, n, n), n, Panels::solve_lower)
}
