//! The one pass over the rows of a design, by chunks, each unit rotated.

mod chunk;
mod four_units;
pub mod rotate;
