//! Coordinates in which the iterations lose no digits.
//!
//! X is replaced by an orthonormal basis of its span, y by its residual, Z by columns whose mean
//! square per unit is the identity. Estimates are mapped back outside.

use super::columns::{RowColumns, read_row};
use super::level_rows::LevelRows;
use super::nesting::Nesting;
use super::rotation::rotate::rotate;
use crate::linalg::dense::{
    Kernel, add_outer, axpy, block, cholesky, dot, solve_row_upper, vectorised,
};
use crate::linalg::lanes::{Four, LANES, Lane, sum_of};
use crate::linalg::small::identity;
use crate::linalg::triangle::Triangle;
use crate::running::memory::zeros;

/// Relative size under which the part of a column outside the earlier ones counts as zero (R's).
const ALIAS_TOLERANCE: f64 = 1e-7;

/// Relative pivot under which random-effect columns count as linearly dependent.
const COLLINEAR_TOLERANCE: f64 = 1e-12;

/// Random-effect columns that depend linearly on the columns before them in their term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollinearRandomEffects {
    /// Level of the term.
    pub level: usize,
    /// Column within the level.
    pub column: usize,
}

/// How the columns of a random-effects term may be changed so that its covariance structure stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Any linear combination: an orthonormal basis.
    Orthonormal,
    /// A scale for each column.
    Scaled,
    /// One scale for all columns.
    Common,
    /// One scale for all columns of independent effects with one variance, whose columns may depend
    /// on each other: any rotation of them is the same model.
    Isotropic,
}

/// Columns that were kept of X, and the map from the original to the orthonormal ones.
#[derive(Clone, Debug)]
pub struct FixedBasis {
    /// Positions of the columns kept, in order.
    pub kept: Vec<usize>,
    /// Upper triangular R with X = Q R for the kept columns.
    pub factor: Vec<f64>,
    /// Per fit, Q'y: coefficients of ordinary least squares in the orthonormal basis.
    pub ols: Vec<f64>,
    /// Per fit, root mean square of the ordinary least squares residual (over n).
    pub y_scale: Vec<f64>,
}

impl FixedBasis {
    /// Orthonormal basis of the columns of X, taken in order; a column inside the span of the
    /// columns before it is left out, as R does.
    pub fn new(total: &mut Triangle, noise: &[f64], n_rows: usize) -> Self {
        let p = noise.len();
        let n_fits = total.residual_squares.len();
        let width = p + n_fits;
        let squares = total.residual_squares.clone();
        let factor = total.factor();
        let column = |j: usize| -> Vec<f64> { (0..p).map(|i| factor[i * width + j]).collect() };
        let mut basis: Vec<Vec<f64>> = Vec::new();
        let mut coefficients: Vec<Vec<f64>> = Vec::new();
        let mut kept = Vec::new();
        for j in 0..p {
            let mut v = column(j);
            let size = dot(&v, &v).sqrt();
            let mut r = project_out(&basis, &mut v);
            let outside = dot(&v, &v).sqrt();
            if outside > (ALIAS_TOLERANCE * size).max(noise[j]) {
                v.iter_mut().for_each(|value| *value /= outside);
                basis.push(v);
                r.push(outside);
                coefficients.push(r);
                kept.push(j);
            }
        }
        let rank = kept.len();
        let mut upper = vec![0.0; rank * rank];
        for (j, r) in coefficients.iter().enumerate() {
            for (i, value) in r.iter().enumerate() {
                upper[i * rank + j] = *value;
            }
        }
        let (mut ols, mut y_scale) = (zeros(n_fits * rank), zeros(n_fits));
        for first in (0..n_fits).step_by(LANES) {
            let of = |lane: usize| (first + lane).min(n_fits - 1);
            let at = |i: usize| Four::from_lanes(|lane| factor[i * width + p + of(lane)]);
            let mut v: Vec<Four> = (0..p).map(at).collect();
            let (mut along, mut rss) = (vec![Four::splat(0.0); rank], Four::splat(0.0));
            vectorised(|| {
                project_out_four(&basis, &mut v, &mut along);
                let outside = Four::from_lanes(|lane| squares[of(lane)]);
                rss = outside + sum_of(p, |i| v[i] * v[i]);
            });
            for lane in 0..LANES.min(n_fits - first) {
                let fit = first + lane;
                y_scale[fit] = (rss.lane(lane) / n_rows as f64).sqrt();
                for (to, own) in ols[block(fit, rank)].iter_mut().zip(&along) {
                    *to = own.lane(lane);
                }
            }
        }
        Self { kept, factor: upper, ols, y_scale }
    }

