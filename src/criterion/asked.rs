//! What small designs are asked, all fits of a batch in one call.

/// Most random effects with code of their own.
pub const MOST_EFFECTS: usize = 3;

/// What is asked of each fit, by all entries of G.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Asked {
    /// -2 log-likelihood, gradient, Hessian, expected Hessian; +inf and zeros without a solution.
    Criteria,
    /// What [`super::derivatives::LikelihoodDerivatives`] holds: first and second
    /// derivatives of the log-determinants, then of y'Py; derivatives of X'V^-1 X, its inverse; y'Py.
    Likelihood,
    /// Coefficients, (X'V^-1 X)^-1, and (y'Py, log|V|, log|X'V^-1 X|).
    Solutions,
    /// Sums of second derivatives of X'V^-1 X with weights.
    SecondSums,
}

impl Asked {
    /// Numbers of a fit in each result, for G of order `q`.
    #[must_use]
    pub fn sizes(self, q: usize, rank: usize) -> Vec<usize> {
        let (n, square) = (q * (q + 1) / 2, rank * rank);
        match self {
            Self::Criteria => vec![1, n, n * n, n * n],
            Self::Likelihood => vec![n, n * n, n, n * n, n * square, square, 1],
            Self::Solutions => vec![rank, square, 3],
            Self::SecondSums => vec![square],
        }
    }

    /// Marks a fit whose V is not positive definite.
    pub fn fail(self, slots: &mut [&mut [f64]]) {
        if self == Self::Criteria {
            slots[0][0] = f64::INFINITY;
        } else {
            slots.iter_mut().for_each(|slot| slot.fill(f64::NAN));
        }
    }
}

/// Points at which fits are looked at.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// What for.
    pub asked: Asked,
    /// G of each fit, `q` squared.
    pub g: &'a [f64],
    /// Of each fit, weights of pairs of entries, for [`Asked::SecondSums`]; else empty.
    pub weights: &'a [f64],
    /// The restricted likelihood?
    pub reml: bool,
}
