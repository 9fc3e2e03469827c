//! The Cholesky factor of a sparse symmetric matrix: its order, its panels, its selected inverse.

pub mod elimination_tree;
pub mod graph;
pub mod incidence;
pub mod panels;
pub mod reach;
pub mod selected;
pub mod structure;
