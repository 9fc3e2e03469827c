//! The equations at one G after the leading factor is eliminated.
//!
//! With `W_1` = I + `Z_1` `G_1` `Z_1`' of the leading factor and Z the columns of all others,
//! N = Z'`W_1`^-1 Z and S = I + Lambda'N Lambda, G = Lambda Lambda': log|W| = log|`W_1`| + log|S|.
//! N is never formed, only its blocks on the diagonal, one a level; P, the preconditioner, is S
//! with those blocks alone.

use std::ops::{Deref, Range};
use std::sync::Arc;

use rayon::prelude::*;

use super::coupling::{add, couple, pieces, small_product};
use super::data::Data;
use crate::dense::{NotPositiveDefinite, cholesky, invert_lower, semidefinite_root, vectorised};
use crate::reduction::block;

/// Levels per task in sums over levels.
const CHUNK_LEVELS: usize = 1024;

/// The equations.
#[derive(Clone)]
pub struct System<'a> {
    /// The rows.
    pub data: &'a Data,
    /// What depends on G.
    pub parts: Arc<Parts>,
}

impl Deref for System<'_> {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

/// What of the equations depends on G and not on the right-hand side.
pub struct Parts {
    /// By factor, Lambda of the untransformed columns, `q` x `q`.
    pub roots: Vec<Vec<f64>>,
    /// Per level of the leading factor, M = G (I + H G)^-1 with H = Z'Z.
    pub inner: Vec<f64>,
    /// By factor but the leading one, per level, the block of N.
    pub blocks: Vec<Vec<f64>>,
    /// By factor but the leading one, per level, L with L L' the block of P.
    pub factors: Vec<Vec<f64>>,
    /// By factor but the leading one, per level, T = Lambda P^-1 Lambda'.
    pub middles: Vec<Vec<f64>>,
    /// log|`W_1`| + log|P|.
    pub logdet: f64,
    /// tr of `Z_1`'W^-1 `Z_1`, summed over levels, with P in place of S; and by factor the same of its
    /// own columns.
    pub traces: Vec<Vec<f64>>,
    /// (factor, first level, last level) of the tasks over levels of the reduced equations.
    pub chunks: Vec<(usize, usize, usize)>,
}

/// B A B' for `B` of `m` x `n`, A symmetric of order n.
fn sandwich(b: &[f64], a: &[f64], m: usize, n: usize, out: &mut [f64], sign: f64) {
    for i in 0..m {
        for j in 0..m {
            let mut s = 0.0;
            for k in 0..n {
                for l in 0..n {
                    s += b[i * n + k] * a[k * n + l] * b[j * n + l];
                }
            }
            out[i * m + j] += sign * s;
        }
    }
}

/// A B for small matrices of `m` x `n` and `n` x `k`.
#[must_use]
pub fn product(a: &[f64], b: &[f64], m: usize, n: usize, k: usize) -> Vec<f64> {
    let mut out = vec![0.0; m * k];
    for i in 0..m {
        for l in 0..n {
            for j in 0..k {
                out[i * k + j] += a[i * n + l] * b[l * k + j];
            }
        }
    }
    out
}

/// The transpose of an `m` x `n` matrix.
#[must_use]
pub fn transpose(a: &[f64], m: usize, n: usize) -> Vec<f64> {
    (0..m * n).map(|at| a[(at % m) * n + at / m]).collect()
}

/// L of I + Lambda'H Lambda, T = Lambda (L L')^-1 Lambda' = G (I + H G)^-1, and the log determinant.
fn eliminate(
    h: &[f64],
    root: &[f64],
    q: usize,
) -> Result<(Vec<f64>, Vec<f64>, f64), NotPositiveDefinite> {
    let transposed = transpose(root, q, q);
    let mut l = vec![0.0; q * q];
    sandwich(&transposed, h, q, q, &mut l, 1.0);
    for i in 0..q {
        l[i * q + i] += 1.0;
    }
    cholesky(&mut l, q)?;
    for i in 0..q {
        l[i * q + i + 1..(i + 1) * q].fill(0.0);
    }
    let mut inverse = vec![0.0; q * q];
    invert_lower(&l, q, &mut inverse);
    let half = product(&inverse, &transposed, q, q, q);
    let middle = product(&transpose(&half, q, q), &half, q, q, q);
    let logdet = 2.0 * (0..q).map(|i| l[i * q + i].ln()).sum::<f64>();
    Ok((l, middle, logdet))
}

