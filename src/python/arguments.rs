//! What constructors and evaluations are called with, checked.

use numpy::{PyReadonlyArray1, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;

use super::arrays::{c_slice, vector};
use super::gateway::require;
use crate::criterion::engine::{At, Engine};
use crate::criterion::sums::Entry;
use crate::rows::basis::Basis;
use crate::rows::cell_rows::RowValues;
use crate::rows::columns::{Column, RowColumns, Values};
use crate::rows::relationship::Relationship;

/// Numbers that a fit of a batch takes besides, in many small buffers.
pub const OF_A_FIT: usize = 48;

/// Contiguous memory of a column, offset and stride of its values in it.
pub type ValuesArgument<'py> = (PyReadonlyArray1<'py, f64>, usize, usize);
/// Values (`None` for a constant 1), center, scale.
pub type ColumnArgument<'py> = (Option<ValuesArgument<'py>>, f64, f64);
/// By level, its terms as (columns, how they may be changed).
pub type TermsArgument = Vec<Vec<(usize, String)>>;
/// Of G by level, one array of all fits.
pub type CovariancesArgument<'py> = Vec<PyReadonlyArrayDyn<'py, f64>>;
/// Level, row and column of each entry of G.
pub type EntriesArgument = Vec<(usize, usize, usize)>;
/// Row offsets, columns and values of the relationships of a level's units.
pub type RelationshipArgument<'py> =
    (PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, i32>, PyReadonlyArray1<'py, f64>);

/// A column by row: numbers, or codes and the value that each stands for.
#[derive(FromPyObject)]
pub enum RowValuesArgument<'py> {
    Numbers(Option<ValuesArgument<'py>>, f64, f64),
    Coded(PyReadonlyArray1<'py, i32>, PyReadonlyArray1<'py, f64>),
}

/// Columns by row, each code that of a value.
pub fn row_values<'a>(
    arguments: &'a [RowValuesArgument<'_>],
    n_rows: usize,
) -> PyResult<Vec<RowValues<'a>>> {
    let one = |argument: &'a RowValuesArgument<'_>| match argument {
        RowValuesArgument::Numbers(own, center, scale) => {
            let values = own.as_ref().map(|v| values("column", v, n_rows)).transpose()?;
            Ok(RowValues::Numbers(Column { values, center: *center, scale: *scale }))
        }
        RowValuesArgument::Coded(codes, own) => {
            let codes = unit_codes(std::slice::from_ref(codes), &[own.len()], n_rows)?[0];
            Ok(RowValues::Coded(codes, vector("values", own, own.len())?))
        }
    };
    arguments.iter().map(one).collect()
}

pub fn values<'a>(
    name: &str,
    argument: &'a ValuesArgument<'_>,
    n_rows: usize,
) -> PyResult<Values<'a>> {
    let (memory, offset, stride) = (&argument.0, argument.1, argument.2);
    let data = vector(name, memory, memory.len())?;
    if n_rows == 0 || offset + (n_rows - 1) * stride >= data.len() {
        return Err(PyValueError::new_err(format!("{name} has too few values")));
    }
    Ok(Values { data, offset, stride })
}

pub fn columns<'a>(
    name: &str,
    arguments: &'a [ColumnArgument<'_>],
    n_rows: usize,
) -> PyResult<Vec<Column<'a>>> {
    arguments
        .iter()
        .map(|(values, center, scale)| {
            let values = values.as_ref().map(|v| self::values(name, v, n_rows)).transpose()?;
            Ok(Column { values, center: *center, scale: *scale })
        })
        .collect()
}

/// The columns of a design of random effects.
pub fn rows<'a>(
    n: usize,
    z: &'a [Vec<ColumnArgument<'_>>],
    x: &'a [ColumnArgument<'_>],
    y: &'a [ColumnArgument<'_>],
    sqrt_weights: Option<&'a PyReadonlyArray1<'_, f64>>,
) -> PyResult<RowColumns<'a>> {
    Ok(RowColumns {
        z: z.iter().map(|z| columns("z", z, n)).collect::<PyResult<_>>()?,
        x: columns("x", x, n)?,
        y: columns("y", y, n)?,
        sqrt_weights: sqrt_weights.map(|w| vector("weights", w, n)).transpose()?,
        ..RowColumns::default()
    })
}

/// The terms of each level, whose columns of Z number `n_columns`; with `residual` the last level is
/// the residual's, which has none.
pub fn terms(
    argument: &[Vec<(usize, String)>],
    n_columns: impl Iterator<Item = usize>,
    residual: bool,
) -> PyResult<Vec<Vec<(usize, Basis)>>> {
    for (l, (terms, n)) in argument.iter().zip(n_columns).enumerate() {
        let is_residual = residual && l + 1 == argument.len();
        if (n == 0) != is_residual || n != terms.iter().map(|t| t.0).sum::<usize>() {
            return Err(PyValueError::new_err("terms do not add up to the columns of z"));
        }
    }
    let level = |terms: &Vec<(usize, String)>| {
        terms.iter().map(|(size, name)| Ok((*size, basis(name)?))).collect()
    };
    argument.iter().map(level).collect()
}

