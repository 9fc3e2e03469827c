//! Rows of cells as they lie in memory: column by column, or row by row in several pieces.

use super::columns::Column;

/// Rows of which some are looked at, in ascending order.
pub trait CellRows: Sync {
    /// Columns of a row.
    fn n_columns(&self) -> usize;

    /// Whether rows have weights; each is 1 otherwise.
    fn is_weighted(&self) -> bool;

    /// Weight of a row.
    fn weight(&self, row: u32) -> f64;

    /// Value of a row.
    fn value(&self, row: u32, column: usize) -> f64;

    /// Puts all values of a row at the end of `out`.
    fn push(&self, row: u32, out: &mut Vec<f64>);

    /// Copies rows into `block`, column after column.
    fn read(&self, rows: &[u32], block: &mut [f64]);
}

/// Values of a column by row.
#[derive(Clone, Copy)]
pub enum RowValues<'a> {
    /// Numbers.
    Numbers(Column<'a>),
    /// A code for each row, and the value that each code stands for.
    Coded(&'a [i32], &'a [f64]),
}

impl RowValues<'_> {
    /// Value of a row.
    #[inline(always)]
    fn at(&self, row: usize) -> f64 {
        match self {
            Self::Numbers(column) => column.at(row),
            Self::Coded(codes, values) => values[codes[row] as usize],
        }
    }

    /// Copies the values of rows that follow each other.
    #[inline(always)]
    fn read_run(&self, first: usize, out: &mut [f64]) {
        let n = out.len();
        match *self {
            Self::Numbers(Column { values: Some(own), center, scale }) if own.stride == 1 => {
                let read = &own.data[own.offset + first..][..n];
                for (o, value) in out.iter_mut().zip(read) {
                    *o = (value - center) * scale;
                }
            }
            Self::Coded(codes, values) => {
                let codes = &codes[first..][..n];
                // Most often rows of a cell are alike.
                if codes.iter().fold(0, |differ, code| differ | (code ^ codes[0])) == 0 {
                    out.fill(values[codes[0] as usize]);
                } else {
                    out.iter_mut().zip(codes).for_each(|(o, &code)| *o = values[code as usize]);
                }
            }
            Self::Numbers(column) => {
                out.iter_mut().enumerate().for_each(|(i, o)| *o = column.at(first + i));
            }
        }
    }
}

/// Rows column by column.
pub struct InColumns<'a> {
    /// The columns.
    pub columns: &'a [RowValues<'a>],
    /// Of each row; `None` for weight 1.
    pub weights: Option<&'a [f64]>,
}

impl CellRows for InColumns<'_> {
    fn n_columns(&self) -> usize {
        self.columns.len()
    }

    fn is_weighted(&self) -> bool {
        self.weights.is_some()
    }

    #[inline(always)]
    fn weight(&self, row: u32) -> f64 {
        self.weights.map_or(1.0, |weights| weights[row as usize])
    }

    #[inline(always)]
    fn value(&self, row: u32, column: usize) -> f64 {
        self.columns[column].at(row as usize)
    }

    #[inline(always)]
    fn push(&self, row: u32, out: &mut Vec<f64>) {
        out.extend(self.columns.iter().map(|column| column.at(row as usize)));
    }

    fn read(&self, rows: &[u32], block: &mut [f64]) {
        let (n, first) = (rows.len(), rows[0] as usize);
        let is_run = rows[n - 1] as usize - first + 1 == n;
        for (column, out) in self.columns.iter().zip(block.chunks_exact_mut(n)) {
            if is_run {
                column.read_run(first, out);
            } else {
                out.iter_mut().zip(rows).for_each(|(o, &row)| *o = column.at(row as usize));
            }
        }
    }
}

/// Rows one after the other, of several pieces.
pub struct InPieces<'a> {
    n_columns: usize,
    /// Row numbers at which pieces begin, and the number of rows.
    starts: Vec<usize>,
    pieces: Vec<(&'a [f64], &'a [f64])>,
}

impl<'a> InPieces<'a> {
    /// Rows of `n_columns` values each; a piece is its values and its weights.
    #[must_use]
    pub fn new(n_columns: usize, pieces: Vec<(&'a [f64], &'a [f64])>) -> Self {
        let mut starts = vec![0];
        for (_, weights) in &pieces {
            starts.push(starts[starts.len() - 1] + weights.len());
        }
        Self { n_columns, starts, pieces }
    }

    #[inline(always)]
    fn place(&self, row: u32) -> (usize, usize) {
        let piece = self.starts.partition_point(|&start| start <= row as usize) - 1;
        (piece, row as usize - self.starts[piece])
    }

    #[inline(always)]
    fn row(&self, row: u32) -> &[f64] {
        let (piece, at) = self.place(row);
        &self.pieces[piece].0[at * self.n_columns..(at + 1) * self.n_columns]
    }
}

impl CellRows for InPieces<'_> {
    fn n_columns(&self) -> usize {
        self.n_columns
    }

    fn is_weighted(&self) -> bool {
        true
    }

    #[inline(always)]
    fn weight(&self, row: u32) -> f64 {
        let (piece, at) = self.place(row);
        self.pieces[piece].1[at]
    }

    #[inline(always)]
    fn value(&self, row: u32, column: usize) -> f64 {
        self.row(row)[column]
    }

    #[inline(always)]
    fn push(&self, row: u32, out: &mut Vec<f64>) {
        out.extend_from_slice(self.row(row));
    }

    fn read(&self, rows: &[u32], block: &mut [f64]) {
        let n = rows.len();
        for (i, &row) in rows.iter().enumerate() {
            for (out, value) in block[i..].iter_mut().step_by(n).zip(self.row(row)) {
                *out = *value;
            }
        }
    }
}
