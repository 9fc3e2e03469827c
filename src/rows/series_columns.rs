//! Series among the rows: how neighbours enter the inverse of their covariance.

/// `row` times a row plus `previous` times the row before it.
#[derive(Clone, Copy, Debug)]
pub struct Combination {
    /// Weight of the row.
    pub row: f64,
    /// Weight of the row before it in the series.
    pub previous: f64,
    /// Weight of the combination's square in the sum of squares of all rows.
    pub share: f64,
}

/// How the rows of each series, in time order, enter the inverse of their covariance.
///
/// Classes of cross-products: first those of the ends, then for each class of steps one for each
/// combination.
pub struct SeriesColumns<'a> {
    /// By row, class of the step from the row before it; -1 - e where a series of end class e
    /// begins.
    pub step: &'a [i32],
    /// Classes of ends.
    pub n_ends: usize,
    /// Classes of steps.
    pub n_steps: usize,
    /// What a step contributes.
    pub combinations: Vec<Combination>,
    /// Does the last row of a series count as an end too?
    pub closes: bool,
    /// Weight of an end's square in the sum of squares of all rows.
    pub end_share: f64,
    /// Do the iterations walk along the rows? Items are then the rows themselves, in order, of the
    /// class of their step; there are two classes a step, for two functions of it.
    pub recursive: bool,
}

impl SeriesColumns<'_> {
    /// Number of classes.
    #[must_use]
    pub fn n_classes(&self) -> usize {
        self.n_ends + self.n_steps * self.combinations.len()
    }

    /// Weight of a class in the sum of squares of all rows, by class modulo combinations.
    #[must_use]
    pub fn shares(&self) -> Shares {
        Shares {
            n_ends: self.n_ends,
            end: self.end_share,
            combinations: self.combinations.iter().map(|c| c.share).collect(),
        }
    }

    pub(super) fn first_class(&self, code: i32) -> usize {
        if code < 0 {
            (-1 - code) as usize
        } else {
            self.n_ends + code as usize * self.combinations.len()
        }
    }
}

/// Weights of classes in the sum of squares of all rows.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    n_ends: usize,
    end: f64,
    combinations: Vec<f64>,
}

impl Shares {
    /// Weight of one class.
    #[must_use]
    pub fn of(&self, class: u32) -> f64 {
        let class = class as usize;
        if class < self.n_ends {
            self.end
        } else {
            self.combinations[(class - self.n_ends) % self.combinations.len()]
        }
    }
}