fn basis(name: &str) -> PyResult<Basis> {
    match name {
        "orthonormal" => Ok(Basis::Orthonormal),
        "scaled" => Ok(Basis::Scaled),
        "common" => Ok(Basis::Common),
        "isotropic" => Ok(Basis::Isotropic),
        _ => Err(PyValueError::new_err(format!("no basis {name}"))),
    }
}

pub fn relationship(argument: &RelationshipArgument<'_>, n_units: usize) -> PyResult<Relationship> {
    let (first, columns, values) = argument;
    let first = vector("relationship", first, first.len())?;
    let n = columns.len();
    let (columns, values) = (vector("columns", columns, n)?, vector("values", values, n)?);
    let size = first.len().saturating_sub(1);
    let is_sound = size >= n_units
        && first[0] == 0
        && first[size] as usize == n
        && first.windows(2).all(|pair| pair[0] <= pair[1])
        && columns.iter().all(|&c| c >= 0 && (c as usize) < size);
    if !is_sound {
        return Err(PyValueError::new_err("a relationship is no matrix over the units"));
    }
    Ok(Relationship {
        first: first.iter().map(|&at| at as usize).collect(),
        columns: columns.iter().map(|&c| c as u32).collect(),
        values: values.to_vec(),
    })
}

/// Codes of the rows by level, each below the number of the level's units.
pub fn unit_codes<'a>(
    codes: &'a [PyReadonlyArray1<'_, i32>],
    n_units: &[usize],
    n_rows: usize,
) -> PyResult<Vec<&'a [i32]>> {
    if n_rows > u32::MAX as usize {
        return Err(PyValueError::new_err("more than 2^32 - 1 rows"));
    }
    let level = |(codes, n): (&'a PyReadonlyArray1<'_, i32>, &usize)| {
        let codes = vector("codes", codes, n_rows)?;
        // A loop to the end is vectorised.
        if codes.iter().fold(false, |wrong, &c| wrong | (c as u32 as usize >= *n)) {
            return Err(PyValueError::new_err("a code lies outside 0..n_units"));
        }
        Ok(codes)
    };
    codes.iter().zip(n_units).map(level).collect()
}

/// G of some fits.
pub struct Points {
    /// By fit and level.
    pub g: Vec<Vec<Vec<f64>>>,
    shapes: Vec<Vec<usize>>,
}

impl Points {
    /// G of `a` fits and every level from one array a level, as [`Engine::shape_of`] wants it.
    pub fn new(engine: &dyn Engine, g: &CovariancesArgument<'_>, a: usize) -> PyResult<Self> {
        if g.len() != engine.levels().len() {
            return Err(PyValueError::new_err("g needs one array for each level"));
        }
        let (mut shapes, mut slices) = (Vec::with_capacity(g.len()), Vec::with_capacity(g.len()));
        for (level, array) in g.iter().enumerate() {
            let shape = engine.shape_of(level, array.shape().get(1..).unwrap_or(&[]));
            slices.push(c_slice("g", array, &[&[a], &shape[..]].concat())?);
            shapes.push(shape);
        }
        require(slices.iter().map(|s| s.len()).sum::<usize>() + OF_A_FIT * a)?;
        let of_fit = |fit: usize| {
            let level = |s: &&[f64]| s[s.len() / a * fit..s.len() / a * (fit + 1)].to_vec();
            slices.iter().map(level).collect()
        };
        Ok(Self { g: (0..a).map(of_fit).collect(), shapes })
    }

    /// The k-th of the points, of response `fit`.
    pub fn at(&self, k: usize, fit: usize) -> At<'_> {
        At { fit, g: &self.g[k], shapes: &self.shapes }
    }
}

/// Entries of G that the engine has.
pub fn entries(engine: &dyn Engine, argument: &EntriesArgument) -> PyResult<Vec<Entry>> {
    let sorted = argument.windows(2).all(|pair| pair[0].0 <= pair[1].0);
    let n_levels = engine.levels().len();
    let inside =
        argument.iter().all(|&(level, a, b)| level < n_levels && a.max(b) < engine.bound(level));
    if !sorted || !inside {
        return Err(PyValueError::new_err("entries must lie inside G, sorted by level"));
    }
    Ok(argument.iter().map(|&(level, a, b)| Entry { level, a, b }).collect())
}

/// Fits below their number.
pub fn check_fits(fits: &[usize], n_fits: usize) -> PyResult<()> {
    if fits.iter().any(|&fit| fit >= n_fits) {
        return Err(PyIndexError::new_err("no such fit"));
    }
    Ok(())
}
