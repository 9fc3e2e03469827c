//! The rows of a design sorted into components.

use super::component::Component;
use super::reduction::Reduction;
use super::slots::Slots;
use crate::criterion::solution::within;
use crate::linalg::dense::{add_outer, solve_row_upper, symmetrise};
use crate::linalg::small::identity;
use crate::rows::basis::{Basis, CollinearRandomEffects, FixedBasis, level_basis};
use crate::rows::columns::{RowColumns, read_row};
use crate::rows::nesting::Nesting;
use crate::rows::relationship::Relationship;
use crate::rows::rotation::rotate::rotate;
use crate::running::memory::zeros;
use crate::running::stop::check;

/// How rows are grouped: grouping factors in any relation, then the units of the residual.
pub struct Grouping<'a> {
    /// Number of rows.
    pub n_rows: usize,
    /// By level, the unit of each row.
    pub codes: Vec<&'a [i32]>,
    /// By level, number of units.
    pub n_units: Vec<usize>,
    /// Component of each row, and the number of components.
    pub components: (&'a [i32], usize),
    /// By level of random effects, how its units are related.
    pub relationships: Vec<Option<Relationship>>,
}

impl Reduction {
    /// Sorts the rows.
    ///
    /// `noise[j]` is the norm below which column j of X is rounding error of its centring, `terms[l]`
    /// lists the terms of a level of random effects as (columns, how they may be changed).
    ///
    /// # Errors
    /// [`CollinearRandomEffects`] where a term's columns are linearly dependent.
    pub fn new(
        grouping: Grouping,
        columns: &RowColumns,
        noise: &[f64],
        terms: &[Vec<(usize, Basis)>],
    ) -> Result<Self, CollinearRandomEffects> {
        let n_rows = grouping.n_rows;
        let n_random = grouping.relationships.len();
        let mut bases = Vec::with_capacity(grouping.codes.len());
        for l in 0..n_random {
            let gram = level_gram(&grouping, columns, l);
            let basis = level_basis(&gram, columns.z[l].len(), &terms[l])
                .map_err(|column| CollinearRandomEffects { level: l, column })?;
            bases.push(basis);
        }
        let mut q: Vec<usize> = columns.z[..n_random].iter().map(Vec::len).collect();
        if let Some((_, order)) = columns.visits {
            bases.push(identity(order));
            q.push(order);
        }
        let (fixed, within) = fixed_basis(&grouping, columns, noise);
        let mut components = Vec::with_capacity(grouping.components.1);
        for rows in sorted_components(&grouping, columns.visits.is_some()) {
            let mut levels: Vec<Slots> = (0..n_random)
                .map(|l| {
                    let z: Vec<f64> = rows
                        .iter()
                        .flat_map(|&row| {
                            let row = row as usize;
                            let mut own = vec![0.0; q[l]];
                            read_row(&columns.z[l], row, columns.weight(row), &mut own);
                            solve_row_upper(&bases[l], q[l], &mut own);
                            own
                        })
                        .collect();
                    random_slots(
                        &rows,
                        grouping.codes[l],
                        z,
                        q[l],
                        grouping.relationships[l].as_ref(),
                    )
                })
                .collect();
            if let Some((visits, _)) = columns.visits {
                levels.push(residual_slots(&rows, grouping.codes[n_random], visits));
            }
            let xy = read_xy(&rows, columns, &fixed);
            components.push(Component { rows, xy, levels });
            check();
        }
        let n_units = grouping.n_units;
        let relationships = grouping.relationships;
        let n_fits = columns.y.len();
        let n_rows = columns.n_obs.unwrap_or(n_rows);
        Ok(Self { n_rows, n_fits, fixed, bases, q, n_units, relationships, components, within })
    }
}

/// The basis of X, and what the responses leave outside X and the level with most random effects.
fn fixed_basis(
    grouping: &Grouping,
    columns: &RowColumns,
    noise: &[f64],
) -> (FixedBasis, (Vec<f64>, usize)) {
    let n_rows = grouping.n_rows;
    let size = |l: &usize| grouping.n_units[*l] * columns.z[*l].len();
    // With a residual covariance nothing is asked of the rows outside.
    let leading = (0..grouping.relationships.len())
        .filter(|_| columns.visits.is_none())
        .max_by_key(|l| (size(l), *l));
    let nested = leading.map(|l| {
        Nesting::new(n_rows, &[grouping.codes[l]], &[grouping.n_units[l]])
            .expect("one factor is nested in nothing")
    });
    let nesting = nested.unwrap_or(Nesting { n_rows, levels: Vec::new(), row_order: None });
    let own = RowColumns {
        z: leading.map(|l| columns.z[l].clone()).into_iter().collect(),
        ..columns.fixed()
    };
    let mut rotated = rotate(&nesting, &own);
    let fixed = FixedBasis::new(&mut rotated.total, noise, rotated.n_obs);
    let (mut unreached, n_random) = rotated.unreached(&nesting);
    let within = within(&fixed.grams(&mut unreached), fixed.rank(), rotated.n_obs, n_random);
    (fixed, within)
}

