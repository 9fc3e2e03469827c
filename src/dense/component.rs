//! One component: rows that the model correlates, their covariance and what whitens it.

use super::slots::Slots;
use super::template::Template;
use crate::linalg::blocked::{self, LARGE};
use crate::linalg::dense::NotPositiveDefinite;
use crate::running::memory::{copied, zeros};
use crate::running::threads;

/// Rows that are independent of all others under the model.
#[derive(Clone, Debug)]
pub struct Component {
    /// Positions of the rows among all, by residual unit.
    pub rows: Vec<u32>,
    /// [X Y], column-major.
    pub xy: Vec<f64>,
    /// Levels of random effects, then the residual's if it has a covariance of its own.
    pub levels: Vec<Slots>,
}

impl Component {
    /// Number of rows.
    #[must_use]
    pub fn n(&self) -> usize {
        self.rows.len()
    }

    /// [X y] of one response, column-major.
    #[must_use]
    pub fn data(&self, rank: usize, fit: usize) -> Vec<f64> {
        let n = self.n();
        let mut out = copied(&self.xy[..rank * n]);
        out.extend_from_slice(&self.xy[(rank + fit) * n..(rank + fit + 1) * n]);
        out
    }

    /// V, of which the lower triangle is filled in.
    #[must_use]
    pub fn covariance(&self, g: &[Template]) -> Vec<f64> {
        let n = self.n();
        let mut v = zeros(n * n);
        let column = |(s, out): (usize, &mut [f64])| {
            for (slots, template) in self.levels.iter().zip(g) {
                slots.add_column(template, s, out);
            }
            if self.levels.last().is_none_or(|slots| !slots.is_residual()) {
                out[s] += 1.0;
            }
        };
        if n > LARGE {
            threads::each(v.chunks_mut(n).enumerate(), column);
        } else {
            v.chunks_mut(n.max(1)).enumerate().for_each(column);
        }
        v
    }
}

/// V = L L' of a component with its whitened data.
pub struct Factored {
    /// Number of rows.
    pub n: usize,
    /// log|V|.
    pub logdet: f64,
    /// L.
    pub l: Vec<f64>,
    /// L^-1 [X y], column-major.
    pub xy: Vec<f64>,
}

impl Factored {
    /// Factors V of a component at g.
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] where V is not positive definite.
    pub fn new(
        component: &Component,
        rank: usize,
        fit: usize,
        g: &[Template],
    ) -> Result<Self, NotPositiveDefinite> {
        let n = component.n();
        let mut l = component.covariance(g);
        let logdet = blocked::cholesky(&mut l, n)?;
        let mut xy = component.data(rank, fit);
        blocked::solve_lower(&l, n, &mut xy, rank + 1);
        Ok(Self { n, logdet, l, xy })
    }

    /// L^-1.
    #[must_use]
    pub fn inverse(&self) -> Vec<f64> {
        blocked::inverse_lower(&self.l, self.n)
    }

    /// [X y]'V^-1 [X y], row-major.
    #[must_use]
    pub fn gram(&self) -> Vec<f64> {
        blocked::transposed_product(&self.xy, &self.xy, self.n)
    }
}