    /// The basis of the columns of X alone.
    #[must_use]
    pub fn of_rows(n_rows: usize, columns: &RowColumns, noise: &[f64]) -> Self {
        let no_levels = Nesting { n_rows, levels: Vec::new(), row_order: None };
        let mut rotated = rotate(&no_levels, &columns.fixed());
        Self::new(&mut rotated.total, noise, rotated.n_obs)
    }

    /// Rank of X.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.kept.len()
    }

    /// x of one row to the orthonormal basis; `out` has `rank` places.
    pub fn map_row(&self, x: &[f64], out: &mut [f64]) {
        for (o, &j) in out.iter_mut().zip(&self.kept) {
            *o = x[j];
        }
        solve_row_upper(&self.factor, self.kept.len(), out);
    }

    /// x of four rows, of the columns kept, to the orthonormal basis: `map_row` in each lane.
    pub fn map_four(&self, x: &mut [Four]) {
        vectorised(SolveFour { r: &self.factor, x });
    }

    /// A response in the coordinates of the iterations, given its row `x` in the orthonormal basis.
    #[must_use]
    pub fn map_response(&self, fit: usize, x: &[f64], y: f64) -> f64 {
        let rank = self.kept.len();
        (y - dot(x, &self.ols[block(fit, rank)])) / self.scale(fit)
    }

    /// What a response is divided by.
    fn scale(&self, fit: usize) -> f64 {
        // A response without residual has no scale; it is refused before any fit.
        if self.y_scale[fit] > 0.0 { self.y_scale[fit] } else { 1.0 }
    }

    /// [`Self::map_response`] of some rows of four responses, or of the last ones: `x` are the rows in
    /// the orthonormal basis, `y(row, fit)` the values and `put(row, fit, value)` takes what comes of
    /// them.
    pub fn map_responses<'x>(
        &self,
        first: usize,
        x: impl Iterator<Item = &'x [f64]>,
        y: impl Fn(usize, usize) -> f64,
        mut put: impl FnMut(usize, usize, f64),
    ) {
        let (rank, n) = (self.rank(), self.y_scale.len());
        if first + 1 == n {
            // Alone, to the same bits.
            x.enumerate().for_each(|(row, x)| {
                put(row, first, self.map_response(first, x, y(row, first)));
            });
            return;
        }
        let of = |lane: usize| (first + lane).min(n - 1);
        let ols = |j: usize| Four::from_lanes(|lane| self.ols[of(lane) * rank + j]);
        let ols: Vec<Four> = (0..rank).map(ols).collect();
        let scale = Four::from_lanes(|lane| self.scale(of(lane)));
        vectorised(|| {
            for (row, x) in x.enumerate() {
                let own = Four::from_lanes(|lane| y(row, of(lane)));
                let fitted = sum_of(rank, |j| Four::splat(x[j]) * ols[j]);
                let value = (own - fitted) / scale;
                for lane in 0..LANES.min(n - first) {
                    put(row, first + lane, value.lane(lane));
                }
            }
        });
    }

    /// [X y] of one row in the coordinates of the iterations, `rank + n_fits` numbers; `x` is scratch
    /// of one number a column of X.
    pub fn read(&self, columns: &RowColumns, row: usize, x: &mut [f64], out: &mut [f64]) {
        let weight = columns.weight(row);
        read_row(&columns.x, row, weight, x);
        let (own, responses) = out.split_at_mut(self.rank());
        self.map_row(x, own);
        for (f, (o, column)) in responses.iter_mut().zip(&columns.y).enumerate() {
            *o = self.map_response(f, own, column.at(row) * weight);
        }
    }

    /// Per fit, the cross-product of [X y] over rows of which the triangular factor is given, lower
    /// triangle.
    #[must_use]
    pub fn grams(&self, remainder: &mut Triangle) -> Vec<f64> {
        let (rank, n_fits) = (self.rank(), remainder.residual_squares.len());
        let p = remainder.width() - n_fits;
        let width = rank + 1;
        // Rows that wait have no part in the sums of squares yet.
        remainder.factor();
        let squares = remainder.residual_squares.clone();
        let mut grams = zeros(n_fits * width * width);
        let mut row = vec![0.0; width];
        for raw in remainder.factor().chunks_exact((p + n_fits).max(1)).take(p) {
            self.map_row(&raw[..p], &mut row[..rank]);
            for (f, gram) in grams.chunks_exact_mut(width * width).enumerate() {
                row[rank] = self.map_response(f, &row[..rank], raw[p + f]);
                add_outer(&row, gram);
            }
        }
        for (f, gram) in grams.chunks_exact_mut(width * width).enumerate() {
            let scale = if self.y_scale[f] > 0.0 { self.y_scale[f] } else { 1.0 };
            gram[width * width - 1] += squares[f] / (scale * scale);
        }
        grams
    }
}

