//! Gauss quadrature from a Lanczos tridiagonal matrix.

use super::conjugate_gradients::Tridiagonal;

/// Sweeps of the QL iteration for one eigenvalue; three are the rule.
const MAX_SWEEPS: usize = 60;

/// z'f(M) z with f(t) = log t - (t - 1), z the start of the Lanczos process (Golub and Welsch 1969,
/// Math. Comp. 23, 221).
///
/// The linear part has a trace that is known (0 for a matrix with unit blocks on its diagonal), so
/// leaving it out takes most of the variance of the estimated log determinant away.
#[must_use]
pub fn log_without_linear(t: &Tridiagonal) -> f64 {
    if t.diagonal.is_empty() {
        return 0.0;
    }
    let (nodes, first) = nodes_and_weights(&t.diagonal, &t.off);
    let sum: f64 = nodes
        .iter()
        .zip(&first)
        .map(|(node, u)| u * u * (node.max(f64::MIN_POSITIVE).ln() - (node - 1.0)))
        .sum();
    t.weight * sum
}

/// Eigenvalues of a symmetric tridiagonal matrix and the first entries of its eigenvectors, by QL
/// with implicit shifts.
fn nodes_and_weights(diagonal: &[f64], off: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let n = diagonal.len();
    let mut d = diagonal.to_vec();
    let mut e = off.to_vec();
    e.push(0.0);
    let mut first = vec![0.0; n];
    first[0] = 1.0;
    for l in 0..n {
        for _ in 0..MAX_SWEEPS {
            let m = (l..n - 1)
                .find(|&m| e[m].abs() <= f64::EPSILON * (d[m].abs() + d[m + 1].abs()))
                .unwrap_or(n - 1);
            if m == l {
                break;
            }
            sweep(&mut d, &mut e, &mut first, l, m);
        }
    }
    (d, first)
}

/// One QL sweep on rows l..=m with Wilkinson's shift.
fn sweep(d: &mut [f64], e: &mut [f64], first: &mut [f64], l: usize, m: usize) {
    let half = (d[l + 1] - d[l]) / (2.0 * e[l]);
    let root = half.hypot(1.0);
    let mut g = d[m] - d[l] + e[l] / (half + root.copysign(half));
    let (mut s, mut c, mut p) = (1.0, 1.0, 0.0);
    for i in (l..m).rev() {
        let f = s * e[i];
        let b = c * e[i];
        let r = f.hypot(g);
        e[i + 1] = r;
        if r == 0.0 {
            d[i + 1] -= p;
            e[m] = 0.0;
            return;
        }
        s = f / r;
        c = g / r;
        g = d[i + 1] - p;
        let r = (d[i] - g) * s + 2.0 * c * b;
        p = s * r;
        d[i + 1] = g + p;
        g = c * r - b;
        let upper = first[i + 1];
        first[i + 1] = s * first[i] + c * upper;
        first[i] = c * first[i] - s * upper;
    }
    d[l] -= p;
    e[l] = g;
    e[m] = 0.0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quadrature_is_exact_for_a_full_lanczos_matrix() {
        // e_1'log(T) e_1 of a 2 x 2 matrix with eigenvalues (5 +- sqrt 5) / 2.
        let t = Tridiagonal { weight: 2.0, diagonal: vec![2.0, 3.0], off: vec![1.0] };
        let root = 5.0_f64.sqrt();
        let exact: f64 = [2.5 + 0.5 * root, 2.5 - 0.5 * root]
            .iter()
            .map(|value| {
                // Eigenvector (1, value - 2).
                let weight = 1.0 / (1.0 + (value - 2.0) * (value - 2.0));
                weight * (value.ln() - (value - 1.0))
            })
            .sum();
        assert!((log_without_linear(&t) - 2.0 * exact).abs() < 1e-13);
    }
}
