//! Rows reduced once, in coordinates where the iterations lose no digits.
//!
//! After [`crate::rows::rotate::rotate`] the columns are changed so that ordinary least squares is trivial: X is
//! replaced by an orthonormal basis of its span, y by its residual, Z by columns whose mean square
//! per unit is the identity. Estimates are mapped back outside. Units that share T share their
//! factorization, and many of them are replaced by few with the same sums.

use std::collections::HashMap;
use std::ops::Range;

use crate::linalg::dense::{cholesky, dot, semidefinite_root, solve_row_upper, symmetrise};
use crate::linalg::triangle::Triangle;
use crate::nested::series::chain::ChainParameters;
use crate::nested::series::items::Series;
use crate::rows::nesting::Nesting;
use crate::rows::rotate::{LevelRows, RotatedRows};
use crate::running::memory::{append, zeros};

/// Relative size under which the part of a column outside the earlier ones counts as zero (R's).
const ALIAS_TOLERANCE: f64 = 1e-7;
/// Relative pivot under which random-effect columns count as linearly dependent.
const COLLINEAR_TOLERANCE: f64 = 1e-12;

/// Random-effect columns that depend linearly on the columns before them in their term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollinearRandomEffects {
    /// Level of the term.
    pub level: usize,
    /// Column within the level.
    pub column: usize,
}

/// How the columns of a random-effects term may be changed so that its covariance structure stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Any linear combination: an orthonormal basis.
    Orthonormal,
    /// A scale for each column.
    Scaled,
    /// One scale for all columns.
    Common,
}

/// Units with equal T: one factorization, `n_blocks` blocks of [T A], determinant counted `count` times.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// First block.
    pub first: usize,
    /// Blocks, possibly pseudo-units.
    pub n_blocks: usize,
    /// Units that the pattern stands for.
    pub count: usize,
}

/// Blocks of one level.
#[derive(Clone, Debug)]
pub struct Blocks {
    /// Random effects of the level.
    pub q: usize,
    /// Random effects of all outer levels.
    pub n_outer: usize,
    /// Children of each unit; empty at the innermost level.
    pub first_child: Vec<usize>,
    /// Per block `q` rows of [T | outer Z | X], `q + n_outer + rank` columns.
    pub design: Vec<f64>,
    /// Per fit, per block, `q` responses.
    pub response: Vec<f64>,
    /// Upper triangular B with z = (transformed z) B, `q` x `q`.
    pub basis: Vec<f64>,
    /// Is this the residual's level, whose W is T R T' and not I + T G T'?
    pub is_residual: bool,
    /// The residual's level where its units are series; `q` is then 0, and blocks stand in here.
    pub series: Option<Series>,
}

impl Blocks {
    /// Rows with a nonzero T: rows that the random effects of this level reach first.
    fn n_informative(&self, rank: usize) -> usize {
        if self.q == 0 {
            return 0;
        }
        let columns = self.q + self.n_outer + rank;
        let rows = self.design.chunks_exact(columns).enumerate();
        rows.filter(|(r, row)| row[r % self.q..self.q].iter().any(|t| *t != 0.0)).count()
    }
}

/// Columns that were kept of X, and the map from the original to the orthonormal ones.
#[derive(Clone, Debug)]
pub struct FixedBasis {
    /// Positions of the columns kept, in order.
    pub kept: Vec<usize>,
    /// Upper triangular R with X = Q R for the kept columns.
    pub factor: Vec<f64>,
    /// Per fit, Q'y: coefficients of ordinary least squares in the orthonormal basis.
    pub ols: Vec<f64>,
    /// Per fit, root mean square of the ordinary least squares residual (over n).
    pub y_scale: Vec<f64>,
}

