//! A crossed design reduced.

use std::sync::Arc;

use super::gram::RestGram;
use super::reader::{CHUNK_ROWS, Reader};
use super::units::read_units;
use crate::crossed::factor::structure::Structure;
use crate::crossed::incidence::Incidence;
use crate::crossed::prior::Prior;
use crate::crossed::reduction::Reduction;
use crate::crossed::rest::{Crossing, EMPTY_UNIT, Rest};
use crate::linalg::dense::{NotPositiveDefinite, add_outer, axpy, block};
use crate::linalg::triangle::Triangle;
use crate::rows::basis::{Basis, FixedBasis, level_basis};
use crate::rows::columns::{RowColumns, read_row};
use crate::rows::nesting::rows_by_unit;
use crate::running::memory::{append, zeros};
use crate::running::threads;

/// Why a design cannot be reduced.
#[derive(Clone, Copy, Debug)]
pub enum Unusable {
    /// A column of a level's random effects is a linear combination of those before it.
    Collinear {
        /// Position of the level.
        level: usize,
        /// Position of the column.
        column: usize,
    },
    /// The precision of a level's units is not positive definite.
    Indefinite,
}

impl From<NotPositiveDefinite> for Unusable {
    fn from(_: NotPositiveDefinite) -> Self {
        Self::Indefinite
    }
}

impl Reduction {
    /// Reads and reduces the rows.
    ///
    /// `noise[j]` is the norm below which column j of X is rounding error of its centring, `terms[l]`
    /// lists the terms of level l as (columns, how they may be changed); the factor of A is dense
    /// without a `structure`.
    ///
    /// # Errors
    /// [`Unusable`] where a term's columns are linearly dependent, or a precision is not positive
    /// definite.
    pub fn new(
        crossing: &Crossing,
        columns: &RowColumns,
        noise: &[f64],
        terms: &[Vec<(usize, Basis)>],
        structure: Option<Arc<Structure>>,
    ) -> Result<Self, Unusable> {
        let n_rows = crossing.n_rows;
        let fixed = FixedBasis::of_rows(n_rows, columns, noise);
        let q: Vec<usize> = columns.z.iter().map(Vec::len).collect();
        let rest = Rest::new(crossing, &q);
        let structure = structure.unwrap_or_else(|| Arc::new(Structure::dense(&rest)));
        let prior = Prior::new(&rest, &structure, crossing.precisions)?;
        let mut bases = Vec::with_capacity(q.len());
        for level in 0..q.len() {
            // As the general engine scales them: theta means the same there.
            let variances = prior.as_ref().and_then(|p| p.variances(&rest, level));
            let units =
                (crossing.codes[level], n_met(crossing.codes[level], crossing.n_units[level]));
            let gram = level_gram(columns, level, units, variances);
            bases.push(
                level_basis(&gram, q[level], &terms[level])
                    .map_err(|column| Unusable::Collinear { level, column })?,
            );
        }
        let reader = Reader { crossing, columns, fixed: &fixed, bases: &bases };
        let (first_row, order) = leading_rows(crossing, &rest);
        let parts = read_units(&reader, &rest, &structure, (&first_row, &order));
        let width = fixed.kept.len() + columns.y.len();
        let mut within = Triangle::new(fixed.kept.len(), columns.y.len());
        let (mut t, mut d) = (Vec::new(), Vec::new());
        let mut outside = Vec::with_capacity(parts.len());
        let mut incidence = Incidence::default();
        incidence.reserve(
            rest.leading_units,
            parts.iter().map(|p| p.columns.len()).sum(),
            rest.leading_q,
        );
        for mut part in parts {
            within.merge(&mut part.remainder);
            outside.push(part.outside);
            append(&mut t, &part.t);
            append(&mut d, &part.d);
            incidence.append(&part.first, &part.columns, &part.values);
        }
        incidence.finish(rest.order());
        let cross = rest_cross(&reader, &rest, &order, &outside, width);
        let gram = RestGram::new(&reader, &rest);
        Ok(Self::assemble(
            columns.n_obs.unwrap_or(n_rows),
            fixed,
            bases,
            rest,
            t,
            &d,
            incidence,
            (gram, structure, prior),
            &cross,
            within,
        ))
    }

