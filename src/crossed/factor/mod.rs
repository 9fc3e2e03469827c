//! The Cholesky factor of a sparse symmetric matrix: its order, its panels, its selected inverse.

pub mod cholesky;
pub mod elimination_tree;
pub mod graph;
pub mod panels;
pub mod reach;
pub mod selected;
pub mod solve;
pub mod structure;
pub mod tiles;
