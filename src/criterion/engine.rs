//! What every engine answers, and the places it answers for.

use super::derivatives::LikelihoodDerivatives;
use super::solution::{Criterion, Solution};
use super::sums::{Conditional, Entry};
use crate::linalg::dense::NotPositiveDefinite;
use crate::rows::basis::FixedBasis;

/// One response at one G.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// The response.
    pub fit: usize,
    /// G of each level.
    pub g: &'a [Vec<f64>],
    /// The shape in which G of each level came, see [`Engine::shape`].
    pub shapes: &'a [Vec<usize>],
}

/// What is wanted of an evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The restricted likelihood, not the likelihood?
    pub reml: bool,
    /// Gradient and second derivatives too?
    pub derivatives: bool,
    /// Second derivatives as they are, where the engine might take their average instead?
    pub exact: bool,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unsolved {
    /// V or X'V^-1 X is not positive definite: an expected outcome of a long step.
    NotPositiveDefinite,
    /// After so many iterations the residual was still this, relative to the right-hand side.
    NotConverged(usize, f64),
    /// The engine, or this design, has no such answer.
    NotOffered,
}

impl From<NotPositiveDefinite> for Unsolved {
    fn from(_: NotPositiveDefinite) -> Self {
        Self::NotPositiveDefinite
    }
}

/// Methods of an [`Engine`] that not every one answers.
pub const OPTIONAL: [&str; 6] = [
    "within",
    "visit_moments",
    "likelihood_derivatives",
    "information_second_derivatives",
    "conditional",
    "prediction_error",
];

/// A reduced design.
///
/// Levels are numbered as the design was given. It is called once an evaluation: what runs over rows
/// or units is behind it.
pub trait Engine: Send + Sync {
    /// "nested", "crossed", "dense" or "iterative".
    fn name(&self) -> &'static str;

    /// Which of the [`OPTIONAL`] methods have no answer here.
    fn lacks(&self) -> &'static [&'static str];

    /// Number of responses.
    fn n_fits(&self) -> usize;

    /// Map of the fixed effects.
    fn fixed(&self) -> &FixedBasis;

    /// Rank of X.
    fn rank(&self) -> usize {
        self.fixed().rank()
    }

    /// Number of levels, that of a residual covariance included.
    fn n_levels(&self) -> usize;

    /// Levels of random effects.
    fn n_random(&self) -> usize {
        self.n_levels()
    }

    /// Random effects of a unit of a level; order of the residual covariance.
    fn q(&self, level: usize) -> usize;

    /// Units of a level whose effects can be told.
    fn n_units(&self, level: usize) -> usize;

    /// Upper triangular B with z = (transformed z) B.
    fn basis(&self, level: usize) -> &[f64];

    /// Two numbers that the cost grows with, the engine's own.
    fn size(&self) -> (usize, usize);

    /// Does one evaluation keep all threads busy?
    fn is_large(&self) -> bool {
        false
    }

    /// The shape that G of a level must have, for one that comes with the shape `found`.
    fn shape(&self, level: usize, found: &[usize]) -> Vec<usize> {
        let _ = found;
        vec![self.q(level); 2]
    }

    /// Rows and columns that entries of a level may name.
    fn bound(&self, level: usize) -> usize {
        self.q(level)
    }

    /// Has each level's G come with its derivatives by these entries, where it must?
    fn has_derivatives(&self, at: At, entries: &[Entry]) -> bool {
        let _ = (at, entries);
        true
    }

    /// Are second derivatives taken exactly at these G (one a fit), perhaps because it is `asked`?
    fn is_exact(&self, g: &[Vec<Vec<f64>>], asked: bool) -> bool {
        let _ = (g, asked);
        true
    }

    /// An estimate of `sigma^2` that needs no G: residual sum of squares of each response, and its
    /// degrees of freedom.
    ///
    /// # Errors
    /// [`Unsolved::NotOffered`].
    fn within(&self) -> Result<(Vec<f64>, usize), Unsolved> {
        Err(Unsolved::NotOffered)
    }

    /// Sums of products of least squares residuals over pairs of visits, and how many units have
    /// both; each the residual's order squared.
    ///
    /// # Errors
    /// [`Unsolved::NotOffered`].
    fn visit_moments(&self, fit: usize) -> Result<(Vec<f64>, Vec<f64>), Unsolved> {
        let _ = fit;
        Err(Unsolved::NotOffered)
    }

    /// Generalised least squares.
    ///
    /// # Errors
    /// [`Unsolved`].
    fn solve(&self, at: At) -> Result<Solution, Unsolved>;

    /// The criterion, +inf where V is not positive definite.
    ///
    /// # Errors
    /// [`Unsolved::NotConverged`].
    fn evaluate(&self, at: At, entries: &[Entry], wanted: Wanted) -> Result<Criterion, Unsolved>;

    /// log|V| (with log|X'V^-1 X| for REML) and y'Py with their derivatives by entries.
    ///
    /// # Errors
    /// [`Unsolved`].
    fn likelihood_derivatives(
        &self,
        at: At,
        entries: &[Entry],
        wanted: Wanted,
    ) -> Result<LikelihoodDerivatives, Unsolved> {
        let _ = (at, entries, wanted);
        Err(Unsolved::NotOffered)
    }

    /// Derivatives of X'V^-1 X by entries, `rank` squared each.
    ///
    /// # Errors
    /// [`Unsolved`].
    fn information_derivatives(&self, at: At, entries: &[Entry]) -> Result<Vec<f64>, Unsolved>;

    /// Second derivatives of X'V^-1 X, `rank` squared, by each pair of entries or, with `weights`
    /// (`n_entries` squared, symmetric), their weighted sum.
    ///
    /// # Errors
    /// [`Unsolved`].
    fn information_second_derivatives(
        &self,
        at: At,
        entries: &[Entry],
        weights: Option<&[f64]>,
    ) -> Result<Vec<f64>, Unsolved> {
        let _ = (at, entries, weights);
        Err(Unsolved::NotOffered)
    }

    /// Conditional means and covariances of the random effects by level; `e` is (-beta, 1).
    ///
    /// # Errors
    /// [`Unsolved`].
    fn conditional(&self, at: At, e: &[f64]) -> Result<Vec<Conditional>, Unsolved> {
        let _ = (at, e);
        Err(Unsolved::NotOffered)
    }

    /// Variances over `sigma^2` of sums z'g given the data, beta known, and z'G Z'V^-1 X, `rank` a
    /// row; by level the unit of each row (negative: not in the data) and its columns of z.
    ///
    /// # Errors
    /// [`Unsolved`].
    fn prediction_error(
        &self,
        at: At,
        codes: &[&[i32]],
        z: &[&[f64]],
    ) -> Result<(Vec<f64>, Vec<f64>), Unsolved> {
        let _ = (at, codes, z);
        Err(Unsolved::NotOffered)
    }
}