/// What the iterations read.
#[derive(Clone, Debug)]
pub struct Reduction {
    /// Number of rows.
    pub n_rows: usize,
    /// Number of responses.
    pub n_fits: usize,
    /// Rotated rows that carry random effects.
    n_random: usize,
    /// Map of the fixed effects.
    pub fixed: FixedBasis,
    /// Levels, outermost first.
    pub levels: Vec<Blocks>,
    /// Units of the innermost level grouped by T.
    pub patterns: Vec<Pattern>,
    /// Per fit, the lower triangle of the cross-product of the rows without random effects,
    /// `rank + 1` squared.
    pub remainder: Vec<f64>,
}

impl Reduction {
    /// Changes the basis of rotated rows.
    ///
    /// `noise[j]` is the norm below which column j of X is rounding error of its centring.
    /// `terms[l]` lists the random-effect terms of level l as (columns, how they may be changed); an
    /// empty list marks the residual's level.
    /// `series` counts the classes of items, the weights each is given, and the classes of ends if
    /// the iterations walk along the rows, where the residual's units are series.
    /// With `share` units are grouped by T; without it each unit keeps its own block, in order.
    ///
    /// # Errors
    /// [`CollinearRandomEffects`] where a term's columns are linearly dependent.
    pub fn new(
        rotated: RotatedRows,
        nesting: &Nesting,
        noise: &[f64],
        terms: &[Vec<(usize, Basis)>],
        series: (usize, usize, usize),
        share: bool,
    ) -> Result<Self, CollinearRandomEffects> {
        let RotatedRows { levels, mut remainder, mut total } = rotated;
        let n_fits = total.residual_squares.len();
        let fixed = FixedBasis::new(&mut total, noise, nesting.n_rows);
        let bases = random_bases(&levels, nesting, terms)?;
        let n_levels = levels.len();
        let innermost_bundles = levels.last().map_or(0, |leaf| leaf.bundles.len());
        let mut blocks = Vec::with_capacity(levels.len());
        for (l, level) in levels.into_iter().enumerate() {
            let mut block = change_basis(&level, l, nesting, &fixed, &bases, n_fits);
            block.is_residual = terms[l].is_empty();
            if level.shares.is_some() {
                block.series = Some(Series::new(
                    series,
                    block.n_outer + fixed.kept.len(),
                    &level.bundles,
                    &level.classes,
                    &std::mem::take(&mut block.design),
                    &std::mem::take(&mut block.response),
                ));
            } else if l + 2 == n_levels && innermost_bundles > 0 {
                block.first_child = (0..=innermost_bundles).collect();
            }
            blocks.push(block);
        }
        let n_random = (0..blocks.len()).map(|l| blocks[l].n_informative(fixed.kept.len())).sum();
        let gram = remainder_gram(&mut remainder, &fixed, noise.len(), n_fits);
        let mut reduction = Self {
            n_rows: nesting.n_rows,
            n_fits,
            n_random,
            fixed,
            levels: blocks,
            patterns: Vec::new(),
            remainder: gram,
        };
        reduction.find_patterns(share);
        Ok(reduction)
    }

    /// Residual sum of squares of each response over the rows that no random effect reaches, and
    /// its degrees of freedom: an estimate of `sigma^2` that needs no G.
    #[must_use]
    pub fn within(&self) -> (Vec<f64>, usize) {
        within(&self.remainder, self.rank(), self.n_rows, self.n_random)
    }

    /// Has the residual a covariance of its own, so that `sigma^2` is not profiled out?
    #[must_use]
    pub fn has_residual(&self) -> bool {
        self.levels.last().is_some_and(|level| level.is_residual)
    }

