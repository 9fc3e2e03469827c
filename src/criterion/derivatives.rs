//! The criterion's derivatives from those of the sums over units.

use faer::linalg::matmul::triangular::{self, BlockStructure};

use super::solution::{Criterion, Shape, Solution};
use super::sums::Sums;
use crate::linalg::dense::{block, dot, multiply, symmetrise};
use crate::linalg::small::transpose;
use crate::running::memory::zeros;

/// Numbers in a factor from which a product is worth a call of the matrix kernels.
const SMALLEST_PRODUCT: usize = 1_000;

/// log|V| (with log|X'V^-1 X| for REML) and y'Py with their derivatives by entries, `sigma^2` = 1.
#[derive(Clone, Debug)]
pub struct LikelihoodDerivatives {
    /// The solution they belong to.
    pub solution: Solution,
    /// First derivatives of the log-determinants.
    pub logdet_by: Vec<f64>,
    /// Second derivatives of the log-determinants.
    pub logdet_second: Vec<f64>,
    /// First derivatives of y'Py.
    pub rss_by: Vec<f64>,
    /// Second derivatives of y'Py.
    pub rss_second: Vec<f64>,
    /// Derivatives of X'V^-1 X, `n_entries` x `rank` x `rank`.
    pub information_by: Vec<f64>,
}

impl LikelihoodDerivatives {
    /// Equations of section 3 of the derivation, before `sigma^2` is profiled out.
    #[must_use]
    pub fn new(rank: usize, solution: Solution, mut sums: Sums, n: usize, reml: bool) -> Self {
        let width = rank + 1;
        let e = solution.e();
        // Second derivatives take the place of their sums: there may be millions.
        let mut out = Self {
            solution,
            logdet_by: sums.logdet_by,
            logdet_second: sums.hessian,
            rss_by: vec![0.0; n],
            rss_second: sums.hessian_rss,
            information_by: zeros(n * rank * rank),
        };
        let c = &out.solution.c;
        let mut v = vec![0.0; n * rank];
        let mut c_d = zeros(if reml { n * rank * rank } else { 0 });
        for k in 0..n {
            let gram = &mut sums.gram_by[block(k, width * width)];
            symmetrise(gram, width);
            let d = &mut out.information_by[block(k, rank * rank)];
            for i in 0..width {
                let s = dot(&gram[block(i, width)], &e);
                out.rss_by[k] += s * e[i];
                if i < rank {
                    v[k * rank + i] = s;
                    d[block(i, rank)].copy_from_slice(&gram[i * width..i * width + rank]);
                }
            }
            if reml {
                let product = &mut c_d[block(k, rank * rank)];
                product.copy_from_slice(&multiply(c, d, rank));
                out.logdet_by[k] += (0..rank).map(|i| product[i * rank + i]).sum::<f64>();
            }
        }
        out.subtract_fixed_part(&v, &c_d, n);
        out
    }

    /// Subtracts tr(C `D_k` C `D_l`) and 2 `v_k`'C `v_l` from the second derivatives, given their lower
    /// triangles, and mirrors them; `c_d` are the C `D_k`, empty for ML.
    fn subtract_fixed_part(&mut self, v: &[f64], c_d: &[f64], n: usize) {
        let c = &self.solution.c;
        let rank = v.len() / n.max(1);
        let c_v: Vec<f64> = v
            .chunks_exact(rank.max(1))
            .flat_map(|v_k| (0..rank).map(|i| dot(&c[block(i, rank)], v_k)).collect::<Vec<_>>())
            .collect();
        subtract_products(&mut self.rss_second, &c_v, v, 2.0, n);
        if !c_d.is_empty() {
            let transposed: Vec<f64> =
                c_d.chunks_exact(rank * rank).flat_map(|a| transpose(a, rank, rank)).collect();
            subtract_products(&mut self.logdet_second, &transposed, c_d, 1.0, n);
        }
        for second in [&mut self.logdet_second, &mut self.rss_second] {
            for k in 0..n {
                for l in 0..k {
                    second[l * n + k] = second[k * n + l];
                }
            }
        }
    }
}