/// H - H T H.
fn explained(h: &[f64], middle: &[f64], q: usize) -> Vec<f64> {
    let mut out = h.to_vec();
    sandwich(h, middle, q, q, &mut out, -1.0);
    out
}

struct Part {
    factors: Vec<f64>,
    blocks: Vec<f64>,
    middles: Vec<f64>,
    logdet: f64,
    own: Vec<f64>,
    lead: Vec<f64>,
}

impl<'a> System<'a> {
    /// Blocks and determinants at `g`, by factor the covariance of the untransformed columns.
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] where rounding makes a block indefinite.
    pub fn new(data: &'a Data, g: &[Vec<f64>]) -> Result<Self, NotPositiveDefinite> {
        Ok(Self { data, parts: Arc::new(Parts::new(data, g)?) })
    }

    /// Sizes of the pieces of a vector of the reduced equations that are one task each.
    pub fn sizes<const K: usize>(&self) -> impl Iterator<Item = usize> + '_ {
        self.chunks.iter().map(|&(j, first, last)| (last - first) * self.data.factors[j].q * K)
    }

    /// Stretch of factor j in a vector of the reduced equations.
    #[must_use]
    pub fn stretch(&self, j: usize, k: usize) -> Range<usize> {
        let f = &self.data.factors[j];
        f.offset * k..(f.offset + f.n * f.q) * k
    }

    /// t <- -M t, level by level of the leading factor.
    pub fn eliminate_lead<const K: usize>(&self, t: &mut [f64]) {
        let q = self.data.factors[0].q;
        t.par_chunks_mut(CHUNK_LEVELS * q * K).enumerate().for_each(|(chunk, t)| {
            vectorised(|| {
                let mut out = vec![0.0; q * K];
                for (i, t) in t.chunks_exact_mut(q * K).enumerate() {
                    let inner = &self.inner[block(chunk * CHUNK_LEVELS + i, q * q)];
                    small_product::<K>(inner, q, q, t, &mut out);
                    t.iter_mut().zip(&out).for_each(|(t, o)| *t = -o);
                }
            });
        });
    }

    /// nv = N v; c, if asked for, gets `Z_1`'`W_1`^-1 Z v. `t` is scratch for the leading factor.
    pub fn apply<const K: usize>(
        &self,
        v: &[f64],
        nv: &mut [f64],
        t: &mut [f64],
        c: Option<&mut Vec<f64>>,
    ) {
        let n_factors = self.data.factors.len();
        let mut sources: Vec<Option<&[f64]>> = vec![None; n_factors];
        for j in 1..n_factors {
            sources[j] = Some(&v[self.stretch(j, K)]);
        }
        t.fill(0.0);
        couple::<K>(self.data, 0, &sources, t);
        let y = c.as_ref().map(|_| t.to_vec());
        self.eliminate_lead::<K>(t);
        if let (Some(c), Some(y)) = (c, y) {
            *c = y;
            self.add_lead_gram::<K>(t, c);
        }
        sources[0] = Some(&*t);
        for j in 1..n_factors {
            let factor = &self.data.factors[j];
            let (q, own) = (factor.q, self.stretch(j, K));
            let (v, out) = (&v[own.clone()], &mut nv[own]);
            out.par_chunks_mut(CHUNK_LEVELS * q * K)
                .zip(v.par_chunks(CHUNK_LEVELS * q * K))
                .enumerate()
                .for_each(|(chunk, (out, v))| {
                    vectorised(|| {
                        let levels = out.chunks_exact_mut(q * K).zip(v.chunks_exact(q * K));
                        for (i, (out, v)) in levels.enumerate() {
                            let gram = &factor.gram[block(chunk * CHUNK_LEVELS + i, q * q)];
                            small_product::<K>(gram, q, q, v, out);
                        }
                    });
                });
            couple::<K>(self.data, j, &sources, out);
        }
    }

    /// out += H t, level by level of the leading factor.
    pub fn add_lead_gram<const K: usize>(&self, t: &[f64], out: &mut [f64]) {
        let lead = &self.data.factors[0];
        let q = lead.q;
        let size = CHUNK_LEVELS * q * K;
        out.par_chunks_mut(size).zip(t.par_chunks(size)).enumerate().for_each(
            |(chunk, (out, t))| {
                for (i, (out, t)) in
                    out.chunks_exact_mut(q * K).zip(t.chunks_exact(q * K)).enumerate()
                {
                    let gram = &lead.gram[block(chunk * CHUNK_LEVELS + i, q * q)];
                    for a in 0..q {
                        for b in 0..q {
                            add::<K>(
                                gram[a * q + b],
                                &t[b * K..(b + 1) * K],
                                &mut out[a * K..(a + 1) * K],
                            );
                        }
                    }
                }
            },
        );
    }

    /// Lambda v or Lambda'v, level by level of the reduced equations.
    #[must_use]
    pub fn scale<const K: usize>(&self, v: &[f64], transposed: bool) -> Vec<f64> {
        let mut out = vec![0.0; v.len()];
        for j in 1..self.data.factors.len() {
            let q = self.data.factors[j].q;
            let root =
                if transposed { transpose(&self.roots[j], q, q) } else { self.roots[j].clone() };
            let own = self.stretch(j, K);
            let levels = out[own.clone()].chunks_exact_mut(q * K).zip(v[own].chunks_exact(q * K));
            for (out, v) in levels {
                small_product::<K>(&root, q, q, v, out);
            }
        }
        out
    }

    /// Applies `kernel(L, column of the level)` in place to every level: L v, L'^-1 v and the like.
    pub fn by_factor<const K: usize>(
        &self,
        v: &mut [f64],
        kernel: impl Fn(&[f64], usize, &mut [f64]) + Sync,
    ) {
        let tasks = pieces(v, self.sizes::<K>());
        tasks.into_par_iter().zip(&self.chunks).for_each(|(v, &(j, first, _))| {
            let q = self.data.factors[j].q;
            vectorised(|| {
                for (i, v) in v.chunks_exact_mut(q * K).enumerate() {
                    kernel(&self.factors[j][block(first + i, q * q)], q, v);
                }
            });
        });
    }
}

