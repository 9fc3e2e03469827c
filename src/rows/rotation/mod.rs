//! The one pass over the rows of a design, by chunks, each unit rotated.

pub mod alike;
mod beside;
mod chunk;
pub mod copied;
mod four_units;
mod gather;
pub mod rotate;
pub mod staged;