    #[allow(clippy::too_many_arguments)] // the parts of one struct, made above
    fn assemble(
        n_rows: usize,
        fixed: FixedBasis,
        bases: Vec<Vec<f64>>,
        rest: Rest,
        t: Vec<f64>,
        d: &[f64],
        incidence: Incidence,
        (gram, structure, prior): (RestGram, Arc<Structure>, Option<Prior>),
        cross: &[f64],
        mut within: Triangle,
    ) -> Self {
        let (rank, n_fits) = (fixed.kept.len(), fixed.y_scale.len());
        let width = rank + n_fits;
        let q = rest.leading_q;
        let n_random = n_informative(&t, q);
        let remainder = gram_of(&mut within, rank, n_fits);
        let pick = |rows: &[f64], f: usize| -> Vec<f64> {
            rows.chunks_exact(width.max(1))
                .flat_map(|row| row[..rank].iter().chain(&row[rank + f..rank + f + 1]).copied())
                .collect()
        };
        Self {
            n_rows,
            n_fits,
            n_random,
            leading_data: (0..n_fits).map(|f| pick(d, f)).collect(),
            rest_data: (0..n_fits).map(|f| pick(cross, f)).collect(),
            fixed,
            bases,
            rest,
            t,
            incidence,
            gram,
            prior,
            structure,
            remainder,
        }
    }
}

/// Per fit, the cross-product of [X y] from its triangular factor, lower triangle.
fn gram_of(factor: &mut Triangle, rank: usize, n_fits: usize) -> Vec<f64> {
    let width = rank + 1;
    let squares = factor.residual_squares.clone();
    let mut grams = vec![0.0; n_fits * width * width];
    let mut row = vec![0.0; width];
    for raw in factor.factor().chunks_exact((rank + n_fits).max(1)).take(rank) {
        row[..rank].copy_from_slice(&raw[..rank]);
        for (f, gram) in grams.chunks_exact_mut(width * width).enumerate() {
            row[rank] = raw[rank + f];
            add_outer(&row, gram);
        }
    }
    for (gram, square) in grams.chunks_exact_mut(width * width).zip(&squares) {
        gram[width * width - 1] += square;
    }
    // A factor without columns holds no rows.
    factor.residual_squares.copy_from_slice(&squares);
    grams
}

/// Mean over a level's units of Z'Z, times their variances at G = 1 where these differ.
fn level_gram(
    columns: &RowColumns,
    level: usize,
    (codes, n_units): (&[i32], usize),
    variances: Option<&[f64]>,
) -> Vec<f64> {
    let z = &columns.z[level];
    let (q, n_rows) = (z.len(), codes.len());
    let chunk = |first: usize| -> Vec<f64> {
        let mut gram = vec![0.0; q * q];
        let mut row_values = vec![0.0; q];
        for row in first..(first + CHUNK_ROWS).min(n_rows) {
            let own = variances.map_or(1.0, |v| v[codes[row] as usize].sqrt());
            read_row(z, row, columns.weight(row) * own, &mut row_values);
            add_outer(&row_values, &mut gram);
        }
        gram
    };
    let starts: Vec<usize> = (0..n_rows).step_by(CHUNK_ROWS).collect();
    let parts: Vec<Vec<f64>> = if starts.len() > 4 {
        threads::map(starts, chunk)
    } else {
        starts.into_iter().map(chunk).collect()
    };
    let mut gram = vec![0.0; q * q];
    parts.iter().for_each(|part| axpy(1.0, part, &mut gram));
    gram.iter_mut().for_each(|v| *v /= n_units as f64);
    gram
}

/// Units that a row has.
fn n_met(codes: &[i32], n_units: usize) -> usize {
    let mut is_met = vec![false; n_units];
    codes.iter().for_each(|&c| is_met[c as usize] = true);
    is_met.iter().filter(|met| **met).count()
}

/// Rows by unit of the leading part.
fn leading_rows(crossing: &Crossing, rest: &Rest) -> (Vec<usize>, Vec<u32>) {
    if rest.has_leading() {
        return rows_by_unit(crossing.codes[rest.leading], rest.leading_units, None);
    }
    let n = crossing.n_rows;
    let first = (0..=rest.leading_units).map(|u| (u * EMPTY_UNIT).min(n)).collect();
    (first, (0..n as u32).collect())
}

/// `Z_2`' times the rows of [X y] outside the span of the leading factor.
fn rest_cross(
    reader: &Reader,
    rest: &Rest,
    order: &[u32],
    outside: &[Vec<f64>],
    width: usize,
) -> Vec<f64> {
    let mut out = zeros(rest.order() * width);
    let mut z = vec![0.0; rest.largest_q()];
    for level in &rest.levels {
        let rows = outside.iter().flat_map(|part| part.chunks_exact(width.max(1)));
        for (row, values) in order.iter().zip(rows) {
            let row = *row as usize;
            let b = level.first_block + reader.crossing.codes[level.level][row] as usize;
            reader.z(level.level, row, &mut z[..level.q]);
            for (column, value) in rest.columns_of(b).zip(&z[..level.q]) {
                axpy(*value, values, &mut out[block(column, width)]);
            }
        }
    }
    out
}

/// Rows of the units' T, of order `q`, that are not 0: the directions of their random effects.
fn n_informative(t: &[f64], q: usize) -> usize {
    if q == 0 {
        return 0;
    }
    t.chunks_exact(q).enumerate().filter(|(r, row)| row[r % q..].iter().any(|t| *t != 0.0)).count()
}
