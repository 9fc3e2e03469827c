//! Steps as long as they are ordinary: whole ones, of Newton or of scoring, that lead down.
//!
//! The iteration is Python's (`newton/iteration.py`), with its steps that are bounded, shortened,
//! lengthened, led back into the covariances or away from a saddle. Most fits need none of these: the
//! core takes their steps, many fits side by side, and leaves each where it asks for anything else, as
//! that iteration would have found it there.

use std::ops::Range;

use super::blocks::{Block, Point, each_block};
use super::eigenvalues::smallest_of;
use super::looks::{Look, by_values, looks};
use super::scored::{Scored, scored};
use super::steps::Step;
use super::with_order;
use crate::linalg::eigen::Square;
use crate::running::memory::buffer;
use crate::running::threads;

/// Fits of one task: few, so that several threads take part, and many, so that side by side with those
/// that are still on their way few lanes are without a fit.
const FEWEST: usize = 16;
const MOST: usize = 64;
/// Tasks that are enough for several threads.
const TASKS: usize = 16;
/// See `newton/tails.py`: the cosine and the ratios of lengths of steps that repeat themselves, and
/// how many of these in succession are looked at by the iteration.
const SAME_WAY: f64 = 0.98;
const NO_SHORTER: f64 = 0.4;
const MOST_LONGER: f64 = 4.0;
const RUN: usize = 2;

/// What the iteration goes by, as `NewtonOptions` names it.
#[derive(Clone, Copy)]
pub struct Settings {
    /// The decrement at which a fit has ended.
    pub tolerance: f64,
    /// Least size of a scaled eigenvalue.
    pub floor: f64,
    /// The decrement above which scoring steps come first.
    pub near: f64,
    /// The scaled eigenvalue below which they do.
    pub flat: f64,
}

/// Criteria by the entries of G: values, gradients, Hessians, expected Hessians.
pub type Found = [Vec<f64>; 4];

/// Finds them for some fits.
pub trait Criteria: Fn(&[usize], &[Vec<f64>]) -> Found + Sync {}

impl<F: Fn(&[usize], &[Vec<f64>]) -> Found + Sync> Criteria for F {}

/// What is minimised.
pub struct Model<'a, F> {
    /// Lower triangles of these stand one after the other in theta, and so do the entries.
    pub blocks: &'a [Block],
    /// Order of G by level.
    pub levels: &'a [usize],
    /// Criteria of some fits at G, by level those of one fit after the other.
    pub criteria: F,
}

/// How a fit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stand {
    /// The next step is not ordinary.
    Left = 0,
    /// At a minimum, the last step taken.
    Ended = 1,
    /// No more steps are allowed, or the criterion is not finite.
    GivenUp = 2,
}

/// Where fits stand, and where they came from; row by row.
pub struct Fits<'a> {
    /// Positions in the batch.
    pub fits: &'a [usize],
    /// theta.
    pub theta: &'a [f64],
    /// Criteria there, where they are known.
    pub known: Option<[&'a [f64]; 4]>,
    /// The last step.
    pub way: &'a [f64],
    /// How many of the last steps went the same way.
    pub run: &'a [i64],
    /// How far to go along the next scoring step; 0 for Newton's turn.
    pub stretch: &'a [f64],
    /// Steps that are left.
    pub left: &'a [i64],
}

/// What has become of fits: numbers in a row a fit, and how each stands.
///
/// theta, the last step; value, decrement, smallest scaled eigenvalue and the Hessian's diagonal where
/// it was last looked at; steps, evaluations, run, stretch; the criterion by entries where it stands.
#[derive(Default)]
pub struct Outcomes {
    /// The numbers, [`width`] a fit.
    pub numbers: Vec<f64>,
    /// How they stand.
    pub stands: Vec<Stand>,
}

/// Numbers of a fit in [`Outcomes`] for `t` parameters.
#[must_use]
pub fn width(t: usize) -> usize {
    3 * t + 7 + 1 + t + 2 * t * t
}

/// Takes ordinary steps of some fits.
#[must_use]
pub fn ordinary_steps(
    model: &Model<'_, impl Criteria>,
    of: &Fits<'_>,
    settings: Settings,
) -> Outcomes {
    let n = of.fits.len();
    let t = of.theta.len() / n.max(1);
    let at_once = n.div_ceil(TASKS).clamp(FEWEST, MOST);
    let task = |first: usize| {
        let here = first..(first + at_once).min(n);
        with_order!(t, some_of(model, of, settings, here))
    };
    if n <= at_once {
        return if n == 0 { Outcomes::default() } else { task(0) };
    }
    let parts = threads::map((0..n).step_by(at_once), task);
    let mut out = Outcomes { numbers: buffer(n * width(t)), stands: Vec::with_capacity(n) };
    for part in parts {
        out.numbers.extend_from_slice(&part.numbers);
        out.stands.extend_from_slice(&part.stands);
    }
    out
}