/// `solve_row_upper` in each lane.
struct SolveFour<'a> {
    r: &'a [f64],
    x: &'a mut [Four],
}

impl Kernel for SolveFour<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { r, x } = self;
        let n = x.len();
        for i in 0..n {
            let (done, rest) = x.split_at_mut(i + 1);
            done[i] /= Four::splat(r[i * n + i]);
            let back = -done[i];
            for (value, &entry) in rest.iter_mut().zip(&r[i * n + i + 1..(i + 1) * n]) {
                *value += back * Four::splat(entry);
            }
        }
    }
}

/// v <- v - Q Q'v, twice (Gram-Schmidt needs it to stay orthogonal); returns Q'v.
fn project_out(basis: &[Vec<f64>], v: &mut [f64]) -> Vec<f64> {
    let mut coefficients = vec![0.0; basis.len()];
    for _ in 0..2 {
        for (b, c) in basis.iter().zip(&mut coefficients) {
            let s = dot(b, v);
            *c += s;
            axpy(-s, b, v);
        }
    }
    coefficients
}

/// `project_out` in each lane; Q'v is added to `coefficients`.
#[inline(always)]
fn project_out_four(basis: &[Vec<f64>], v: &mut [Four], coefficients: &mut [Four]) {
    for _ in 0..2 {
        for (b, c) in basis.iter().zip(&mut *coefficients) {
            let s = sum_of(b.len(), |i| Four::splat(b[i]) * v[i]);
            *c += s;
            let back = -s;
            for (value, &by) in v.iter_mut().zip(b) {
                *value += back * Four::splat(by);
            }
        }
    }
}

/// B of each level, block diagonal by term, with B'B the mean of Z'Z over the level's units.
///
/// # Errors
/// [`CollinearRandomEffects`] where a term's columns are linearly dependent.
pub fn random_bases(
    levels: &[LevelRows],
    nesting: &Nesting,
    terms: &[Vec<(usize, Basis)>],
) -> Result<Vec<Vec<f64>>, CollinearRandomEffects> {
    let mut bases = Vec::with_capacity(levels.len());
    for (l, level) in levels.iter().enumerate() {
        let q = level.q;
        if terms[l].is_empty() {
            bases.push(identity(q));
            continue;
        }
        let mut gram = vec![0.0; q * q];
        let mut skip = 0;
        let mut z = Vec::with_capacity(q);
        // Columns of an outer level stand after those of the levels inside it.
        for (j, inner) in levels.iter().enumerate().skip(l) {
            skip = if j == l { 0 } else { skip + inner.q };
            for (i, row) in inner.design.chunks_exact(inner.n_columns).enumerate() {
                let share = inner.shares.as_ref().map_or(1.0, |s| s.of(inner.classes[i]).sqrt());
                z.clear();
                z.extend(row[skip..skip + q].iter().map(|value| share * value));
                add_outer(&z, &mut gram);
            }
        }
        let n_units = nesting.levels[l].n_units() as f64;
        gram.iter_mut().for_each(|value| *value /= n_units);
        bases.push(
            level_basis(&gram, q, &terms[l])
                .map_err(|column| CollinearRandomEffects { level: l, column })?,
        );
    }
    Ok(bases)
}

