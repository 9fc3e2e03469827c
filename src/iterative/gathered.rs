//! Products of all factors with D = [X y], gathered from blocks of columns.

use super::columns::{Products, Right};
use super::data::Data;
use super::system::System;
use crate::linalg::small::product;

/// Z'W^-1 D of all factors, column by column of D as the blocks come in.
pub struct Gathered {
    /// Columns of D.
    pub width: usize,
    /// By factor, Z'W^-1 D.
    pub by_factor: Vec<Vec<f64>>,
    /// Lambda S^-1 Lambda'Z'`W_1`^-1 D and Z'`W_1`^-1 D of the reduced equations.
    pub solution: Vec<f64>,
    /// The latter.
    pub right: Vec<f64>,
}

impl Gathered {
    /// Z'D of a block of columns of D = [X y].
    pub fn fill<const K: usize>(
        &self,
        data: &Data,
        fit: usize,
        columns: std::ops::Range<usize>,
        right: &mut Right,
    ) {
        let stored = data.rank() + data.n_fits;
        for factor in &data.factors {
            let out = if std::ptr::eq(factor, &raw const data.factors[0]) {
                &mut right.lead[..]
            } else {
                &mut right.rest[factor.offset * K..(factor.offset + factor.n * factor.q) * K]
            };
            for (c, column) in columns.clone().enumerate().filter(|(_, i)| *i < self.width) {
                let source = if column + 1 == self.width { data.rank() + fit } else { column };
                let values = factor.products.iter().skip(source).step_by(stored);
                out.iter_mut().skip(c).step_by(K).zip(values).for_each(|(o, v)| *o = *v);
            }
        }
    }

    /// Keeps Z'`W_1`^-1 D.
    pub fn keep<const K: usize>(&mut self, columns: std::ops::Range<usize>, right: &Right) {
        let width = self.width;
        for (c, column) in columns.enumerate().filter(|(_, i)| *i < width) {
            copy_column(&right.rest, K, c, &mut self.right, width, column);
        }
    }

    /// Keeps the products with W^-1 of a block of columns.
    pub fn store<const K: usize>(
        &mut self,
        data: &Data,
        columns: std::ops::Range<usize>,
        products: &Products,
    ) {
        let width = self.width;
        for (c, column) in columns.enumerate().filter(|(_, i)| *i < width) {
            copy_column(&products.solution, K, c, &mut self.solution, width, column);
            copy_column(&products.lead, K, c, &mut self.by_factor[0], width, column);
            for (j, f) in data.factors.iter().enumerate().skip(1) {
                let own = &products.rest[f.offset * K..(f.offset + f.n * f.q) * K];
                copy_column(own, K, c, &mut self.by_factor[j], width, column);
            }
        }
    }

    /// D'W^-1 D.
    #[must_use]
    pub fn gram(&self, data: &Data, system: &System, fit: usize) -> Vec<f64> {
        let (width, rank) = (self.width, self.width - 1);
        let stored = rank + data.n_fits;
        let position = |i: usize| if i == rank { rank + fit } else { i };
        let lead = &data.factors[0];
        let mut gram = vec![0.0; width * width];
        for i in 0..width {
            for j in 0..width {
                gram[i * width + j] = data.gram[position(i) * stored + position(j)];
            }
        }
        let q = lead.q;
        for level in 0..lead.n {
            let b = &lead.products[level * q * stored..(level + 1) * q * stored];
            let inner = &system.inner[level * q * q..(level + 1) * q * q];
            let through = product(inner, b, q, q, stored);
            for i in 0..width {
                for j in 0..width {
                    for a in 0..q {
                        gram[i * width + j] -=
                            b[a * stored + position(i)] * through[a * stored + position(j)];
                    }
                }
            }
        }
        for (b, x) in self.right.chunks_exact(width).zip(self.solution.chunks_exact(width)) {
            for i in 0..width {
                for j in 0..width {
                    gram[i * width + j] -= 0.5 * (b[i] * x[j] + b[j] * x[i]);
                }
            }
        }
        gram
    }
}

fn copy_column(from: &[f64], k: usize, c: usize, to: &mut [f64], width: usize, column: usize) {
    let values = from.iter().skip(c).step_by(k);
    to.iter_mut().skip(column).step_by(width).zip(values).for_each(|(t, f)| *t = *f);
}
