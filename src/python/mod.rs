//! The Python module `mlmfast._core`: checks, releases the GIL, hands arrays over.

// Arguments arrive from Python by value; a method of `Python<'_>` is not general enough as a closure.
#![allow(clippy::needless_pass_by_value, clippy::redundant_closure_for_method_calls)]

mod arguments;
mod arrays;
mod crossed;
mod dense;
mod draws;
mod engine;
mod estimates;
mod gateway;
mod gather;
mod iterative;
mod nested;
mod newton;
mod pedigree;
mod rows;
mod series;

use pyo3::prelude::*;

use self::gateway::{CollinearRandomEffects, NotConverged, NotNested};

/// Numerical core of mlmfast.
#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    gateway::connect();
    module.add_class::<engine::Engine>()?;
    module.add_class::<rows::Nesting>()?;
    module.add_class::<nested::NestedReduction>()?;
    module.add_class::<nested::batch::NestedBatch>()?;
    module.add_class::<crossed::Crossing>()?;
    module.add_class::<crossed::CrossedReduction>()?;
    module.add_class::<iterative::IterativeReduction>()?;
    module.add_class::<dense::DenseReduction>()?;
    module.add_function(wrap_pyfunction!(rows::column_statistics, module)?)?;
    module.add_function(wrap_pyfunction!(rows::stacked_statistics, module)?)?;
    module.add_function(wrap_pyfunction!(rows::copy_responses, module)?)?;
    module.add_function(wrap_pyfunction!(rows::compress_rows, module)?)?;
    module.add_function(wrap_pyfunction!(rows::merge_rows, module)?)?;
    module.add_function(wrap_pyfunction!(rows::code_texts, module)?)?;
    module.add_function(wrap_pyfunction!(rows::code_numbers, module)?)?;
    module.add_function(wrap_pyfunction!(rows::code_runs, module)?)?;
    module.add_function(wrap_pyfunction!(rows::translate_codes, module)?)?;
    module.add_function(wrap_pyfunction!(rows::count_codes, module)?)?;
    module.add_function(wrap_pyfunction!(rows::squares_about, module)?)?;
    module.add_function(wrap_pyfunction!(draws::draw_streams, module)?)?;
    module.add_function(wrap_pyfunction!(newton::symmetric_eigen, module)?)?;
    module.add_function(wrap_pyfunction!(newton::newton_steps, module)?)?;
    module.add_function(wrap_pyfunction!(newton::scoring_steps, module)?)?;
    module.add_function(wrap_pyfunction!(newton::led_derivatives, module)?)?;
    module.add_function(wrap_pyfunction!(newton::autocorrelations_chart, module)?)?;
    module.add_function(wrap_pyfunction!(newton::autocorrelations_of, module)?)?;
    module.add_function(wrap_pyfunction!(newton::unstructured_chart, module)?)?;
    module.add_function(wrap_pyfunction!(newton::unstructured_move, module)?)?;
    module.add_function(wrap_pyfunction!(newton::unstructured_matrices, module)?)?;
    module.add_function(wrap_pyfunction!(newton::unstructured_nearest, module)?)?;
    module.add_function(wrap_pyfunction!(newton::unstructured_theta, module)?)?;
    module.add_function(wrap_pyfunction!(newton::test_bases, module)?)?;
    module.add_function(wrap_pyfunction!(estimates::coefficient_maps, module)?)?;
    module.add_function(wrap_pyfunction!(estimates::user_coefficients, module)?)?;
    module.add_function(wrap_pyfunction!(estimates::user_covariances, module)?)?;
    module.add_function(wrap_pyfunction!(gateway::memory_left, module)?)?;
    module.add_function(wrap_pyfunction!(gateway::require_room, module)?)?;
    module.add_function(wrap_pyfunction!(series::run_chain, module)?)?;
    module.add_function(wrap_pyfunction!(series::walk_series, module)?)?;
    module.add_function(wrap_pyfunction!(series::innovations, module)?)?;
    module.add_function(wrap_pyfunction!(pedigree::birth_order, module)?)?;
    module.add_function(wrap_pyfunction!(pedigree::inbreeding, module)?)?;
    module.add_function(wrap_pyfunction!(pedigree::solve_triangle, module)?)?;
    module.add_function(wrap_pyfunction!(pedigree::triangle_covariances, module)?)?;
    module.add_function(wrap_pyfunction!(pedigree::precision_variances, module)?)?;
    module.add("NotNested", module.py().get_type::<NotNested>())?;
    module.add("CollinearRandomEffects", module.py().get_type::<CollinearRandomEffects>())?;
    module.add("NotConverged", module.py().get_type::<NotConverged>())?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}
