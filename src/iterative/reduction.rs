//! The iterative engine: rows sorted by every factor, and the last point it was asked for.

use std::sync::{Arc, Mutex, MutexGuard};

use super::data::Data;
use super::derivatives::Derivatives;
use super::estimate::{Evaluation, Settings, outlying};
use crate::criterion::engine::{At, Engine, OPTIONAL, Unsolved, Wanted};
use crate::criterion::solution::{Criterion, Shape, Solution};
use crate::criterion::sums::Entry;
use crate::rows::basis::FixedBasis;
use crate::running::threads;

/// G by factor, at which fit.
type Key = (Vec<Vec<f64>>, usize);

/// See the parent module.
pub struct Reduction {
    /// The rows.
    pub data: Data,
    settings: Settings,
    /// Where the factors, as they were given, stand among those of the data.
    places: Vec<usize>,
    /// Directions in which traces are exact; found when first needed.
    outlying: Mutex<Option<Arc<Vec<Vec<f64>>>>>,
    /// The last point, at which estimates, solution and effects are asked for one after the other.
    last: Mutex<Option<(Key, Arc<Evaluation>)>>,
}

impl Reduction {
    /// Without a point yet.
    #[must_use]
    pub fn new(data: Data, settings: Settings) -> Self {
        let mut places = vec![0; data.factors.len()];
        data.factors.iter().enumerate().for_each(|(k, f)| places[f.position] = k);
        Self { data, settings, places, outlying: Mutex::new(None), last: Mutex::new(None) }
    }

    /// Random probes used for the traces; 0 where these are exact.
    #[must_use]
    pub fn n_probes(&self) -> usize {
        let exact = self.settings.exact || self.data.reduced_size() <= self.settings.n_probes;
        if exact { 0 } else { self.settings.n_probes }
    }

    /// What the factors as they are stored give, in the order in which they were given.
    #[must_use]
    pub fn as_given<T: Clone>(&self, stored: &[T]) -> Vec<T> {
        self.places.iter().map(|&k| stored[k].clone()).collect()
    }

    /// The point, from the last call or solved anew.
    ///
    /// # Errors
    /// [`Unsolved`].
    pub fn at(&self, at: At) -> Result<Arc<Evaluation>, Unsolved> {
        let key = (at.g.to_vec(), at.fit);
        let last = held(&self.last).and_then(|last| last.clone());
        if let Some((known, found)) = last
            && known == key
        {
            return Ok(found);
        }
        let solved = Arc::new(threads::enter(|| {
            let known = held(&self.outlying).and_then(|directions| directions.clone());
            let directions = match known {
                Some(directions) => directions,
                None => Arc::new(outlying(&self.data, &self.settings)?),
            };
            if let Some(mut slot) = held(&self.outlying) {
                *slot = Some(Arc::clone(&directions));
            }
            Evaluation::new(&self.data, at.g, at.fit, &self.settings, &directions)
        })?);
        if let Some(mut last) = held(&self.last) {
            *last = Some((key, Arc::clone(&solved)));
        }
        Ok(solved)
    }

    /// Derivatives at a point, with their Monte Carlo errors.
    ///
    /// # Errors
    /// [`Unsolved::NotConverged`].
    pub fn derivatives(
        &self,
        at: &Evaluation,
        entries: &[Entry],
        reml: bool,
    ) -> Result<Derivatives, Unsolved> {
        threads::enter(|| at.derivatives(&self.data, entries, reml, &self.settings))
    }

    /// By factor, conditional means of its effects.
    ///
    /// # Errors
    /// [`Unsolved`].
    pub fn conditional_means(&self, at: At) -> Result<Vec<Vec<f64>>, Unsolved> {
        Ok(self.as_given(&self.at(at)?.conditional_means(&self.data, at.g)))
    }
}

impl Engine for Reduction {
    fn name(&self) -> &'static str {
        "iterative"
    }

    fn lacks(&self) -> &'static [&'static str] {
        &OPTIONAL
    }

    fn fixed(&self) -> &FixedBasis {
        &self.data.fixed
    }

    fn shape(&self) -> Shape {
        Shape { n_rows: self.data.n_rows, rank: self.data.rank(), profiled: true }
    }

    fn levels(&self) -> Vec<(usize, &[f64])> {
        let factors = self.places.iter().map(|&k| &self.data.factors[k]);
        factors.map(|f| (f.q, &f.basis[..])).collect()
    }

    /// Units of the factor that is eliminated, and effects of the others.
    fn size(&self) -> (usize, usize) {
        (self.data.factors[0].n, self.data.reduced_size())
    }

    fn is_large(&self) -> bool {
        true
    }

    fn solve(&self, at: At) -> Result<Solution, Unsolved> {
        let Evaluation { beta, c, rss, logdet, logdet_xx, .. } = &*self.at(at)?;
        let (rss, logdet, logdet_xx) = (*rss, *logdet, *logdet_xx);
        Ok(Solution { beta: beta.clone(), c: c.clone(), rss, logdet, logdet_xx })
    }

    /// Both Hessians are the average information.
    fn evaluate(&self, at: At, entries: &[Entry], wanted: Wanted) -> Result<Criterion, Unsolved> {
        let failed = Criterion::failed(entries.len());
        let point = match self.at(at) {
            Err(Unsolved::NotPositiveDefinite) => return Ok(failed),
            other => other?,
        };
        let value = point.value(&self.data, wanted.reml);
        if !wanted.derivatives {
            return Ok(Criterion { value, ..failed });
        }
        let Derivatives { gradient, information, .. } =
            self.derivatives(&point, entries, wanted.reml)?;
        Ok(Criterion { value, gradient, hessian: information.clone(), expected: information })
    }

    fn information_derivatives(&self, at: At, entries: &[Entry]) -> Result<Vec<f64>, Unsolved> {
        Ok(self.at(at)?.information_derivatives(&self.data, entries))
    }
}

/// What is remembered, if it can be looked at: in a forked process the lock may be held by a thread
/// that is no more, and then everything is computed anew.
fn held<T>(memory: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    memory.try_lock().ok()
}
