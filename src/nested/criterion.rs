//! The ML and REML criterion, profiled over beta and `sigma^2`, with exact derivatives.

use faer::linalg::matmul::triangular::{self, BlockStructure};

use crate::linalg::dense::{
    NotPositiveDefinite, cholesky, dot, invert_lower, multiply, solve_lower, symmetrise,
};
use crate::nested::elimination::{Elimination, Entry, RootWeight, Sums};
use crate::nested::reduction::{Reduction, block};
use crate::running::memory::zeros;

/// -2 log-likelihood of one response at one G, and its derivatives by entries of G.
#[derive(Clone, Debug)]
pub struct Criterion {
    /// -2 log-likelihood in the reduction's coordinates, all constants included; +inf where V is
    /// not positive definite.
    pub value: f64,
    /// First derivatives, `n_entries`.
    pub gradient: Vec<f64>,
    /// Second derivatives, `n_entries` squared.
    pub hessian: Vec<f64>,
    /// Their expectation.
    pub expected: Vec<f64>,
}

/// Numbers in a factor from which a product is worth a call of the matrix kernels.
const SMALLEST_PRODUCT: usize = 1_000;

/// What the criterion needs to know of a design beside its sums.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Number of rows.
    pub n_rows: usize,
    /// Rank of X.
    pub rank: usize,
    /// Is `sigma^2` profiled out?
    pub profiled: bool,
}

impl Shape {
    fn of(reduction: &Reduction) -> Self {
        Self {
            n_rows: reduction.n_rows,
            rank: reduction.rank(),
            profiled: !reduction.has_residual(),
        }
    }

    /// n - p for REML, n for ML.
    fn degrees(self, reml: bool) -> f64 {
        (self.n_rows - if reml { self.rank } else { 0 }) as f64
    }
}

impl Criterion {
    /// +inf with derivatives of zero: what a G outside the parameter space gets.
    #[must_use]
    pub fn failed(n_entries: usize) -> Self {
        Self {
            value: f64::INFINITY,
            gradient: vec![0.0; n_entries],
            hessian: zeros(n_entries * n_entries),
            expected: zeros(n_entries * n_entries),
        }
    }
}

/// Generalised least squares at one G, in the reduction's basis.
#[derive(Clone, Debug)]
pub struct Solution {
    /// Coefficients, `rank`.
    pub beta: Vec<f64>,
    /// (X'W^-1 X)^-1, `rank` squared.
    pub c: Vec<f64>,
    /// y'Py.
    pub rss: f64,
    /// log|W|.
    pub logdet: f64,
    /// log|X'W^-1 X|.
    pub logdet_xx: f64,
}

impl Solution {
    /// From [X y]'V^-1 [X y] (lower triangle) and log|V|.
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] where X'V^-1 X is not positive definite or y'Py not positive.
    pub fn new(gram: &[f64], logdet: f64, rank: usize) -> Result<Self, NotPositiveDefinite> {
        let width = rank + 1;
        let mut l = vec![0.0; rank * rank];
        for i in 0..rank {
            l[i * rank..=i * rank + i].copy_from_slice(&gram[i * width..=i * width + i]);
        }
        cholesky(&mut l, rank)?;
        let mut half = gram[rank * width..rank * width + rank].to_vec();
        solve_lower(&l, rank, &mut half, 1);
        let rss = gram[width * width - 1] - dot(&half, &half);
        if rss.is_nan() || rss <= 0.0 {
            return Err(NotPositiveDefinite { pivot: rank });
        }
        let mut inverse = vec![0.0; rank * rank];
        invert_lower(&l, rank, &mut inverse);
        let mut beta = vec![0.0; rank];
        let mut c = vec![0.0; rank * rank];
        for (k, row) in inverse.chunks_exact(rank.max(1)).enumerate() {
            crate::linalg::dense::axpy(half[k], row, &mut beta);
            crate::linalg::dense::add_outer(row, &mut c);
        }
        symmetrise(&mut c, rank);
        let logdet_xx = 2.0 * (0..rank).map(|i| l[i * rank + i].ln()).sum::<f64>();
        Ok(Self { beta, c, rss, logdet, logdet_xx })
    }

    /// e = (-beta, 1): the residual is [X y] e.
    #[must_use]
    pub fn e(&self) -> Vec<f64> {
        self.beta.iter().map(|b| -b).chain([1.0]).collect()
    }

    /// -2 log-likelihood, all constants included.
    #[must_use]
    pub fn value(&self, shape: Shape, reml: bool) -> f64 {
        let nu = shape.degrees(reml);
        let tau = 2.0 * std::f64::consts::PI;
        // A residual covariance carries sigma^2 itself: nothing is left to profile.
        let constant = if shape.profiled {
            nu * (1.0 + (tau * self.rss / nu).ln())
        } else {
            nu * tau.ln() + self.rss
        };
        self.logdet + constant + if reml { self.logdet_xx } else { 0.0 }
    }
}

