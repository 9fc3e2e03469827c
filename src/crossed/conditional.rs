//! Random effects given the data, and errors of predictions, from the inverse on the factor's pattern.

use super::evaluation::Factorisation;
use super::factor::panels::Panels;
use super::factor::reach::Reach;
use super::root::Root;
use crate::criterion::sums::Conditional;
use crate::linalg::dense::{axpy, block, cholesky, dot, multiply, solve_lower};
use crate::linalg::many::gather;
use crate::linalg::small::{solve_upper, transpose, transposed_times};
use crate::running::memory::zeros;
use crate::running::threads;

/// Rows to predict up to which solving for each costs less than the inverse.
const FEW_ROWS: usize = 64;
/// Rows to predict in one task.
const CHUNK_ROWS: usize = 256;

/// Numbers of some of the rest's units.
#[derive(Clone, Default)]
pub(crate) struct Weights {
    /// Blocks in order of elimination, and the first of their numbers.
    blocks: Vec<(usize, usize)>,
    values: Vec<f64>,
}

impl Weights {
    /// Lambda'x of one unit.
    pub(crate) fn push(&mut self, block: usize, lambda: &[f64], x: &[f64]) {
        self.blocks.push((block, self.values.len()));
        let q = x.len();
        self.values.extend(transposed_times(lambda, q, x, 1));
    }

    /// x'A^-1 x; `None` where the inverse lacks an entry.
    fn quadratic(&self, inverse: &Panels) -> Option<f64> {
        let size = |b: usize| inverse.structure.size(b);
        let mut sum = 0.0;
        for (k, &(c, at_c)) in self.blocks.iter().enumerate() {
            for &(r, at_r) in &self.blocks[..k + 1] {
                let (low, at_low, high, at_high) =
                    if r < c { (r, at_r, c, at_c) } else { (c, at_c, r, at_r) };
                let (at, width) = inverse.find(high, low)?;
                let mut value = 0.0;
                for i in 0..size(high) {
                    let row = &inverse.values[at + i * width..][..size(low)];
                    value +=
                        self.values[at_high + i] * dot(row, &self.values[at_low..][..size(low)]);
                }
                // A unit that comes twice meets itself on and off the diagonal.
                sum += if at_r == at_c { value } else { 2.0 * value };
            }
        }
        Some(sum)
    }

    /// |L^-1 x|^2.
    fn solved(&self, reach: &mut Reach, factor: &Panels) -> f64 {
        let structure = &*factor.structure;
        for &(b, at) in &self.blocks {
            let first = structure.first_column[b] as usize;
            let n = structure.size(b);
            axpy(1.0, &self.values[at..at + n], &mut reach.x[first..first + n]);
            reach.mark(b);
        }
        reach.solve_lower();
        let sum = reach.rows().map(|x| x[0] * x[0]).sum();
        reach.clear();
        sum
    }
}