/// The weight of y'Py in the criterion, and first derivatives of the log-determinants and of y'Py.
#[must_use]
pub fn first_derivatives(
    shape: Shape,
    solution: &Solution,
    mut sums: Sums,
    n: usize,
    reml: bool,
) -> (f64, Vec<f64>, Vec<f64>) {
    let (e, rank) = (solution.e(), shape.rank);
    let width = rank + 1;
    let mut logdet_by = sums.logdet_by;
    let mut rss_by = vec![0.0; n];
    for k in 0..n {
        let gram = &mut sums.gram_by[block(k, width * width)];
        symmetrise(gram, width);
        for i in 0..width {
            rss_by[k] += dot(&gram[block(i, width)], &e) * e[i];
            if reml && i < rank {
                logdet_by[k] += dot(&solution.c[block(i, rank)], &gram[i * width..][..rank]);
            }
        }
    }
    let weight = if shape.profiled { shape.degrees(reml) / solution.rss } else { 1.0 };
    (weight, logdet_by, rss_by)
}

/// Equations of section 3 of the derivation: f, `f_k`, `f_kl` and E `f_kl`.
///
/// With `average` both Hessians are the average information, nu (`q_kl` / rss - `q_k q_l` / rss^2) with
/// q the quadratic forms in Py, which equals their mean at an optimum; it needs no second
/// derivatives of the log-determinants.
#[must_use]
pub fn assemble(
    shape: Shape,
    parts: &LikelihoodDerivatives,
    n: usize,
    reml: bool,
    average: bool,
) -> Criterion {
    let nu = shape.degrees(reml);
    let rss = parts.solution.rss;
    let weight = if shape.profiled { nu / rss } else { 1.0 };
    let (trace, rss_by) = (&parts.logdet_by, &parts.rss_by);
    let mut criterion = Criterion {
        value: parts.solution.value(shape, reml),
        gradient: (0..n).map(|k| trace[k] + weight * rss_by[k]).collect(),
        hessian: zeros(n * n),
        expected: zeros(n * n),
    };
    for k in 0..n {
        for l in 0..n {
            let at = k * n + l;
            let t = parts.logdet_second[at];
            let mut observed = t + weight * parts.rss_second[at];
            let mut expected = -t;
            if shape.profiled {
                observed -= nu * rss_by[k] * rss_by[l] / (rss * rss);
                expected -= trace[k] * trace[l] / nu;
            }
            if average {
                observed =
                    nu * (0.5 * parts.rss_second[at] / rss - rss_by[k] * rss_by[l] / (rss * rss));
                expected = observed;
            }
            criterion.hessian[at] = observed;
            criterion.expected[at] = expected;
        }
    }
    criterion
}

/// Subtracts `scale A B'` from the lower triangle of the `n` x `n` matrix; A, B have `n` rows.
fn subtract_products(from: &mut [f64], a: &[f64], b: &[f64], scale: f64, n: usize) {
    let inner = a.len() / n.max(1);
    if n * inner < SMALLEST_PRODUCT {
        for k in 0..n {
            for l in 0..=k {
                from[k * n + l] -= scale * dot(&a[block(k, inner)], &b[block(l, inner)]);
            }
        }
        return;
    }
    triangular::matmul(
        faer::MatMut::from_row_major_slice_mut(from, n, n),
        BlockStructure::TriangularLower,
        faer::Accum::Add,
        faer::MatRef::from_row_major_slice(a, n, inner),
        BlockStructure::Rectangular,
        faer::MatRef::from_row_major_slice(b, n, inner).transpose(),
        BlockStructure::Rectangular,
        -scale,
        faer::Par::Seq,
    );
}
