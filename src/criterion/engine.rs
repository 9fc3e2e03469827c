//! What every engine answers, and the places it answers for.

use super::asked::Request;
use super::derivatives::{LikelihoodDerivatives, assemble};
use super::solution::{Criterion, Shape, Solution};
use super::sums::{Conditional, Entry, RootWeight, Sums};
use crate::linalg::dense::NotPositiveDefinite;
use crate::rows::basis::FixedBasis;

/// One response at one G.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// The response.
    pub fit: usize,
    /// G of each level.
    pub g: &'a [Vec<f64>],
    /// The shape in which G of each level came, see [`Engine::shape_of`].
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
#[allow(clippy::missing_errors_doc)] // each error is an `Unsolved`
#[allow(unused_variables)] // of what is not offered
pub trait Engine: Send + Sync {
    /// "nested", "crossed", "dense" or "iterative".
    fn name(&self) -> &'static str;

    /// Which of the [`OPTIONAL`] methods have no answer here.
    fn lacks(&self) -> &'static [&'static str];

    /// Map of the fixed effects.
    fn fixed(&self) -> &FixedBasis;

    /// What the criterion needs to know of the design.
    fn shape(&self) -> Shape;

    /// By level, that of a residual covariance included: random effects of a unit, and the upper
    /// triangular B with z = (transformed z) B.
    fn levels(&self) -> Vec<(usize, &[f64])>;

    /// Two numbers that the cost grows with, the engine's own.
    fn size(&self) -> (usize, usize);

    /// Does one evaluation keep all threads busy?
    fn is_large(&self) -> bool {
        false
    }

    /// The shape that G of a level must have, for one that comes with the shape `found`.
    fn shape_of(&self, level: usize, found: &[usize]) -> Vec<usize> {
        vec![self.levels()[level].0; 2]
    }

    /// Rows and columns that entries of a level may name.
    fn bound(&self, level: usize) -> usize {
        self.levels()[level].0
    }

    /// Has each level's G come with its derivatives by these entries, where it must?
    fn has_derivatives(&self, at: At, entries: &[Entry]) -> bool {
        true
    }

    /// Are second derivatives taken exactly at these G (one a fit), perhaps because it is `asked`?
    fn is_exact(&self, g: &[Vec<Vec<f64>>], asked: bool) -> bool {
        true
    }

    /// Generalised least squares.
    fn solve(&self, at: At) -> Result<Solution, Unsolved>;

    /// The criterion, +inf where V is not positive definite.
    fn evaluate(&self, at: At, entries: &[Entry], wanted: Wanted) -> Result<Criterion, Unsolved> {
        let (n, shape) = (entries.len(), self.shape());
        let found = if wanted.derivatives {
            self.likelihood_derivatives(at, entries, wanted)
                .map(|parts| assemble(shape, &parts, n, wanted.reml, !wanted.exact))
        } else {
            self.solve(at).map(|solution| Criterion {
                value: solution.value(shape, wanted.reml),
                ..Criterion::failed(n)
            })
        };
        match found {
            Err(Unsolved::NotPositiveDefinite) => Ok(Criterion::failed(n)),
            found => found,
        }
    }

    /// The criterion and its gradient alone, +inf where V is not positive definite.
    fn gradient(&self, at: At, entries: &[Entry], reml: bool) -> Result<Criterion, Unsolved> {
        let wanted = Wanted { reml, derivatives: true, exact: false };
        self.evaluate(at, entries, wanted)
    }

    /// What is asked of some fits by all entries of G, where the design is so small that a batch is
    /// taken in one task and the entries are just those.
    fn small_results(
        &self,
        fits: &[usize],
        entries: Option<&[Entry]>,
        request: Request,
    ) -> Option<Vec<Vec<f64>>> {
        None
    }

    /// Derivatives of X'V^-1 X by entries, `rank` squared each.
    fn information_derivatives(&self, at: At, entries: &[Entry]) -> Result<Vec<f64>, Unsolved>;

    /// An estimate of `sigma^2` that needs no G: residual sum of squares of each response, and its
    /// degrees of freedom.
    fn within(&self) -> Result<(Vec<f64>, usize), Unsolved> {
        Err(Unsolved::NotOffered)
    }

    /// Sums of products of least squares residuals over pairs of visits, for one response, and how
    /// many units have both; each the residual's order squared.
    fn visit_moments(&self, fit: usize) -> Result<(Vec<f64>, Vec<f64>), Unsolved> {
        Err(Unsolved::NotOffered)
    }

    /// log|V| (with log|X'V^-1 X| for REML) and y'Py with their derivatives by entries.
    fn likelihood_derivatives(
        &self,
        at: At,
        entries: &[Entry],
        wanted: Wanted,
    ) -> Result<LikelihoodDerivatives, Unsolved> {
        Err(Unsolved::NotOffered)
    }

    /// Second derivatives of X'V^-1 X, `rank` squared, by each pair of entries or, with `weights`
    /// (`n_entries` squared, symmetric), their weighted sum.
    fn information_second_derivatives(
        &self,
        at: At,
        entries: &[Entry],
        weights: Option<&[f64]>,
    ) -> Result<Vec<f64>, Unsolved> {
        Err(Unsolved::NotOffered)
    }

    /// Sums over the units, which those of other parts of the rows in the same coordinates are added
    /// to: log|V| and [X y]'V^-1 [X y]; with the weight of the root, derivatives by entries instead.
    fn sums(&self, at: At, entries: &[Entry], root: Option<&RootWeight>) -> Result<Sums, Unsolved> {
        Err(Unsolved::NotOffered)
    }

    /// By level of random effects, conditional means and covariances over `sigma^2`; `e` is
    /// (-beta, 1).
    fn conditional(&self, at: At, e: &[f64]) -> Result<Vec<Conditional>, Unsolved> {
        Err(Unsolved::NotOffered)
    }

    /// By level of random effects, the units whose effects [`Self::prediction_error`] takes.
    fn n_units(&self) -> Vec<usize> {
        Vec::new()
    }

    /// Variances over `sigma^2` of sums z'g given the data, beta known, and z'G Z'V^-1 X, `rank` a
    /// row; by level the unit of each row (negative: not in the data) and its columns of z.
    fn prediction_error(
        &self,
        at: At,
        codes: &[&[i32]],
        z: &[&[f64]],
    ) -> Result<(Vec<f64>, Vec<f64>), Unsolved> {
        Err(Unsolved::NotOffered)
    }
}