fn nested_solution(
    sums: &Sums,
    reduction: &Reduction,
    fit: usize,
) -> Result<Solution, NotPositiveDefinite> {
    let width = reduction.rank() + 1;
    let mut gram = sums.gram.clone();
    for (g, r) in gram.iter_mut().zip(&reduction.remainder[block(fit, width * width)]) {
        *g += r;
    }
    Solution::new(&gram, sums.logdet, reduction.rank())
}

/// Generalised least squares of response `fit` at `g`.
///
/// # Errors
/// [`NotPositiveDefinite`] where V or X'V^-1 X is not positive definite.
pub fn solve(
    reduction: &Reduction,
    fit: usize,
    g: &[Vec<f64>],
) -> Result<Solution, NotPositiveDefinite> {
    let sums = Elimination::new(reduction, fit, g, &[]).values()?;
    nested_solution(&sums, reduction, fit)
}

/// First derivatives of [X y]'V^-1 [X y] and log|V| by entries, with the solution they belong to.
///
/// # Errors
/// [`NotPositiveDefinite`] as [`solve`].
pub fn tangents(
    reduction: &Reduction,
    fit: usize,
    g: &[Vec<f64>],
    entries: &[Entry],
    reml: bool,
) -> Result<(Solution, Sums), NotPositiveDefinite> {
    let elimination = Elimination::new(reduction, fit, g, entries);
    let solution = nested_solution(&elimination.values()?, reduction, fit)?;
    let root = RootWeight { c: reml.then(|| solution.c.clone()), e: solution.e() };
    let sums = elimination.derivatives(&root)?;
    Ok((solution, sums))
}

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

/// See [`LikelihoodDerivatives`].
///
/// # Errors
/// [`NotPositiveDefinite`] as [`solve`].
pub fn likelihood_derivatives(
    reduction: &Reduction,
    fit: usize,
    g: &[Vec<f64>],
    entries: &[Entry],
    reml: bool,
) -> Result<LikelihoodDerivatives, NotPositiveDefinite> {
    let (solution, sums) = tangents(reduction, fit, g, entries, reml)?;
    Ok(LikelihoodDerivatives::new(reduction.rank(), solution, sums, entries.len(), reml))
}