impl Factorisation<'_> {
    /// Conditional means and covariances of all levels given [X y] e.
    #[must_use]
    pub fn conditional(mut self, e: &[f64]) -> Vec<Conditional> {
        let reduction = self.reduction;
        let (rest, structure) = (&reduction.rest, &*reduction.structure);
        let inverse = self.factor.take().map(Panels::into_inverse);
        let lambda = self.lambdas();
        let mut levels: Vec<Conditional> = (0..reduction.n_levels())
            .map(|_| Conditional { mean: Vec::new(), covariance: Vec::new() })
            .collect();
        for (level, lambda) in rest.levels.iter().zip(&lambda) {
            let (out, q) = (&mut levels[level.level], level.q);
            let rows = level.columns().map(|c| &self.effects[block(c, self.width)]);
            out.mean = rows.map(|row| dot(row, e)).collect();
            for unit in level.first_block..level.first_block + level.n_units {
                let b = structure.block_of[unit] as usize;
                let found = inverse.as_ref().and_then(|v| Some((v, v.find(b, b)?)));
                let Some((v, (at, width))) = found else {
                    out.covariance.resize(out.covariance.len() + q * q, 0.0);
                    continue;
                };
                let own: Vec<f64> =
                    (0..q).flat_map(|i| &v.values[at + i * width..][..q]).copied().collect();
                let half = multiply(lambda, &own, q);
                out.covariance.extend(multiply(&half, &transpose(lambda, q, q), q));
            }
        }
        if rest.has_leading() {
            levels[rest.leading] = self.leading_conditional(e, inverse.as_ref(), &lambda);
        }
        levels
    }

    /// G - G T'W^-1 T G = Lambda (I + Lambda'T'T Lambda)^-1 Lambda', without a difference; `root` is
    /// the leading factor's Lambda.
    fn unit_covariance(&self, unit: usize, root: &[f64]) -> Vec<f64> {
        let q = self.reduction.rest.leading_q;
        if self.reduction.rest.leads_fixed() {
            return vec![self.reduction.t[unit].powi(-2)];
        }
        let t_root = multiply(&self.reduction.t[block(unit, q * q)], root, q);
        let mut inner = multiply(&transpose(&t_root, q, q), &t_root, q);
        (0..q).for_each(|i| inner[i * q + i] += 1.0);
        if cholesky(&mut inner, q).is_err() {
            return vec![f64::NAN; q * q];
        }
        let mut half = transpose(root, q, q);
        solve_lower(&inner, q, &mut half, q);
        multiply(&transpose(&half, q, q), &half, q)
    }

    /// G T'W^-1 N of a leading unit, `q` rows of a number a place.
    fn unit_image(&self, unit: usize) -> Vec<f64> {
        let reduction = self.reduction;
        let (q, incidence) = (reduction.rest.leading_q, &reduction.incidence);
        let places = incidence.first[unit]..incidence.first[unit + 1];
        if reduction.rest.leads_fixed() {
            return incidence.values[places].iter().map(|v| v / reduction.t[unit]).collect();
        }
        let n = places.len();
        let mut b = zeros(q * n);
        for (i, place) in places.enumerate() {
            (0..q).for_each(|a| b[a * n + i] = incidence.values[place * q + a]);
        }
        let l = &self.w[block(unit, q * q)];
        solve_lower(l, q, &mut b, n);
        solve_upper(l, q, &mut b, n);
        let b = transposed_times(&reduction.t[block(unit, q * q)], q, &b, n);
        transposed_times(&self.g[reduction.rest.leading], q, &b, n)
    }

    /// g = G U, and G - G H G with H = P - B V B'.
    fn leading_conditional(
        &self,
        e: &[f64],
        inverse: Option<&Panels>,
        lambda: &[Vec<f64>],
    ) -> Conditional {
        let reduction = self.reduction;
        let (q, g) = (reduction.rest.leading_q, &self.g[reduction.rest.leading]);
        let incidence = &reduction.incidence;
        let residual: Vec<f64> = self.r.chunks_exact(self.width).map(|row| dot(row, e)).collect();
        let u = if reduction.rest.leads_fixed() {
            let all = self.fixed_means();
            all.chunks_exact(self.width).map(|row| dot(row, e)).collect()
        } else {
            self.unwhiten(&residual, 1)
        };
        let root = Root::new(g, q).lambda();
        let one = |unit: usize| -> Vec<f64> {
            let mut out: Vec<f64> =
                g.chunks_exact(q).map(|row| dot(row, &u[block(unit, q)])).collect();
            let mut covariance = self.unit_covariance(unit, &root);
            if let Some(inverse) = inverse {
                let places = incidence.first[unit]..incidence.first[unit + 1];
                let b = self.unit_image(unit);
                let n = places.len();
                let mut own = vec![Weights::default(); q];
                let mut at = 0;
                while at < n {
                    let unit =
                        reduction.rest.unit_of(incidence.columns[places.start + at] as usize);
                    let block = reduction.structure.block_of[unit] as usize;
                    let size = reduction.structure.size(block);
                    let level = reduction.structure.level_of[block] as usize;
                    for (a, own) in own.iter_mut().enumerate() {
                        own.push(block, &lambda[level], &b[a * n + at..a * n + at + size]);
                    }
                    at += size;
                }
                add_products(&own, inverse, &mut covariance);
            }
            out.extend(covariance);
            out
        };
        let work = incidence.n_pairs() as usize * q + reduction.rest.leading_units;
        let both = gather(reduction.rest.leading_units, work, one);
        let (mut mean, mut covariance) = (Vec::new(), Vec::new());
        for row in both.chunks_exact(q + q * q) {
            mean.extend_from_slice(&row[..q]);
            covariance.extend_from_slice(&row[q..]);
        }
        Conditional { mean, covariance }
    }

    /// Errors of the prediction of sums z'g: the variance of z'g given the data, over `sigma^2` and with
    /// beta known, and z'G Z'W^-1 X; (m,) and (m, `rank`) for m rows.
    ///
    /// `codes[l]` is the unit of each row at level l, negative for a unit that the data lack; `z[l]`
    /// its `q` columns, row-major.
    #[must_use]
    pub fn prediction(mut self, codes: &[&[i32]], z: &[&[f64]]) -> (Vec<f64>, Vec<f64>) {
        let n = codes[0].len();
        let factor = self.factor.take();
        let inverse = match &factor {
            Some(factor) if n > FEW_ROWS => Some(factor.copy().into_inverse()),
            _ => None,
        };
        let scores = if self.reduction.rest.leads_fixed() {
            self.fixed_means()
        } else {
            self.unwhiten(&self.r, self.width)
        };
        let root =
            Root::new(self.reduction.leading_g(self.g), self.reduction.rest.leading_q).lambda();
        let lambda = self.lambdas();
        let rank = self.width - 1;
        let chunk = |first: &usize| -> Vec<f64> {
            let mut reach = None;
            let mut out = Vec::new();
            for row in *first..(first + CHUNK_ROWS).min(n) {
                let mut own = vec![0.0; 1 + rank];
                let weights = self.row_weights(row, codes, z, (&root, &scores, &lambda), &mut own);
                if let Some(factor) = &factor {
                    own[0] +=
                        inverse.as_ref().and_then(|v| weights.quadratic(v)).unwrap_or_else(|| {
                            weights
                                .solved(reach.get_or_insert_with(|| Reach::new(factor, 1)), factor)
                        });
                }
                out.extend(own);
            }
            out
        };
        let starts: Vec<usize> = (0..n).step_by(CHUNK_ROWS).collect();
        let rows = threads::map(&starts, chunk);
        let (mut variance, mut shift) = (Vec::with_capacity(n), Vec::with_capacity(n * rank));
        for row in rows.iter().flat_map(|part| part.chunks_exact(1 + rank)) {
            variance.push(row[0]);
            shift.extend_from_slice(&row[1..]);
        }
        (variance, shift)
    }

    /// What a row weighs of the rest's effects; the remaining variance and z'G Z'W^-1 X go to `out`.
    fn row_weights(
        &self,
        row: usize,
        codes: &[&[i32]],
        z: &[&[f64]],
        (root, scores, lambda): (&[f64], &[f64], &[Vec<f64>]),
        out: &mut [f64],
    ) -> Weights {
        let reduction = self.reduction;
        let (rest, structure) = (&reduction.rest, &*reduction.structure);
        let (q, rank) = (rest.leading_q, self.width - 1);
        let g = reduction.leading_g(self.g);
        let mut weights = Weights::default();
        for (k, level) in rest.levels.iter().enumerate() {
            let own = &z[level.level][block(row, level.q)];
            let code = codes[level.level][row];
            if code < 0 {
                out[0] += quadratic(&self.g[level.level], own);
                continue;
            }
            let unit = level.first_block + code as usize;
            for (c, weight) in rest.columns_of(unit).zip(own) {
                axpy(*weight, &self.effects[block(c, self.width)][..rank], &mut out[1..]);
            }
            weights.push(structure.block_of[unit] as usize, &lambda[k], own);
        }
        if !rest.has_leading() {
            return weights;
        }
        let own = &z[rest.leading][block(row, q)];
        let code = codes[rest.leading][row];
        if code < 0 {
            out[0] += quadratic(g, own);
            return weights;
        }
        let unit = code as usize;
        out[0] += quadratic(&self.unit_covariance(unit, root), own);
        for (a, g) in g.chunks_exact(q).enumerate() {
            let weight = dot(g, own);
            axpy(weight, &scores[block(unit * q + a, self.width)][..rank], &mut out[1..]);
        }
        let image = self.unit_image(unit);
        let incidence = &reduction.incidence;
        let places = incidence.first[unit]..incidence.first[unit + 1];
        let n = places.len();
        let along: Vec<f64> =
            (0..n).map(|i| -(0..q).map(|a| own[a] * image[a * n + i]).sum::<f64>()).collect();
        let mut at = 0;
        while at < n {
            let unit = rest.unit_of(incidence.columns[places.start + at] as usize);
            let block = structure.block_of[unit] as usize;
            let size = structure.size(block);
            let level = structure.level_of[block] as usize;
            weights.push(block, &lambda[level], &along[at..at + size]);
            at += size;
        }
        weights
    }
}

