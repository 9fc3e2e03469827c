//! U = Z'W^-1 [X y], and first derivatives of the cross-products from it.

use crate::criterion::sums::Entry;
use crate::crossed::evaluation::Factorisation;
use crate::crossed::rest::RestLevel;
use crate::crossed::root::apply_transposed;
use crate::linalg::dense::{axpy, block};
use crate::linalg::many::pairwise;
use crate::linalg::small::transpose;

/// U, by level.
pub(crate) struct Scores {
    /// Row-major, `width` columns: a row a random effect of the leading factor.
    pub leading: Vec<f64>,
    /// The same for the columns of `Z_2`; of related units `K_0`^-1 U, as derivatives of their G take it.
    pub rest: Vec<f64>,
}

impl Factorisation<'_> {
    /// U = Z'W^-1 [X y].
    pub(crate) fn scores(&self) -> Scores {
        let width = self.width;
        let leading = self.unwhiten(&self.r, width);
        let rest = &self.reduction.rest;
        let any_small = (self.roots.iter().enumerate())
            .any(|(l, r)| !self.reduction.is_related(l) && (0..r.q).any(|k| r.is_small(k)));
        // In eigenvector coordinates: s U = Lambda'Z'W^-1 D = K_0 A^-1 Lambda'D~.
        let mut u = self.solution.clone();
        let direct = any_small.then(|| {
            let residual = self.rest_residual(&self.effects, &self.r, width);
            apply_transposed(rest, &self.vectors(), &residual, width)
        });
        for (l, (level, root)) in rest.levels.iter().zip(&self.roots).enumerate() {
            let is_related = self.reduction.is_related(l);
            for c in level.columns() {
                let k = (c - level.first_column) % level.q;
                let row = &mut u[block(c, width)];
                match &direct {
                    Some(direct) if root.is_small(k) && !is_related => {
                        row.copy_from_slice(&direct[block(c, width)]);
                    }
                    _ => row.iter_mut().for_each(|v| *v /= root.s[k]),
                }
            }
        }
        Scores { leading, rest: apply_transposed(rest, &self.vectors_transposed(), &u, width) }
    }

    /// D~ - K `g_2`, as residuals.
    pub(crate) fn rest_residual(&self, effects: &[f64], r: &[f64], width: usize) -> Vec<f64> {
        let negative: Vec<f64> = effects.iter().map(|g| -g).collect();
        let mut out = self.reduction.marginal_cross(&self.w, r, &negative, width);
        // Only the data's own columns have a part outside the span of the leading factor.
        axpy(1.0, &self.reduction.rest_data[self.fit], &mut out);
        out
    }

    pub(crate) fn vectors(&self) -> Vec<Vec<f64>> {
        self.roots.iter().map(|r| r.vectors.clone()).collect()
    }

    pub(crate) fn vectors_transposed(&self) -> Vec<Vec<f64>> {
        self.roots.iter().map(|r| transpose(&r.vectors, r.q, r.q)).collect()
    }

    /// -U'E U by entry, lower triangles.
    pub(crate) fn gram_by(&self, entries: &[Entry], scores: &Scores) -> Vec<f64> {
        let width = self.width;
        let plain = self.reduction.prior.as_ref().map(|prior| {
            let rest = prior.multiply(&self.reduction.rest, &scores.rest, width);
            Scores { leading: scores.leading.clone(), rest }
        });
        let mut out = vec![0.0; entries.len() * width * width];
        for (entry, gram) in entries.iter().zip(out.chunks_exact_mut(width * width)) {
            let (q, rows) = self.level_rows(entry.level, scores);
            let (_, others) = self.level_rows(entry.level, plain.as_ref().unwrap_or(scores));
            let weight = -entry.weight();
            let add = |u: usize, sum: &mut [f64]| {
                let unit = &rows[block(u, q * width)];
                let other = &others[block(u, q * width)];
                let (a, b) = (&unit[block(entry.a, width)], &other[block(entry.b, width)]);
                let (c, d) = (&other[block(entry.b, width)], &unit[block(entry.a, width)]);
                for i in 0..width {
                    let row = &mut sum[i * width..i * width + i + 1];
                    axpy(weight * a[i], &b[..=i], row);
                    axpy(weight * c[i], &d[..=i], row);
                }
            };
            gram.copy_from_slice(&pairwise(rows.len() / (q * width), width * width, &add));
        }
        out
    }

    pub(crate) fn level_rows<'s>(&self, level: usize, scores: &'s Scores) -> (usize, &'s [f64]) {
        let rest = &self.reduction.rest;
        if level == rest.leading {
            return (rest.leading_q, &scores.leading);
        }
        let own = self.rest_level(level);
        let width = scores.rest.len() / rest.order().max(1);
        let columns = own.columns();
        (own.q, &scores.rest[columns.start * width..columns.end * width])
    }

    pub(crate) fn rest_level(&self, level: usize) -> &RestLevel {
        let levels = &self.reduction.rest.levels;
        let at = if level > self.reduction.rest.leading { level - 1 } else { level };
        &levels[at]
    }
}
