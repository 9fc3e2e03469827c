//! Inbreeding coefficients, and what segregation adds to the mean of the parents.

/// What a pedigree says of each animal.
pub struct Inbreeding {
    /// Probability that the two alleles of a locus are copies of one.
    pub coefficients: Vec<f64>,
    /// Variance of its value about the mean of its parents, in units of the additive variance of
    /// animals that are not inbred.
    pub segregation: Vec<f64>,
}

/// Half of what the parents are not inbred, each unknown parent an animal of the base population.
pub fn segregation(parents: [i32; 2], coefficients: &[f64]) -> f64 {
    let share = |parent: i32| {
        if parent < 0 { 0.5 } else { 0.25 * (1.0 - coefficients[parent as usize]) }
    };
    share(parents[0]) + share(parents[1])
}