impl LikelihoodDerivatives {
    /// Equations of section 3 of the derivation, before `sigma^2` is profiled out.
    pub(crate) fn new(
        rank: usize,
        solution: Solution,
        mut sums: Sums,
        n: usize,
        reml: bool,
    ) -> Self {
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
            let transposed: Vec<f64> = c_d
                .chunks_exact(rank * rank)
                .flat_map(|a| (0..rank * rank).map(move |at| a[(at % rank) * rank + at / rank]))
                .collect();
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

/// The criterion; with `derivatives` its gradient and both Hessians too.
#[must_use]
pub fn evaluate(
    reduction: &Reduction,
    fit: usize,
    g: &[Vec<f64>],
    entries: &[Entry],
    reml: bool,
    derivatives: bool,
) -> Criterion {
    let n = entries.len();
    let failed = Criterion::failed(n);
    let shape = Shape::of(reduction);
    if !derivatives {
        return match solve(reduction, fit, g) {
            Ok(solution) => Criterion { value: solution.value(shape, reml), ..failed },
            Err(_) => failed,
        };
    }
    match likelihood_derivatives(reduction, fit, g, entries, reml) {
        Ok(parts) => assemble(shape, &parts, n, reml, false),
        Err(_) => failed,
    }
}

/// Equations of section 3 of the derivation: f, `f_k`, `f_kl` and E `f_kl`.
///
/// With `average` both Hessians are the average information, nu (`q_kl` / rss - `q_k q_l` / rss^2) with
/// q the quadratic forms in Py, which equals their mean at an optimum; it needs no second
/// derivatives of the log-determinants.
pub(crate) fn assemble(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nested::reduction::Basis;
    use crate::rows::nesting::Nesting;
    use crate::rows::rotate::{Column, RowColumns, Values, rotate};

    fn plain(values: Option<&[f64]>) -> Column<'_> {
        Column { values: values.map(Values::contiguous), center: 0.0, scale: 1.0 }
    }

    /// Three nested levels with slopes, weights and unbalanced units.
    fn reduction(n_levels: usize) -> Reduction {
        let n = 120;
        let wave = |k: f64| -> Vec<f64> {
            (0..n)
                .map(|i| (f64::from(i) * k + 0.3).sin() + 0.1 * (f64::from(i) * k * 7.1).cos())
                .collect()
        };
        let codes: Vec<Vec<i32>> = vec![
            (0..n).map(|i| i / 30).collect(),
            (0..n).map(|i| i / 10).collect(),
            (0..n).map(|i| i / 4 + i / 30).collect(),
        ];
        let compact: Vec<Vec<i32>> = codes.iter().map(|c| renumber(c)).collect();
        let used: Vec<&[i32]> = match n_levels {
            1 => vec![&compact[1]],
            2 => vec![&compact[0], &compact[1]],
            _ => vec![&compact[0], &compact[1], &compact[1]],
        };
        let units: Vec<usize> =
            used.iter().map(|c| *c.iter().max().expect("rows") as usize + 1).collect();
        let nesting = Nesting::new(n as usize, &used, &units).expect("nested");
        let (t, x, y) = (wave(0.37), wave(1.7), wave(0.05));
        let weights: Vec<f64> = wave(0.9).iter().map(|v| (v + 2.0).sqrt()).collect();
        let slope = vec![plain(None), plain(Some(&t[..]))];
        let z = match n_levels {
            1 => vec![slope],
            2 => vec![slope.clone(), slope],
            _ => vec![vec![plain(None)], slope, vec![plain(Some(&x[..]))]],
        };
        let terms = z.iter().map(|z| vec![(z.len(), Basis::Orthonormal)]).collect::<Vec<_>>();
        let columns = RowColumns {
            z,
            x: vec![plain(None), plain(Some(&t)), plain(Some(&x))],
            y: vec![plain(Some(&y))],
            sqrt_weights: Some(&weights),
            visits: None,
            series: None,
        };
        let rotated = rotate(&nesting, &columns);
        Reduction::new(rotated, &nesting, &[0.0; 3], &terms, (0, 0, 0), true).expect("full rank Z")
    }

    fn renumber(codes: &[i32]) -> Vec<i32> {
        let mut met = Vec::new();
        codes
            .iter()
            .map(|c| {
                if let Some(i) = met.iter().position(|m| m == c) {
                    i as i32
                } else {
                    met.push(*c);
                    met.len() as i32 - 1
                }
            })
            .collect()
    }

    fn entries(reduction: &Reduction) -> Vec<Entry> {
        let mut out = Vec::new();
        for (level, blocks) in reduction.levels.iter().enumerate() {
            for a in 0..blocks.q {
                out.extend((0..=a).map(|b| Entry { level, a, b }));
            }
        }
        out
    }

    /// Subjects of up to 4 visits, a third of them missing, inside (or without) random effects.
    fn repeated(n_levels: usize) -> Reduction {
        let n = 120;
        let rows: Vec<(i32, i32)> = (0..n)
            .map(|i| (i / 4, i % 4))
            .filter(|(s, v)| (s * 7 + v * 5) % 3 != 0 || *v == 1)
            .collect();
        let subject = renumber(&rows.iter().map(|r| r.0).collect::<Vec<_>>());
        let site: Vec<i32> = subject.iter().map(|s| s / 5).collect();
        let visits: Vec<i32> = rows.iter().map(|r| r.1).collect();
        let wave = |k: f64| -> Vec<f64> { (0..rows.len()).map(|i| (i as f64 * k).sin()).collect() };
        let (t, y) = (wave(0.7), wave(2.3));
        let codes: Vec<&[i32]> = [&site[..], &subject[..]][2 - n_levels..].to_vec();
        let units: Vec<usize> =
            codes.iter().map(|c| *c.iter().max().expect("rows") as usize + 1).collect();
        let nesting = Nesting::new(rows.len(), &codes, &units).expect("nested");
        let slope = vec![plain(None), plain(Some(&t[..]))];
        let columns = RowColumns {
            z: if n_levels == 2 { vec![slope, Vec::new()] } else { vec![Vec::new()] },
            x: vec![plain(None), plain(Some(&t))],
            y: vec![plain(Some(&y))],
            sqrt_weights: None,
            visits: Some((&visits, 4)),
            series: None,
        };
        let terms =
            if n_levels == 2 { vec![vec![(2, Basis::Orthonormal)], vec![]] } else { vec![vec![]] };
        let rotated = rotate(&nesting, &columns);
        Reduction::new(rotated, &nesting, &[0.0; 2], &terms, (0, 0, 0), true).expect("full rank Z")
    }

    #[test]
    fn derivatives_by_residual_covariances_agree_with_central_differences() {
        let r = [1.5, 0.4, 0.2, 0.1, 0.4, 1.2, 0.3, 0.2, 0.2, 0.3, 0.9, 0.4, 0.1, 0.2, 0.4, 1.1];
        for n_levels in 1..=2 {
            let mut g = vec![vec![0.8, 0.2, 0.2, 0.5], r.to_vec()][2 - n_levels..].to_vec();
            for reml in [true, false] {
                check_derivatives(&repeated(n_levels), &mut g, reml);
            }
        }
    }

    /// Covariances of the units of `repeated(1)` at (s, t), with derivatives: `R = exp(s) (I + t A)`.
    fn unit_covariances(n_units: usize, s: f64, t: f64) -> Vec<f64> {
        let scale = s.exp();
        let parts: [(f64, f64); 6] = [
            (scale, scale * t),
            (scale, scale * t),
            (0.0, scale),
            (scale, scale * t),
            (0.0, scale),
            (0.0, 0.0),
        ];
        let mut out = Vec::new();
        for (identity, off) in parts {
            for unit in 0..n_units {
                for i in 0..4 {
                    for j in 0..4 {
                        let a = if i == j { 0.0 } else { 0.3 + 0.05 * ((unit % 3) as f64) };
                        out.push(if i == j { identity } else { off * a });
                    }
                }
            }
        }
        out
    }

    #[test]
    fn derivatives_by_covariances_of_units_agree_with_central_differences() {
        let mut reduction = repeated(1);
        let units: usize = reduction.patterns.iter().map(|p| p.n_blocks).sum();
        // One pattern a unit, as without sharing.
        reduction.patterns = (0..units)
            .map(|first| crate::nested::reduction::Pattern { first, n_blocks: 1, count: 1 })
            .collect();
        let entries = [Entry { level: 0, a: 0, b: 0 }; 2];
        let at = |s: f64, t: f64| {
            evaluate(&reduction, 0, &[unit_covariances(units, s, t)], &entries, true, true)
        };
        let (s, t, step) = (0.2, 0.7, 1e-5);
        let here = at(s, t);
        for (k, (up, down)) in
            [(at(s + step, t), at(s - step, t)), (at(s, t + step), at(s, t - step))]
                .iter()
                .enumerate()
        {
            let slope = (up.value - down.value) / (2.0 * step);
            assert!((slope - here.gradient[k]).abs() < 1e-6 * (1.0 + slope.abs()));
            for l in 0..2 {
                let curve = (up.gradient[l] - down.gradient[l]) / (2.0 * step);
                assert!((curve - here.hessian[k * 2 + l]).abs() < 1e-5 * (1.0 + curve.abs()));
            }
        }
    }

    #[test]
    fn derivatives_agree_with_central_differences() {
        for n_levels in 1..=3 {
            for reml in [true, false] {
                let reduction = reduction(n_levels);
                let mut g: Vec<Vec<f64>> = reduction
                    .levels
                    .iter()
                    .enumerate()
                    .map(|(l, b)| match b.q {
                        1 => vec![0.4 + l as f64],
                        _ => vec![0.8, 0.2, 0.2, 0.5 + l as f64],
                    })
                    .collect();
                check_derivatives(&reduction, &mut g, reml);
            }
        }
    }

    fn check_derivatives(reduction: &Reduction, g: &mut [Vec<f64>], reml: bool) {
        let entries = entries(reduction);
        let at = evaluate(reduction, 0, g, &entries, reml, true);
        let step = 1e-5;
        for (k, entry) in entries.iter().enumerate() {
            let q = reduction.levels[entry.level].q;
            let mut moved = |by: f64| {
                let saved = g[entry.level].clone();
                g[entry.level][entry.a * q + entry.b] += by;
                if entry.a != entry.b {
                    g[entry.level][entry.b * q + entry.a] += by;
                }
                let value = evaluate(reduction, 0, g, &entries, reml, true);
                g[entry.level] = saved;
                value
            };
            let (up, down) = (moved(step), moved(-step));
            let slope = (up.value - down.value) / (2.0 * step);
            assert!(
                (slope - at.gradient[k]).abs() < 1e-6 * (1.0 + slope.abs()),
                "reml {reml} gradient {k}: {slope} {}",
                at.gradient[k]
            );
            for l in 0..entries.len() {
                let curve = (up.gradient[l] - down.gradient[l]) / (2.0 * step);
                let ours = at.hessian[k * entries.len() + l];
                assert!(
                    (curve - ours).abs() < 1e-5 * (1.0 + curve.abs()),
                    "reml {reml} hessian {k} {l}: {curve} {ours}"
                );
            }
        }
    }
}
