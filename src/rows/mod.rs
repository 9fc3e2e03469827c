//! The rows of a design: sorted into units, read once, rotated, put into coordinates that lose no
//! digits.

pub mod basis;
pub mod bundle;
pub mod cell_rows;
pub mod codes;
pub mod columns;
pub mod compress;
pub mod hashes;
pub mod labels;
pub mod level_rows;
pub mod nesting;
pub mod relationship;
pub mod rotation;
pub mod series_columns;

/// Rows from which on it pays to prepare what saves work by row: visits left out that were not seen,
/// differentials of several units led on together.
pub const MANY_ROWS: usize = 1024;
/// Units that are looked at before all are compared: as a rule they tell whether any are alike.
pub const SAMPLE: usize = 256;
