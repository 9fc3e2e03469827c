//! Bases of the random-effects terms, as far as their structures stay.

use crate::linalg::dense::{add_outer, cholesky};
use crate::linalg::small::identity;
use crate::rows::level_rows::LevelRows;
use crate::rows::nesting::Nesting;

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