    /// Sums of products of least squares residuals over pairs of visits, for one response, and how
    /// many units have both; each `q` x `q`.
    #[must_use]
    pub fn visit_moments(&self, fit: usize) -> (Vec<f64>, Vec<f64>) {
        let leaf = self.levels.last().filter(|level| level.is_residual && level.q > 0);
        let Some(leaf) = leaf else {
            return (Vec::new(), Vec::new());
        };
        let (q, columns) = (leaf.q, leaf.q + leaf.n_outer + self.rank());
        let (mut sums, mut counts) = (vec![0.0; q * q], vec![0.0; q * q]);
        let n_blocks = leaf.design.len() / (q * columns);
        for pattern in &self.patterns {
            for b in pattern.first..pattern.first + pattern.n_blocks {
                let at = (fit * n_blocks + b) * q;
                crate::linalg::dense::add_outer(&leaf.response[at..at + q], &mut sums);
            }
            let root = &leaf.design[block(pattern.first, q * columns)];
            let seen: Vec<f64> = (0..q).map(|v| root[v * columns + v]).collect();
            for i in 0..q {
                for j in 0..q {
                    counts[i * q + j] += pattern.count as f64 * seen[i] * seen[j];
                }
            }
        }
        symmetrise(&mut sums, q);
        (sums, counts)
    }

    /// Parameters of the innermost level's classes, where residuals are chains with parameters by
    /// visit.
    #[must_use]
    pub fn chain(&self) -> Option<&ChainParameters> {
        self.levels.last()?.series.as_ref()?.chain.as_ref()
    }

    /// Rank of X.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.fixed.kept.len()
    }

    fn find_patterns(&mut self, share: bool) {
        let n_levels = self.levels.len();
        let rank = self.rank();
        let Some(leaf) = self.levels.last_mut() else {
            return;
        };
        if let Some(series) = &leaf.series {
            self.patterns = (0..series.n_bundles())
                .map(|first| Pattern { first, n_blocks: 1, count: 1 })
                .collect();
            return;
        }
        let (q, columns) = (leaf.q, leaf.q + leaf.n_outer + rank);
        let n_units = leaf.design.len() / (q * columns);
        let groups =
            if share && n_levels == 1 { group_by_root(leaf, columns, n_units) } else { None };
        let Some(groups) = groups else {
            self.patterns =
                (0..n_units).map(|first| Pattern { first, n_blocks: 1, count: 1 }).collect();
            return;
        };
        let mut design = Vec::new();
        let mut responses = vec![Vec::new(); self.n_fits];
        for members in groups {
            let first = design.len() / (q * columns);
            if members.len() > 2 * q * rank + q {
                compress(leaf, &members, rank, self.n_fits, &mut design, &mut responses);
            } else {
                for &unit in &members {
                    append(&mut design, &leaf.design[block(unit, q * columns)]);
                    for (f, response) in responses.iter_mut().enumerate() {
                        let at = (f * n_units + unit) * q;
                        append(response, &leaf.response[at..at + q]);
                    }
                }
            }
            let n_blocks = design.len() / (q * columns) - first;
            self.patterns.push(Pattern { first, n_blocks, count: members.len() });
        }
        leaf.design = design;
        leaf.response = responses.concat();
    }
}

/// Residual sum of squares of each response over rows with these cross-products of [X y] (lower
/// triangles), and its degrees of freedom; `n_random` of all rows carry random effects.
pub(crate) fn within(
    grams: &[f64],
    rank: usize,
    n_rows: usize,
    n_random: usize,
) -> (Vec<f64>, usize) {
    let width = rank + 1;
    let mut rank_within = 0;
    let rss = grams
        .chunks_exact(width * width)
        .map(|gram| {
            let mut root = gram.to_vec();
            symmetrise(&mut root, width);
            semidefinite_root(&mut root, width);
            rank_within = (0..rank).filter(|i| root[i * width + i] > 0.0).count();
            root[width * width - 1].powi(2)
        })
        .collect();
    (rss, n_rows.saturating_sub(n_random + rank_within))
}

/// Positions of item `i` in an array of items of `size` numbers.
#[must_use]
pub fn block(i: usize, size: usize) -> Range<usize> {
    i * size..(i + 1) * size
}

