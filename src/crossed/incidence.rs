//! The sparse matrix N: which columns of the other factors each leading unit meets.

use crate::linalg::dense::{Kernel, axpy, vectorised};
use crate::linalg::many::fill;
use crate::running::memory::{filled, require};

/// Rows of blocks: for each leading unit the columns it meets, `q` values a column.
#[derive(Clone, Debug, Default)]
pub struct Incidence {
    /// Unit u meets the places `first[u]..first[u + 1]`.
    pub first: Vec<usize>,
    /// Column of each place; within a unit in the order of elimination.
    pub columns: Vec<u32>,
    /// Per place, `q` values.
    pub values: Vec<f64>,
    /// Column c is met at `column_first[c]..column_first[c + 1]` of `units` and `places`.
    pub column_first: Vec<usize>,
    /// Units that meet each column, ascending.
    pub units: Vec<u32>,
    /// Their places.
    pub places: Vec<usize>,
}

impl Incidence {
    /// Takes the memory of all units and places at once.
    pub(crate) fn reserve(&mut self, n_units: usize, n_places: usize, q: usize) {
        require::<usize>(n_units + 1);
        require::<f64>(n_places * (q + 1));
        self.first.reserve_exact(n_units + 1);
        self.columns.reserve_exact(n_places);
        self.values.reserve_exact(n_places * q);
    }

    /// Adds units.
    pub(crate) fn append(&mut self, first: &[usize], columns: &[u32], values: &[f64]) {
        if self.first.is_empty() {
            self.first.push(0);
        }
        let start = self.columns.len();
        self.first.extend(first[1..].iter().map(|f| start + f));
        self.columns.extend_from_slice(columns);
        self.values.extend_from_slice(values);
    }

    /// Finds the places of each of the columns.
    pub(crate) fn finish(&mut self, n_columns: usize) {
        let mut first = vec![0_usize; n_columns + 1];
        for &c in &self.columns {
            first[c as usize + 1] += 1;
        }
        for c in 0..n_columns {
            first[c + 1] += first[c];
        }
        let mut next = first.clone();
        self.units = filled(0, self.columns.len());
        self.places = filled(0, self.columns.len());
        for u in 0..self.n_units() {
            for place in self.first[u]..self.first[u + 1] {
                let slot = &mut next[self.columns[place] as usize];
                self.units[*slot] = u as u32;
                self.places[*slot] = place;
                *slot += 1;
            }
        }
        self.column_first = first;
    }

    /// Leading units.
    #[must_use]
    pub fn n_units(&self) -> usize {
        self.first.len() - 1
    }

    /// Sum over units of the squared number of columns met: operations of one product.
    #[must_use]
    pub fn n_pairs(&self) -> f64 {
        self.first.windows(2).map(|w| ((w[1] - w[0]) as f64).powi(2)).sum()
    }

    /// (column, value) of each column that a unit meets, for one value a column.
    pub fn row(&self, unit: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let places = self.first[unit]..self.first[unit + 1];
        places.map(|place| (self.columns[place] as usize, self.values[place]))
    }

    /// (unit, place) of each leading unit that meets a column.
    pub fn meets(&self, column: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let range = self.column_first[column]..self.column_first[column + 1];
        self.units[range.clone()]
            .iter()
            .zip(&self.places[range])
            .map(|(&u, &place)| (u as usize, place))
    }

    /// Sum over units of V'x: `x` holds `q` rows of `width` numbers a unit; one row a column of N.
    #[must_use]
    pub fn transposed_times(&self, v: &[f64], q: usize, x: &[f64], width: usize) -> Vec<f64> {
        let n_columns = self.column_first.len() - 1;
        let one = |c: usize, row: &mut [f64]| {
            vectorised(Sum { of: self, v, q, x, width, at: c, is_transposed: true, out: row });
        };
        fill(n_columns, width, self.columns.len() * q * width, one)
    }

    /// V x by unit: `x` holds a row of `width` numbers for each column of N.
    #[must_use]
    pub fn times(&self, v: &[f64], q: usize, x: &[f64], width: usize) -> Vec<f64> {
        let one = |u: usize, rows: &mut [f64]| {
            vectorised(Sum { of: self, v, q, x, width, at: u, is_transposed: false, out: rows });
        };
        fill(self.n_units(), q * width, self.columns.len() * q * width, one)
    }
}

/// Rows of `x` that a column, or a unit, meets, times `v`: a closure as large would not be compiled
/// for wide vectors.
struct Sum<'a> {
    of: &'a Incidence,
    v: &'a [f64],
    q: usize,
    x: &'a [f64],
    width: usize,
    at: usize,
    is_transposed: bool,
    out: &'a mut [f64],
}

impl Kernel for Sum<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { of, v, q, x, width, at, is_transposed, out } = self;
        if is_transposed {
            for k in of.column_first[at]..of.column_first[at + 1] {
                let (u, place) = (of.units[k] as usize, of.places[k]);
                for a in 0..q {
                    axpy(v[place * q + a], &x[(u * q + a) * width..][..width], out);
                }
            }
            return;
        }
        for place in of.first[at]..of.first[at + 1] {
            let from = &x[of.columns[place] as usize * width..][..width];
            for a in 0..q {
                axpy(v[place * q + a], from, &mut out[a * width..(a + 1) * width]);
            }
        }
    }
}