impl Parts {
    fn new(data: &Data, g: &[Vec<f64>]) -> Result<Self, NotPositiveDefinite> {
        let roots: Vec<Vec<f64>> = data
            .factors
            .iter()
            .zip(g)
            .map(|(f, g)| {
                let mut root = g.clone();
                semidefinite_root(&mut root, f.q);
                transpose(&root, f.q, f.q)
            })
            .collect();
        let lead = &data.factors[0];
        let q = lead.q;
        let found: Vec<Part> = ranges(lead.n)
            .into_par_iter()
            .map(|(first, last)| {
                let mut part = Part::empty(q, 0);
                for level in first..last {
                    let h = &lead.gram[block(level, q * q)];
                    let (_, middle, logdet) = eliminate(h, &roots[0], q)?;
                    part.logdet += logdet;
                    add_to(&explained(h, &middle, q), &mut part.lead);
                    part.middles.extend(middle);
                }
                Ok(part)
            })
            .collect::<Result<_, NotPositiveDefinite>>()?;
        let mut parts = Self {
            roots,
            inner: Vec::with_capacity(lead.n * q * q),
            blocks: vec![Vec::new()],
            factors: vec![Vec::new()],
            middles: vec![Vec::new()],
            logdet: 0.0,
            traces: data.factors.iter().map(|f| vec![0.0; f.q * f.q]).collect(),
            chunks: Vec::new(),
        };
        for part in found {
            parts.inner.extend(part.middles);
            parts.logdet += part.logdet;
            add_to(&part.lead, &mut parts.traces[0]);
        }
        for j in 1..data.factors.len() {
            parts.add_factor(data, j)?;
            let levels = ranges(data.factors[j].n);
            parts.chunks.extend(levels.into_iter().map(|(first, last)| (j, first, last)));
        }
        Ok(parts)
    }