/// B of one level from the mean of Z'Z over its units.
///
/// # Errors
/// The dependent column, where a term's columns are linearly dependent.
pub fn level_basis(gram: &[f64], q: usize, terms: &[(usize, Basis)]) -> Result<Vec<f64>, usize> {
    let mut basis = vec![0.0; q * q];
    let mut first = 0;
    for &(size, kind) in terms {
        if kind == Basis::Isotropic {
            let squares: f64 = (first..first + size).map(|i| gram[i * q + i]).sum();
            if squares <= 0.0 {
                return Err(first);
            }
            for i in first..first + size {
                basis[i * q + i] = (squares / size as f64).sqrt();
            }
            first += size;
            continue;
        }
        // Unit diagonal, so that the pivot tells how much of a column lies outside the others.
        let root: Vec<f64> = (first..first + size).map(|i| gram[i * q + i].sqrt()).collect();
        if let Some(zero) = root.iter().position(|r| *r <= 0.0) {
            return Err(first + zero);
        }
        let mut scaled = vec![0.0; size * size];
        for i in 0..size {
            for j in 0..=i {
                let value = gram[(first + i) * q + first + j] / (root[i] * root[j]);
                scaled[i * size + j] = if i == j { 1.0 } else { value };
            }
        }
        let common = (root.iter().map(|r| r * r).sum::<f64>() / size as f64).sqrt();
        let check = cholesky(&mut scaled, size);
        if let Err(error) = check {
            return Err(first + error.pivot);
        }
        for i in 0..size {
            if scaled[i * size + i].powi(2) < COLLINEAR_TOLERANCE {
                return Err(first + i);
            }
            for j in 0..=i {
                let identity = f64::from(u8::from(i == j));
                basis[(first + j) * q + first + i] = match kind {
                    Basis::Orthonormal => scaled[i * size + j] * root[i],
                    Basis::Scaled => identity * root[i],
                    Basis::Common | Basis::Isotropic => identity * common,
                };
            }
        }
        first += size;
    }
    Ok(basis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_mapped_to_the_bits_of_each() {
        let value = |k: usize| (k as f64 * 0.61).sin();
        for (rank, n_fits) in [(0, 5), (2, 6), (9, 4)] {
            let basis = FixedBasis {
                kept: (0..rank).collect(),
                factor: identity(rank),
                ols: (0..rank * n_fits).map(value).collect(),
                // Of a response without residual 0.
                y_scale: (0..n_fits).map(|fit| fit as f64 / 3.0).collect(),
            };
            let x: Vec<Vec<f64>> =
                (0..3).map(|row| (0..rank).map(|i| value(50 + row * rank + i)).collect()).collect();
            let y = |row: usize, fit: usize| value(90 + row * n_fits + fit);
            let mut n = 0;
            for first in (0..n_fits).step_by(LANES) {
                basis.map_responses(first, x.iter().map(|row| &row[..]), y, |row, fit, found| {
                    let alone = basis.map_response(fit, &x[row], y(row, fit));
                    assert_eq!(found.to_bits(), alone.to_bits(), "{rank} {row} {fit}");
                    n += 1;
                });
            }
            assert_eq!(n, x.len() * n_fits);
        }
    }

    #[test]
    fn four_rows_are_mapped_to_the_bits_of_each() {
        let rank = 7;
        let value = |k: usize| (k as f64 * 0.61).sin();
        let mut factor = vec![0.0; rank * rank];
        for i in 0..rank {
            for j in i..rank {
                factor[i * rank + j] = value(i * rank + j) + if i == j { 3.0 } else { 0.0 };
            }
        }
        let kept = (0..rank).collect();
        let basis = FixedBasis { kept, factor, ols: Vec::new(), y_scale: Vec::new() };
        let row = |lane: usize| (0..rank).map(|i| value(100 + lane * rank + i)).collect::<Vec<_>>();
        let mut four: Vec<Four> =
            (0..rank).map(|i| Four::from_lanes(|lane| row(lane)[i])).collect();
        basis.map_four(&mut four);
        for lane in 0..LANES {
            let mut alone = vec![0.0; rank];
            basis.map_row(&row(lane), &mut alone);
            for (own, side) in alone.iter().zip(&four) {
                assert_eq!(own.to_bits(), side.lane(lane).to_bits());
            }
        }
    }
}