fn some_of<const T: usize>(
    model: &Model<'_, impl Criteria>,
    of: &Fits<'_>,
    settings: Settings,
    here: Range<usize>,
) -> Outcomes {
    let mut all: Vec<Fit<T>> = here.map(|k| Fit::of(of, k)).collect();
    let mut open: Vec<usize> = (0..all.len()).collect();
    if of.known.is_none() {
        let thetas: Vec<[f64; T]> = all.iter().map(|fit| fit.at.theta).collect();
        let points = model.at(&all, &open, &thetas);
        for (fit, point) in all.iter_mut().zip(points) {
            fit.at = point;
            if !fit.at.value.is_finite() {
                fit.stand = Stand::GivenUp;
            }
        }
        open.retain(|&k| all[k].stand == Stand::Left);
    }
    while !open.is_empty() {
        let (mut going, mut targets) = (Vec::new(), Vec::new());
        let points: Vec<&Point<T>> = open.iter().map(|&k| &all[k].at).collect();
        let looks = looks(model.blocks, settings.flat.max(settings.floor), &points);
        for (&k, look) in open.iter().zip(looks) {
            if let Some(target) = all[k].next(look, model.blocks, settings) {
                going.push(k);
                targets.push(target);
            }
        }
        let points = model.at(&all, &going, &targets);
        open.clear();
        for (k, point) in going.into_iter().zip(points) {
            if all[k].accept(point) {
                open.push(k);
            }
        }
    }
    let definite = all.iter_mut().filter_map(|fit| Some((fit.definite?, &mut fit.step)));
    let (scaled, steps): (Vec<Square<T>>, Vec<&mut Step<T>>) = definite.unzip();
    for (step, smallest) in steps.into_iter().zip(smallest_of(&scaled)) {
        step.smallest = smallest;
    }
    let mut numbers = Vec::with_capacity(all.len() * width(T));
    all.iter().for_each(|fit| fit.put(&mut numbers));
    Outcomes { numbers, stands: all.iter().map(|fit| fit.stand).collect() }
}

impl<F: Criteria> Model<'_, F> {
    /// The criteria of some of the fits at their thetas.
    fn at<const T: usize>(
        &self,
        all: &[Fit<T>],
        some: &[usize],
        thetas: &[[f64; T]],
    ) -> Vec<Point<T>> {
        if some.is_empty() {
            return Vec::new();
        }
        let fits: Vec<usize> = some.iter().map(|&k| all[k].place).collect();
        let [value, gradient, hessian, expected] =
            (self.criteria)(&fits, &self.covariances(thetas));
        let point = |(k, &theta): (usize, &[f64; T])| Point {
            theta,
            value: value[k],
            gradient: super::vector(&gradient, k),
            hessian: super::matrix(&hessian, k),
            expected: super::matrix(&expected, k),
        };
        thetas.iter().enumerate().map(point).collect()
    }

    fn covariances<const T: usize>(&self, thetas: &[[f64; T]]) -> Vec<Vec<f64>> {
        let zeros = |q: &usize| vec![0.0; thetas.len() * q * q];
        let mut g: Vec<Vec<f64>> = self.levels.iter().map(zeros).collect();
        for (k, theta) in thetas.iter().enumerate() {
            each_block(self.blocks, |block, own| {
                let q = self.levels[block.level];
                let out = &mut g[block.level][k * q * q..(k + 1) * q * q];
                block.matrix(&theta[own], |i, j, value| {
                    out[(block.first + i) * q + block.first + j] = value;
                });
            });
        }
        g
    }
}

/// A step that is being tried: the slope along it, and what is remembered if it is taken.
#[derive(Clone, Copy)]
struct Trial<const T: usize> {
    slope: f64,
    way: [f64; T],
    run: usize,
    stretch: f64,
    scored: bool,
    far: bool,
}

impl<const T: usize> Trial<T> {
    fn none() -> Self {
        Self { slope: 0.0, way: [0.0; T], run: 0, stretch: 1.0, scored: false, far: false }
    }
}

/// A fit on its way.
struct Fit<const T: usize> {
    /// Its position in the batch.
    place: usize,
    at: Point<T>,
    /// Newton's step from there, where there was one.
    step: Step<T>,
    /// The scaled Hessian where its smallest eigenvalue is not known, but that it is not flat.
    definite: Option<Square<T>>,
    /// Value, and diagonal of the Hessian, where it was last looked at.
    looked: (f64, [f64; T]),
    way: [f64; T],
    run: usize,
    stretch: f64,
    tried: Trial<T>,
    left: usize,
    n_steps: usize,
    n_evaluations: usize,
    stand: Stand,
}

