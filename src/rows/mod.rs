//! The rows of a design: sorted into units, read once, rotated, put into coordinates that lose no
//! digits.

pub mod basis;
pub mod bundle;
pub mod cell_rows;
pub mod codes;
pub mod columns;
pub mod compress;
pub mod labels;
pub mod level_rows;
pub mod nesting;
pub mod relationship;
pub mod rotate;
pub mod series_columns;