impl FixedBasis {
    /// Orthonormal basis of the columns of X, taken in order; a column inside the span of the
    /// columns before it is left out, as R does.
    pub(crate) fn new(total: &mut Triangle, noise: &[f64], n_rows: usize) -> Self {
        let p = noise.len();
        let n_fits = total.residual_squares.len();
        let width = p + n_fits;
        let squares = total.residual_squares.clone();
        let factor = total.factor();
        let column = |j: usize| -> Vec<f64> { (0..p).map(|i| factor[i * width + j]).collect() };
        let mut basis: Vec<Vec<f64>> = Vec::new();
        let mut coefficients: Vec<Vec<f64>> = Vec::new();
        let mut kept = Vec::new();
        for j in 0..p {
            let mut v = column(j);
            let size = dot(&v, &v).sqrt();
            let mut r = project_out(&basis, &mut v);
            let outside = dot(&v, &v).sqrt();
            if outside > (ALIAS_TOLERANCE * size).max(noise[j]) {
                v.iter_mut().for_each(|value| *value /= outside);
                basis.push(v);
                r.push(outside);
                coefficients.push(r);
                kept.push(j);
            }
        }
        let rank = kept.len();
        let mut upper = vec![0.0; rank * rank];
        for (j, r) in coefficients.iter().enumerate() {
            for (i, value) in r.iter().enumerate() {
                upper[i * rank + j] = *value;
            }
        }
        let (mut ols, mut y_scale) = (Vec::new(), Vec::new());
        for f in 0..n_fits {
            let mut v = column(p + f);
            ols.extend(project_out(&basis, &mut v));
            let rss = squares[f] + dot(&v, &v);
            y_scale.push((rss / n_rows as f64).sqrt());
        }
        Self { kept, factor: upper, ols, y_scale }
    }

    /// [x y] of one row to the orthonormal basis and the scaled residual; `out` has `rank` places.
    pub(crate) fn map_row(&self, x: &[f64], out: &mut [f64]) {
        for (o, &j) in out.iter_mut().zip(&self.kept) {
            *o = x[j];
        }
        solve_row_upper(&self.factor, self.kept.len(), out);
    }

    pub(crate) fn map_response(&self, fit: usize, x: &[f64], y: f64) -> f64 {
        let rank = self.kept.len();
        // A response without residual has no scale; it is refused before any fit.
        let scale = if self.y_scale[fit] > 0.0 { self.y_scale[fit] } else { 1.0 };
        (y - dot(x, &self.ols[block(fit, rank)])) / scale
    }
}

/// v <- v - Q Q'v, twice (Gram-Schmidt needs it to stay orthogonal); returns Q'v.
fn project_out(basis: &[Vec<f64>], v: &mut [f64]) -> Vec<f64> {
    let mut coefficients = vec![0.0; basis.len()];
    for _ in 0..2 {
        for (b, c) in basis.iter().zip(&mut coefficients) {
            let s = dot(b, v);
            *c += s;
            crate::linalg::dense::axpy(-s, b, v);
        }
    }
    coefficients
}

/// B of each level, block diagonal by term, with B'B the mean of Z'Z over the level's units.
fn random_bases(
    levels: &[LevelRows],
    nesting: &Nesting,
    terms: &[Vec<(usize, Basis)>],
) -> Result<Vec<Vec<f64>>, CollinearRandomEffects> {
    let mut bases = Vec::with_capacity(levels.len());
    for (l, level) in levels.iter().enumerate() {
        let q = level.q;
        if terms[l].is_empty() {
            bases.push((0..q * q).map(|i| f64::from(u8::from(i % (q + 1) == 0))).collect());
            continue;
        }
        let mut gram = vec![0.0; q * q];
        let mut skip = 0;
        let mut z = Vec::with_capacity(q);
        // Columns of an outer level stand after those of the levels inside it.
        for (j, inner) in levels.iter().enumerate().skip(l) {
            skip = if j == l { 0 } else { skip + inner.q };
            for (i, row) in inner.design.chunks_exact(inner.n_columns).enumerate() {
                let share = inner.shares.as_ref().map_or(1.0, |s| s.of(inner.classes[i]).sqrt());
                z.clear();
                z.extend(row[skip..skip + q].iter().map(|value| share * value));
                crate::linalg::dense::add_outer(&z, &mut gram);
            }
        }
        let n_units = nesting.levels[l].n_units() as f64;
        gram.iter_mut().for_each(|value| *value /= n_units);
        bases.push(
            level_basis(&gram, q, &terms[l])
                .map_err(|column| CollinearRandomEffects { level: l, column })?,
        );
    }
    Ok(bases)
}