    fn add_factor(&mut self, data: &Data, j: usize) -> Result<(), NotPositiveDefinite> {
        let factor = &data.factors[j];
        let (q, lead) = (factor.q, data.factors[0].q);
        let found: Vec<Part> = factor
            .order
            .chunks
            .par_iter()
            .map(|levels| {
                let mut part = Part::empty(lead, q);
                if lead == 1 && q == 1 {
                    self.add_scalar_levels(data, j, levels.clone(), &mut part)?;
                } else {
                    self.add_levels(data, j, levels.clone(), &mut part)?;
                }
                Ok(part)
            })
            .collect::<Result<_, NotPositiveDefinite>>()?;
        let mut whole = Part::empty(lead, q);
        for part in found {
            whole.factors.extend(part.factors);
            whole.middles.extend(part.middles);
            whole.blocks.extend(part.blocks);
            self.logdet += part.logdet;
            add_to(&part.own, &mut self.traces[j]);
            add_to(&part.lead, &mut self.traces[0]);
        }
        self.factors.push(whole.factors);
        self.middles.push(whole.middles);
        self.blocks.push(whole.blocks);
        Ok(())
    }

    fn add_levels(
        &self,
        data: &Data,
        j: usize,
        levels: Range<usize>,
        part: &mut Part,
    ) -> Result<(), NotPositiveDefinite> {
        let (q, lead) = (data.factors[j].q, data.factors[0].q);
        let mut cells = Cells::default();
        let (mut through, mut reached) = (vec![0.0; lead * q], vec![0.0; lead * q]);
        for level in levels {
            cells.collect(data, j, level);
            let mut n = data.factors[j].gram[block(level, q * q)].to_vec();
            for (unit, cell) in cells.iter(lead * q) {
                let inner = &self.inner[block(unit, lead * lead)];
                multiply_into(inner, cell, lead, lead, q, &mut through);
                for a in 0..q {
                    for b in 0..q {
                        n[a * q + b] -=
                            (0..lead).map(|i| cell[i * q + a] * through[i * q + b]).sum::<f64>();
                    }
                }
            }
            let (l, middle, logdet) = eliminate(&n, &self.roots[j], q)?;
            for (unit, cell) in cells.iter(lead * q) {
                // F C = C - H M C.
                let inner = &self.inner[block(unit, lead * lead)];
                let gram = &data.factors[0].gram[block(unit, lead * lead)];
                multiply_into(inner, cell, lead, lead, q, &mut through);
                multiply_into(gram, &through, lead, lead, q, &mut reached);
                reached.iter_mut().zip(cell).for_each(|(r, c)| *r = c - *r);
                multiply_into(&reached, &middle, lead, q, q, &mut through);
                for a in 0..lead {
                    for b in 0..lead {
                        part.lead[a * lead + b] -=
                            (0..q).map(|i| through[a * q + i] * reached[b * q + i]).sum::<f64>();
                    }
                }
            }
            part.logdet += logdet;
            add_to(&explained(&n, &middle, q), &mut part.own);
            part.factors.extend(l);
            part.middles.extend(middle);
            part.blocks.extend(n);
        }
        Ok(())
    }

    /// As the general case, without a matrix in sight: large data are made of this.
    fn add_scalar_levels(
        &self,
        data: &Data,
        j: usize,
        levels: Range<usize>,
        part: &mut Part,
    ) -> Result<(), NotPositiveDefinite> {
        let (lead, factor) = (&data.factors[0], &data.factors[j]);
        let order = &factor.order;
        let visit = |level: usize, sum: &mut f64, term: &dyn Fn(usize, f64) -> f64| {
            let (mut unit, mut cell) = (u32::MAX, 0.0);
            for row in order.first[level]..order.first[level + 1] {
                if order.codes[0][row] != unit {
                    *sum -= if cell == 0.0 { 0.0 } else { term(unit as usize, cell) };
                    (unit, cell) = (order.codes[0][row], 0.0);
                }
                cell += order.z[0].row(row, 1)[0] * order.z[j].row(row, 1)[0];
            }
            *sum -= if cell == 0.0 { 0.0 } else { term(unit as usize, cell) };
        };
        for level in levels {
            let mut n = factor.gram[level];
            visit(level, &mut n, &|unit, cell| cell * cell * self.inner[unit]);
            let (l, middle, logdet) = eliminate(&[n], &self.roots[j], 1)?;
            visit(level, &mut part.lead[0], &|unit, cell| {
                let reached = (1.0 - lead.gram[unit] * self.inner[unit]) * cell;
                reached * reached * middle[0]
            });
            part.logdet += logdet;
            add_to(&explained(&[n], &middle, 1), &mut part.own);
            part.factors.extend(l);
            part.middles.extend(middle);
            part.blocks.push(n);
        }
        Ok(())
    }
}

