//! The rows by grouping factor: for each factor, what its levels meet, in the factor's own order.

use std::ops::Range;

use crate::linalg::dense::{add_outer, axpy, block, dot, invert_lower, symmetrise};
use crate::rows::basis::{Basis, CollinearRandomEffects, FixedBasis, level_basis};
use crate::rows::columns::{Column, RowColumns, read_row};
use crate::rows::nesting::{chunks, rows_by_unit};
use crate::running::memory::{append, require, zeros};
use crate::running::{stop, threads};

/// Rows per task; boundaries depend on the data only, so sums have the same bits for any threads.
const CHUNK_ROWS: usize = 16_384;

/// Random-effect columns of one factor in some order of the rows.
pub enum Columns {
    /// One column, 1 in every row.
    One,
    /// Per row, one value for each column.
    Rows(Vec<f64>),
}

/// The rows sorted by the levels of one factor.
pub struct Order {
    /// Level i owns the rows `first[i]..first[i + 1]`.
    pub first: Vec<usize>,
    /// By factor, the level of each row; empty for the factor itself.
    pub codes: Vec<Vec<u32>>,
    /// By factor, its columns.
    pub z: Vec<Columns>,
    /// Ranges of levels that are one task.
    pub chunks: Vec<Range<usize>>,
}

/// One grouping factor.
pub struct Factor {
    /// Random effects of a level.
    pub q: usize,
    /// Number of levels.
    pub n: usize,
    /// Position among the factors as they were given.
    pub position: usize,
    /// First number of the factor among the effects of all factors but the leading one.
    pub offset: usize,
    /// The rows by level.
    pub order: Order,
    /// Per level Z'Z, `q` x `q`.
    pub gram: Vec<f64>,
    /// Per level Z'[X y], `q` x (rank + `n_fits`), X orthonormal, y least squares residuals.
    pub products: Vec<f64>,
    /// Upper triangular B with z = (transformed z) B.
    pub basis: Vec<f64>,
}

/// All that the iterations read: memory linear in the rows, 32-bit codes.
pub struct Data {
    /// Number of rows.
    pub n_rows: usize,
    /// Number of responses.
    pub n_fits: usize,
    /// Map of the fixed effects.
    pub fixed: FixedBasis,
    /// The factors, the one with most effects first: it is eliminated.
    pub factors: Vec<Factor>,
    /// [X y]'[X y] of the transformed columns, symmetric.
    pub gram: Vec<f64>,
}

impl Data {
    /// Sorts the rows by every factor.
    ///
    /// `codes[j][row]` is the level of factor j, `columns.z[j]` are its columns and `terms[j]` its
    /// terms as (columns, their basis).
    ///
    /// # Errors
    /// Where columns of a term are collinear.
    pub fn new(
        codes: &[&[i32]],
        n_levels: &[usize],
        columns: &RowColumns,
        noise: &[f64],
        terms: &[Vec<(usize, Basis)>],
    ) -> Result<Self, CollinearRandomEffects> {
        let n_rows = codes[0].len();
        let n_fits = columns.y.len();
        let fixed = FixedBasis::of_rows(n_rows, columns, noise);
        let mut ranking: Vec<usize> = (0..codes.len()).collect();
        // Stable: of equals the first stays first.
        ranking.sort_by_key(|&j| std::cmp::Reverse(n_levels[j] * columns.z[j].len()));
        let codes: Vec<&[i32]> = ranking.iter().map(|&j| codes[j]).collect();
        let sizes: Vec<usize> = ranking.iter().map(|&j| n_levels[j]).collect();
        let z: Vec<&[Column]> = ranking.iter().map(|&j| &columns.z[j][..]).collect();
        let mut lead = rows_by_unit(codes[0], sizes[0], None).1;
        if codes.len() > 1 {
            let by_second = rows_by_unit(codes[1], sizes[1], None).1;
            lead = rows_by_unit(codes[0], sizes[0], Some(&by_second)).1;
        }
        let mut factors: Vec<Factor> = Vec::with_capacity(codes.len());
        let mut offset = 0;
        for j in 0..codes.len() {
            stop::check();
            let (first, permutation) = rows_by_unit(codes[j], sizes[j], Some(&lead));
            let order = Order::new(j, first, &permutation, &codes, &z, columns.sqrt_weights);
            let mut factor = Factor {
                q: z[j].len(),
                n: sizes[j],
                position: ranking[j],
                offset,
                order,
                gram: Vec::new(),
                products: Vec::new(),
                basis: Vec::new(),
            };
            factor.sum(j, &permutation, columns, &fixed);
            let own = &terms[ranking[j]];
            factor.basis = basis(&factor, own)?;
            if j > 0 {
                offset += factor.n * factor.q;
            }
            factors.push(factor);
        }
        let gram = cross_products(n_rows, columns, &fixed);
        Ok(Self { n_rows, n_fits, fixed, factors, gram })
    }