/// B of one level from the mean of Z'Z over its units; `Err` names the dependent column.
pub(crate) fn level_basis(
    gram: &[f64],
    q: usize,
    terms: &[(usize, Basis)],
) -> Result<Vec<f64>, usize> {
    let mut basis = vec![0.0; q * q];
    let mut first = 0;
    for &(size, kind) in terms {
        // Unit diagonal, so that the pivot tells how much of a column lies outside the others.
        let root: Vec<f64> = (first..first + size).map(|i| gram[i * q + i].sqrt()).collect();
        if let Some(zero) = root.iter().position(|r| *r <= 0.0) {
            return Err(first + zero);
        }
        let mut scaled = vec![0.0; size * size];
        for i in 0..size {
            for j in 0..=i {
                let value = gram[(first + i) * q + first + j] / (root[i] * root[j]);
                scaled[i * size + j] = if i == j { 1.0 } else { value };
            }
        }
        let common = (root.iter().map(|r| r * r).sum::<f64>() / size as f64).sqrt();
        let check = cholesky(&mut scaled, size);
        if let Err(error) = check {
            return Err(first + error.pivot);
        }
        for i in 0..size {
            if scaled[i * size + i].powi(2) < COLLINEAR_TOLERANCE {
                return Err(first + i);
            }
            for j in 0..=i {
                let identity = f64::from(u8::from(i == j));
                basis[(first + j) * q + first + i] = match kind {
                    Basis::Orthonormal => scaled[i * size + j] * root[i],
                    Basis::Scaled => identity * root[i],
                    Basis::Common => identity * common,
                };
            }
        }
        first += size;
    }
    Ok(basis)
}

fn change_basis(
    level: &LevelRows,
    l: usize,
    nesting: &Nesting,
    fixed: &FixedBasis,
    bases: &[Vec<f64>],
    n_fits: usize,
) -> Blocks {
    let q = level.q;
    let rank = fixed.kept.len();
    let q_of = |j: usize| (bases[j].len() as f64).sqrt() as usize;
    let n_outer: usize = (0..l).map(q_of).sum();
    let columns = q + n_outer + rank;
    let n_rows = level.design.len() / level.n_columns.max(1);
    let mut design = zeros(n_rows * columns);
    let mut response = zeros(n_fits * n_rows);
    for r in 0..n_rows {
        let row = &level.design[block(r, level.n_columns)];
        let out = &mut design[block(r, columns)];
        let (z, x) = row.split_at(q + n_outer);
        let (out_z, out_x) = out.split_at_mut(q + n_outer);
        out_z.copy_from_slice(z);
        let mut at = 0;
        for j in (0..=l).rev() {
            let size = q_of(j);
            solve_row_upper(&bases[j], size, &mut out_z[at..at + size]);
            at += size;
        }
        fixed.map_row(x, out_x);
        // The sign of a rotated row is arbitrary; a positive diagonal lets equal units be found.
        let sign = if q > 0 && out_z[r % q] < 0.0 { -1.0 } else { 1.0 };
        for f in 0..n_fits {
            let y = level.response[r * n_fits + f];
            response[f * n_rows + r] = sign * fixed.map_response(f, out_x, y);
        }
        // Adding zero turns -0 into 0, whose bits differ.
        out.iter_mut().for_each(|value| *value = sign * *value + 0.0);
    }
    Blocks {
        q,
        n_outer,
        first_child: if l + 1 < bases.len() {
            nesting.levels[l].first_child.clone()
        } else {
            Vec::new()
        },
        design,
        response,
        basis: bases[l].clone(),
        is_residual: false,
        series: None,
    }
}

