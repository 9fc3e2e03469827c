//! Inbreeding coefficients: by ancestors, or by pairs where each animal has very many of them.

use super::birth_order::Parents;
use super::coefficients::Inbreeding;
use super::pairs::by_pairs;
use super::tracing::by_tracing;

/// Ancestors an animal that are traced before pairs are thought of.
const MANY_ANCESTORS: usize = 500;
/// Pairs an animal above which tracing goes on.
const MANY_PAIRS: usize = 1000;
/// Pairs in all above which it does: 1 GB with their values.
const MOST_PAIRS: usize = 100_000_000;

/// Inbreeding of animals that come after their parents.
///
/// # Panics
/// Never: tracing without a limit has no end but its own.
#[must_use]
pub fn inbreeding(parents: Parents) -> Inbreeding {
    by_tracing(parents, MANY_ANCESTORS * parents.len())
        .or_else(|| by_pairs(parents, MOST_PAIRS.min(MANY_PAIRS * parents.len())))
        .or_else(|| by_tracing(parents, usize::MAX))
        .expect("there is no limit")
}

#[cfg(test)]
mod tests {
    use super::inbreeding;
    use crate::pedigree::pairs::by_pairs;
    use crate::pedigree::tracing::by_tracing;

    /// Relationships by the tabular method.
    fn table(parents: &[[i32; 2]]) -> Vec<Vec<f64>> {
        let n = parents.len();
        let mut a = vec![vec![0.0; n]; n];
        for i in 0..n {
            let at = |row: &Vec<f64>, p: i32| if p < 0 { 0.0 } else { row[p as usize] };
            for j in 0..i {
                let own = 0.5 * (at(&a[j], parents[i][0]) + at(&a[j], parents[i][1]));
                (a[i][j], a[j][i]) = (own, own);
            }
            let [s, d] = parents[i];
            a[i][i] = 1.0 + if s < 0 || d < 0 { 0.0 } else { 0.5 * a[s as usize][d as usize] };
        }
        a
    }

    #[test]
    fn coefficients_are_those_of_the_tabular_method() {
        let mut parents = vec![[-1, -1]; 6];
        let mut state = 1_u64;
        for animal in 6..300_i64 {
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let last = (state >> 33) as i64 % 12;
                if last == 11 { -1 } else { (animal - 1 - last).max(0) as i32 }
            };
            parents.push([next(), next()]);
        }
        let a = table(&parents);
        for found in [by_tracing(&parents, usize::MAX), by_pairs(&parents, usize::MAX)] {
            let found = found.expect("there is no limit");
            for i in 0..parents.len() {
                assert!((found.coefficients[i] - (a[i][i] - 1.0)).abs() < 1e-14);
            }
        }
        assert!(by_tracing(&parents, 300).is_none() && by_pairs(&parents, 300).is_none());
        assert!(parents.iter().any(|p| p[0] == p[1] && p[0] >= 0), "selfing is among them");
    }

    #[test]
    fn many_generations_of_selfing_keep_their_digits() {
        let parents: Vec<[i32; 2]> = (0..50).map(|i| [i - 1, i - 1]).collect();
        let found = inbreeding(&parents);
        assert!((found.segregation[49] * 2_f64.powi(49) - 1.0).abs() < 0.2);
        assert!((found.segregation[2] - 0.25).abs() < 1e-15);
    }
}