    /// Rank of X.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.fixed.kept.len()
    }

    /// By factor as stored and column of its transformed Z, the mean over levels of
    /// (z'y)^2 / z'z, y the scaled least squares residual: 1 where the factor has no effect.
    #[must_use]
    pub fn moments(&self, fit: usize) -> Vec<Vec<f64>> {
        let (rank, stored) = (self.rank(), self.rank() + self.n_fits);
        let one = |f: &Factor| -> Vec<f64> {
            let q = f.q;
            let mut sums = vec![0.0; q];
            let mut inverse = vec![0.0; q * q];
            // Row a of B'^-1 holds column a of the transformed Z in terms of Z.
            let transposed: Vec<f64> =
                (0..q * q).map(|at| f.basis[(at % q) * q + at / q]).collect();
            invert_lower(&transposed, q, &mut inverse);
            for level in 0..f.n {
                let (gram, products) = (&f.gram[block(level, q * q)], block(level, q * stored));
                let products = &f.products[products];
                for (a, sum) in sums.iter_mut().enumerate() {
                    let b = &inverse[block(a, q)];
                    let zy: f64 = (0..q).map(|i| b[i] * products[i * stored + rank + fit]).sum();
                    let zz: f64 = (0..q).map(|i| b[i] * dot(&gram[block(i, q)], b)).sum();
                    *sum += if zz > 0.0 { zy * zy / zz / f.n as f64 } else { 0.0 };
                }
            }
            sums
        };
        self.factors.iter().map(one).collect()
    }

    /// Effects of all factors but the leading one.
    #[must_use]
    pub fn reduced_size(&self) -> usize {
        self.factors[1..].iter().map(|f| f.n * f.q).sum()
    }
}

impl Order {
    fn new(
        own: usize,
        first: Vec<usize>,
        permutation: &[u32],
        codes: &[&[i32]],
        z: &[&[Column]],
        sqrt_weights: Option<&[f64]>,
    ) -> Self {
        let sorted = |l: usize| -> Vec<u32> {
            if l == own {
                return Vec::new();
            }
            require::<u32>(permutation.len());
            permutation.iter().map(|&row| codes[l][row as usize] as u32).collect()
        };
        let columns = |z: &&[Column]| -> Columns {
            if sqrt_weights.is_none() && z.len() == 1 && z[0].values.is_none() {
                return Columns::One;
            }
            let mut values = zeros(permutation.len() * z.len());
            let chunks =
                values.chunks_mut(CHUNK_ROWS * z.len()).zip(permutation.chunks(CHUNK_ROWS));
            threads::each(chunks, |(out, rows)| {
                for (out, &row) in out.chunks_exact_mut(z.len()).zip(rows) {
                    let weight = sqrt_weights.map_or(1.0, |w| w[row as usize]);
                    read_row(z, row as usize, weight, out);
                }
            });
            Columns::Rows(values)
        };
        let rows = |levels: Range<usize>| first[levels.end] - first[levels.start];
        Self {
            chunks: chunks(first.len() - 1, CHUNK_ROWS, rows),
            first,
            codes: (0..codes.len()).map(sorted).collect(),
            z: z.iter().map(columns).collect(),
        }
    }
}

impl Columns {
    /// Values of a row: `q` of them.
    #[inline(always)]
    #[must_use]
    pub fn row(&self, row: usize, q: usize) -> &[f64] {
        match self {
            Self::One => &[1.0],
            Self::Rows(values) => &values[row * q..(row + 1) * q],
        }
    }
}

impl Factor {
    /// Z'Z and Z'[X y] by level.
    fn sum(&mut self, own: usize, permutation: &[u32], columns: &RowColumns, fixed: &FixedBasis) {
        let (q, width) = (self.q, fixed.kept.len() + columns.y.len());
        let order = &self.order;
        let parts = threads::map(&order.chunks, |levels| {
            let mut gram = zeros(levels.len() * q * q);
            let mut products = zeros(levels.len() * q * width);
            let (mut x, mut xy) = (vec![0.0; columns.x.len()], vec![0.0; width]);
            for (i, level) in levels.clone().enumerate() {
                let gram = &mut gram[block(i, q * q)];
                let products = &mut products[block(i, q * width)];
                for row in order.first[level]..order.first[level + 1] {
                    let z = order.z[own].row(row, q);
                    add_outer(z, gram);
                    fixed.read(columns, permutation[row] as usize, &mut x, &mut xy);
                    for (a, z) in z.iter().enumerate() {
                        axpy(*z, &xy, &mut products[block(a, width)]);
                    }
                }
                symmetrise(gram, q);
            }
            (gram, products)
        });
        for (gram, products) in parts {
            append(&mut self.gram, &gram);
            append(&mut self.products, &products);
        }
    }
}

fn cross_products(n_rows: usize, columns: &RowColumns, fixed: &FixedBasis) -> Vec<f64> {
    let width = fixed.kept.len() + columns.y.len();
    let n_chunks = n_rows.div_ceil(CHUNK_ROWS);
    let parts = threads::map(0..n_chunks, |chunk| {
        let mut gram = vec![0.0; width * width];
        let (mut x, mut xy) = (vec![0.0; columns.x.len()], vec![0.0; width]);
        for row in chunk * CHUNK_ROWS..((chunk + 1) * CHUNK_ROWS).min(n_rows) {
            fixed.read(columns, row, &mut x, &mut xy);
            add_outer(&xy, &mut gram);
        }
        gram
    });
    let mut gram = vec![0.0; width * width];
    parts.iter().for_each(|part| axpy(1.0, part, &mut gram));
    symmetrise(&mut gram, width);
    gram
}

/// B, block diagonal by term, with B'B the mean of Z'Z over the levels.
fn basis(factor: &Factor, terms: &[(usize, Basis)]) -> Result<Vec<f64>, CollinearRandomEffects> {
    let q = factor.q;
    let mut mean = vec![0.0; q * q];
    factor.gram.chunks_exact(q * q).for_each(|g| axpy(1.0 / factor.n as f64, g, &mut mean));
    let level = factor.position;
    level_basis(&mean, q, terms).map_err(|column| CollinearRandomEffects { level, column })
}