/// Mean over a level's units of Z'Z times their own relationship.
fn level_gram(grouping: &Grouping, columns: &RowColumns, level: usize) -> Vec<f64> {
    let z = &columns.z[level];
    let q = z.len();
    let related = grouping.relationships[level].as_ref();
    let own: Option<Vec<f64>> =
        related.map(|a| (0..a.len()).map(|unit| a.at(unit, unit)).collect());
    let mut gram = vec![0.0; q * q];
    let mut row_values = vec![0.0; q];
    for (row, &code) in grouping.codes[level].iter().enumerate() {
        let scale = own.as_ref().map_or(1.0, |own| own[code as usize].sqrt());
        read_row(z, row, scale * columns.weight(row), &mut row_values);
        add_outer(&row_values, &mut gram);
    }
    symmetrise(&mut gram, q);
    gram.iter_mut().for_each(|v| *v /= grouping.n_units[level] as f64);
    gram
}

/// Rows of each component, by residual unit where there are any.
fn sorted_components(grouping: &Grouping, has_units: bool) -> Vec<Vec<u32>> {
    let (codes, n) = grouping.components;
    let mut out = vec![Vec::new(); n];
    for (row, &code) in codes.iter().enumerate() {
        out[code as usize].push(row as u32);
    }
    if let Some(units) = grouping.codes.last().filter(|_| has_units) {
        for rows in &mut out {
            rows.sort_by_key(|&row| units[row as usize]);
        }
    }
    out
}

/// Units met among some rows, the unit of each, and the rows of each.
fn grouped(rows: &[u32], codes: &[i32]) -> Slots {
    let mut units: Vec<u32> = rows.iter().map(|&row| codes[row as usize] as u32).collect();
    units.sort_unstable();
    units.dedup();
    let unit_of_row: Vec<u32> = rows
        .iter()
        .map(|&row| units.partition_point(|&u| u < codes[row as usize] as u32) as u32)
        .collect();
    let mut row_first = vec![0; units.len() + 1];
    for &unit in &unit_of_row {
        row_first[unit as usize + 1] += 1;
    }
    for u in 0..units.len() {
        row_first[u + 1] += row_first[u];
    }
    let mut next = row_first.clone();
    let mut sorted = vec![0; rows.len()];
    for (row, &unit) in unit_of_row.iter().enumerate() {
        sorted[next[unit as usize]] = row as u32;
        next[unit as usize] += 1;
    }
    Slots { units, unit_of_row, row_first, rows: sorted, ..Slots::default() }
}

fn random_slots(
    rows: &[u32],
    codes: &[i32],
    z: Vec<f64>,
    q: usize,
    relationship: Option<&Relationship>,
) -> Slots {
    let slots = grouped(rows, codes);
    let m = slots.units.len();
    Slots {
        first: (0..=m).map(|u| u * q).collect(),
        place: (0..m * q).map(|slot| (slot % q) as u32).collect(),
        relationship: relationship.map_or_else(Vec::new, |a| a.over(&slots.units)),
        z,
        ..slots
    }
}

/// Slots of the residual: the rows, which are sorted by unit.
fn residual_slots(rows: &[u32], codes: &[i32], visits: &[i32]) -> Slots {
    let slots = grouped(rows, codes);
    Slots {
        first: slots.row_first.clone(),
        place: rows.iter().map(|&row| visits[row as usize] as u32).collect(),
        ..slots
    }
}

/// [X Y] of some rows in the coordinates of the reduction, column-major.
fn read_xy(rows: &[u32], columns: &RowColumns, fixed: &FixedBasis) -> Vec<f64> {
    let (n, rank, n_fits) = (rows.len(), fixed.kept.len(), columns.y.len());
    let mut out = zeros(n * (rank + n_fits));
    let (mut x, mut own) = (vec![0.0; columns.x.len()], vec![0.0; rank + n_fits]);
    for (i, &row) in rows.iter().enumerate() {
        fixed.read(columns, row as usize, &mut x, &mut own);
        for (j, value) in own.iter().enumerate() {
            out[j * n + i] = *value;
        }
    }
    out
}