/// Adds x'A^-1 y for all pairs of vectors over the same ascending blocks.
fn add_products(x: &[Weights], inverse: &Panels, out: &mut [f64]) {
    let q = x.len();
    let blocks = &x[0].blocks;
    let mut half = vec![0.0; q];
    for (k, &(c, at_c)) in blocks.iter().enumerate() {
        let n = inverse.structure.size(c);
        for &(r, at_r) in &blocks[k..] {
            // Units that share a leading unit share a panel.
            let Some((at, width)) = inverse.find(r, c) else { continue };
            for i in 0..inverse.structure.size(r) {
                let row = &inverse.values[at + i * width..][..n];
                for (h, x) in half.iter_mut().zip(x) {
                    *h = dot(row, &x.values[at_c..at_c + n]);
                }
                for a in 0..q {
                    let weight = x[a].values[at_r + i];
                    for b in 0..q {
                        let product = weight * half[b];
                        out[a * q + b] += product;
                        if r != c {
                            out[b * q + a] += product;
                        }
                    }
                }
            }
        }
    }
}

/// x'A x for a row-major A.
fn quadratic(a: &[f64], x: &[f64]) -> f64 {
    a.chunks_exact(x.len()).zip(x).map(|(row, xi)| xi * dot(row, x)).sum()
}