/// Per fit, the cross-product of [X y] over the rows without random effects, in the new basis.
fn remainder_gram(
    remainder: &mut Triangle,
    fixed: &FixedBasis,
    p: usize,
    n_fits: usize,
) -> Vec<f64> {
    let rank = fixed.kept.len();
    let width = rank + 1;
    let squares = remainder.residual_squares.clone();
    let mut grams = zeros(n_fits * width * width);
    let mut row = vec![0.0; width];
    for raw in remainder.factor().chunks_exact((p + n_fits).max(1)).take(p) {
        fixed.map_row(&raw[..p], &mut row[..rank]);
        for (f, gram) in grams.chunks_exact_mut(width * width).enumerate() {
            row[rank] = fixed.map_response(f, &row[..rank], raw[p + f]);
            crate::linalg::dense::add_outer(&row, gram);
        }
    }
    for (f, gram) in grams.chunks_exact_mut(width * width).enumerate() {
        let scale = if fixed.y_scale[f] > 0.0 { fixed.y_scale[f] } else { 1.0 };
        gram[width * width - 1] += squares[f] / (scale * scale);
    }
    grams
}

/// Units with bit-equal T, or `None` where too few are equal for it to pay.
fn group_by_root(leaf: &Blocks, columns: usize, n_units: usize) -> Option<Vec<Vec<usize>>> {
    const SAMPLE: usize = 256;
    let q = leaf.q;
    let key = |unit: usize| -> Vec<u64> {
        let rows = leaf.design[block(unit, q * columns)].chunks_exact(columns);
        rows.flat_map(|row| row[..q].iter().map(|value| value.to_bits())).collect()
    };
    let mut sample: Vec<Vec<u64>> = (0..n_units.min(SAMPLE)).map(key).collect();
    let sampled = sample.len();
    sample.sort_unstable();
    sample.dedup();
    if 4 * sample.len() > 3 * sampled {
        return None;
    }
    let mut index: HashMap<Vec<u64>, usize> = HashMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for unit in 0..n_units {
        let group = *index.entry(key(unit)).or_insert(groups.len());
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(unit);
    }
    Some(groups)
}

/// Replaces the members of a pattern by at most q rank + q pseudo-units with the same sums.
///
/// The rows vec(A)' of the members are replaced by their own triangular factor: sum of A'K A over
/// members is unchanged for every K. Each response is factored alone, so that its numbers do not
/// depend on which others stand beside it.
fn compress(
    leaf: &Blocks,
    members: &[usize],
    rank: usize,
    n_fits: usize,
    design: &mut Vec<f64>,
    responses: &mut [Vec<f64>],
) {
    let q = leaf.q;
    let columns = q + rank;
    let n_units = leaf.response.len() / (q * n_fits.max(1));
    let width = q * rank + q;
    let root = leaf.design[block(members[0], q * columns)].to_vec();
    for (f, response) in responses.iter_mut().enumerate() {
        let mut triangle = Triangle::new(width, 0);
        let mut row = vec![0.0; width];
        for &unit in members {
            let rows = leaf.design[block(unit, q * columns)].chunks_exact(columns);
            for (a, design_row) in rows.enumerate() {
                row[block(a, rank)].copy_from_slice(&design_row[q..]);
            }
            let at = (f * n_units + unit) * q;
            row[q * rank..].copy_from_slice(&leaf.response[at..at + q]);
            triangle.push_row(&row);
        }
        for pseudo in triangle.factor().chunks_exact(width) {
            append(response, &pseudo[q * rank..]);
            if f == 0 {
                for (a, root_row) in root.chunks_exact(columns).enumerate() {
                    append(design, &root_row[..q]);
                    append(design, &pseudo[block(a, rank)]);
                }
            }
        }
    }
}