impl<const T: usize> Fit<T> {
    fn of(from: &Fits<'_>, k: usize) -> Self {
        let mut at = Point {
            theta: super::vector(from.theta, k),
            value: f64::INFINITY,
            gradient: [0.0; T],
            hessian: [[0.0; T]; T],
            expected: [[0.0; T]; T],
        };
        if let Some([value, gradient, hessian, expected]) = from.known {
            at.value = value[k];
            at.gradient = super::vector(gradient, k);
            at.hessian = super::matrix(hessian, k);
            at.expected = super::matrix(expected, k);
        }
        let none = Step { step: [0.0; T], slope: f64::NEG_INFINITY, smallest: f64::NEG_INFINITY };
        Self {
            place: from.fits[k],
            at,
            step: none,
            definite: None,
            looked: (at.value, [0.0; T]),
            way: super::vector(from.way, k),
            run: from.run[k] as usize,
            stretch: from.stretch[k],
            tried: Trial::none(),
            left: from.left[k] as usize,
            n_steps: 0,
            n_evaluations: usize::from(from.known.is_none()),
            stand: Stand::Left,
        }
    }

    /// Where the next step leads, if it is ordinary.
    fn next(&mut self, look: Look<T>, blocks: &[Block], settings: Settings) -> Option<[f64; T]> {
        /// Scaled eigenvalues above this are not negative: see `newton/iteration.py`.
        const FLAT: f64 = -1e-6;
        if self.left == 0 {
            self.stand = Stand::GivenUp;
            return None;
        }
        let theta = self.at.theta;
        let (step, target) = match look.definite {
            Some((step, target, _)) => (step, target),
            None => by_values(blocks, &self.at, settings.floor),
        };
        self.definite = look.definite.map(|(.., scaled)| scaled);
        self.step = step;
        self.looked = (self.at.value, look.diagonal);
        let decrement = -step.slope;
        if decrement <= settings.tolerance && step.smallest > FLAT {
            self.at.theta = target;
            self.stand = Stand::Ended;
            return None;
        }
        let far = decrement > settings.near || step.smallest <= FLAT;
        let (stretch, slow) = (self.stretch, step.smallest < settings.flat);
        // What follows where scoring has not led down: see `_Search.next_stretch`.
        let next = if far && stretch > 0.0 { 0.0 } else { 1.0 };
        let fresh = Trial { stretch: next, far, ..Trial::none() };
        if if far { stretch > 0.0 } else { slow } {
            match scored(blocks, &self.at, far) {
                Scored::Outside => return None,
                Scored::Target(..) if far && stretch > 1.0 => return None,
                Scored::Target(target, slope) => {
                    self.tried = Trial { slope, scored: true, ..fresh };
                    return Some(target);
                }
                Scored::Still => {}
            }
        }
        let length = norm(&step.step);
        let bounded = length.is_nan() || 1.0 + 2.0 * norm(&theta) < length.max(1e-300);
        if step.smallest <= FLAT || bounded {
            return None;
        }
        let way = std::array::from_fn(|i| target[i] - theta[i]);
        let run = self.run_of(&way);
        if run >= RUN {
            return None;
        }
        self.tried = Trial { slope: step.slope, way, run, ..fresh };
        Some(target)
    }

    /// How many steps in succession went the same way, this one included.
    fn run_of(&self, way: &[f64; T]) -> usize {
        let (size, last) = (norm(way), norm(&self.way));
        let ratio = size / last;
        let cosine = dot(way, &self.way) / (size * last);
        let same = cosine > SAME_WAY && ratio > NO_SHORTER && ratio < MOST_LONGER;
        if same { self.run + 1 } else { 0 }
    }

    /// Goes there if the criterion falls as it should.
    fn accept(&mut self, point: Point<T>) -> bool {
        let (value, tried) = (self.at.value, self.tried);
        // Below this a difference is rounding error.
        let noise = 1e-13 * (1.0 + value.abs());
        if point.value.is_nan() || point.value > value + 1e-4 * tried.slope + noise {
            return false;
        }
        let gain = (value - point.value) / (-0.5 * tried.slope);
        self.at = point;
        (self.way, self.run) = (tried.way, tried.run);
        self.stretch = match tried {
            Trial { scored: true, far: true, .. } if gain < 0.25 => 0.0,
            Trial { scored: true, .. } if gain > 1.7 => 3.0 * self.stretch.max(1.0),
            Trial { scored: true, .. } => 1.0,
            Trial { stretch, .. } => stretch,
        };
        self.n_steps += 1;
        self.n_evaluations += 1;
        self.left -= 1;
        true
    }

    /// Adds its numbers to those of others.
    fn put(&self, numbers: &mut Vec<f64>) {
        let Self { at, step, looked, .. } = self;
        numbers.extend(at.theta);
        numbers.extend(self.way);
        numbers.extend(looked.1);
        numbers.extend([looked.0, -step.slope, step.smallest]);
        numbers.extend([self.n_steps, self.n_evaluations, self.run].map(|count| count as f64));
        numbers.extend([self.stretch, at.value]);
        numbers.extend(at.gradient);
        numbers.extend_from_slice(at.hessian.as_flattened());
        numbers.extend_from_slice(at.expected.as_flattened());
    }
}

fn dot<const T: usize>(a: &[f64; T], b: &[f64; T]) -> f64 {
    (0..T).fold(0.0, |s, i| s + a[i] * b[i])
}

fn norm<const T: usize>(a: &[f64; T]) -> f64 {
    dot(a, a).sqrt()
}
