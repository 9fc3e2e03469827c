//! Any Gaussian mixed model: V held dense over each component of rows that it correlates.
//!
//! ```text
//! V = sum over levels of Z (A x G) Z' + R
//! ```
//!
//! with A known relationships between the units of a level (the identity where they are unrelated),
//! and R the identity or a covariance of its own for each unit of the last level. A component costs
//! the cube of its rows: this serves models that no engine with structure does, and checks those.

mod component;
mod derivatives;
mod directions;
mod effects;
mod engine;
mod levels;
mod reduction;
mod rows;
mod slots;
mod template;
#[cfg(test)]
mod tests;
mod traces;

pub use self::component::Component;
pub use self::reduction::Reduction;
pub use self::rows::Grouping;
pub use self::template::Template;
