//! Covariances of a level's units with their derivatives.

/// G of a level, or R of a unit over its positions, perhaps with derivatives.
#[derive(Clone, Debug)]
pub struct Template<'a> {
    /// Matrices by kind (the covariance, its first derivatives, its second derivatives by pairs),
    /// by unit, each `q` x `q`.
    pub values: &'a [f64],
    /// Order of the matrices.
    pub q: usize,
    /// Kinds; 1 where derivatives are by entries.
    pub kinds: usize,
    /// Units with matrices of their own; 1 where all share one.
    pub blocks: usize,
}

impl Template<'_> {
    /// The matrix of one kind for a unit.
    #[must_use]
    pub fn matrix(&self, kind: usize, unit: usize) -> &[f64] {
        let block = if self.blocks == 1 { 0 } else { unit };
        let size = self.q * self.q;
        &self.values[(kind * self.blocks + block) * size..][..size]
    }

    /// Do derivatives come with the matrices?
    #[must_use]
    pub fn has_derivatives(&self) -> bool {
        self.kinds > 1
    }
}