/// `Z_1`'Z of one level, by level of the leading factor that it meets.
#[derive(Default)]
struct Cells {
    units: Vec<usize>,
    values: Vec<f64>,
}

impl Cells {
    /// The rows of a level stand in the order of the leading factor's levels.
    fn collect(&mut self, data: &Data, j: usize, level: usize) {
        let (order, q, lead) = (&data.factors[j].order, data.factors[j].q, data.factors[0].q);
        self.units.clear();
        self.values.clear();
        for row in order.first[level]..order.first[level + 1] {
            let unit = order.codes[0][row] as usize;
            if self.units.last() != Some(&unit) {
                self.units.push(unit);
                self.values.resize(self.units.len() * lead * q, 0.0);
            }
            let start = (self.units.len() - 1) * lead * q;
            let cell = &mut self.values[start..];
            let own = order.z[j].row(row, q);
            for (a, z) in order.z[0].row(row, lead).iter().enumerate() {
                for (b, own) in own.iter().enumerate() {
                    cell[a * q + b] += z * own;
                }
            }
        }
    }

    fn iter(&self, size: usize) -> impl Iterator<Item = (usize, &[f64])> {
        self.units.iter().copied().zip(self.values.chunks_exact(size))
    }
}

/// out = A B for matrices of `m` x `n` and `n` x `k`.
#[inline(always)]
fn multiply_into(a: &[f64], b: &[f64], m: usize, n: usize, k: usize, out: &mut [f64]) {
    for i in 0..m {
        for j in 0..k {
            out[i * k + j] = (0..n).map(|l| a[i * n + l] * b[l * k + j]).sum();
        }
    }
}

impl Part {
    fn empty(lead: usize, q: usize) -> Self {
        Self {
            factors: Vec::new(),
            blocks: Vec::new(),
            middles: Vec::new(),
            logdet: 0.0,
            own: vec![0.0; q * q],
            lead: vec![0.0; lead * lead],
        }
    }
}

fn ranges(n: usize) -> Vec<(usize, usize)> {
    (0..n).step_by(CHUNK_LEVELS).map(|first| (first, (first + CHUNK_LEVELS).min(n))).collect()
}

fn add_to(x: &[f64], y: &mut [f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
}

/// v <- L v for the lower triangular L of order q and K columns.
#[inline(always)]
pub fn multiply_lower<const K: usize>(l: &[f64], q: usize, v: &mut [f64]) {
    for i in (0..q).rev() {
        let (above, row) = v.split_at_mut(i * K);
        row[..K].iter_mut().for_each(|value| *value *= l[i * q + i]);
        for j in 0..i {
            add::<K>(l[i * q + j], &above[j * K..(j + 1) * K], row);
        }
    }
}

/// v <- L^-1 v.
#[inline(always)]
pub fn divide_lower<const K: usize>(l: &[f64], q: usize, v: &mut [f64]) {
    for i in 0..q {
        let (above, row) = v.split_at_mut(i * K);
        for j in 0..i {
            add::<K>(-l[i * q + j], &above[j * K..(j + 1) * K], row);
        }
        let inverse = 1.0 / l[i * q + i];
        row[..K].iter_mut().for_each(|value| *value *= inverse);
    }
}

/// v <- L'^-1 v.
#[inline(always)]
pub fn divide_upper<const K: usize>(l: &[f64], q: usize, v: &mut [f64]) {
    for i in (0..q).rev() {
        let (row, below) = v.split_at_mut((i + 1) * K);
        let row = &mut row[i * K..];
        for j in i + 1..q {
            add::<K>(-l[j * q + i], &below[(j - i - 1) * K..(j - i) * K], row);
        }
        let inverse = 1.0 / l[i * q + i];
        row.iter_mut().for_each(|value| *value *= inverse);
    }
}
