//! The blocks of the equations that depend on G: of the leading factor, which is eliminated, and of
//! the diagonal of what it leaves.

use std::ops::Range;

use super::data::Data;
use crate::linalg::dense::{NotPositiveDefinite, block, cholesky, invert_lower, semidefinite_root};
use crate::linalg::small::{add_to, multiply_into, product, sandwich, transpose};
use crate::running::memory::{append, buffer};
use crate::running::threads;

/// Levels per task in sums over levels.
pub const CHUNK_LEVELS: usize = 1024;

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

impl Parts {
    /// Blocks and determinants at `g`.
    ///
    /// # Errors
    /// [`NotPositiveDefinite`] where rounding makes a block indefinite.
    pub fn new(data: &Data, g: &[Vec<f64>]) -> Result<Self, NotPositiveDefinite> {
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
        let found: Vec<Result<Part, NotPositiveDefinite>> =
            threads::map(ranges(lead.n), |(first, last)| {
                let mut part = Part::empty(q, 0);
                for level in first..last {
                    let h = &lead.gram[block(level, q * q)];
                    let (_, middle, logdet) = eliminate(h, &roots[0], q)?;
                    part.logdet += logdet;
                    add_to(&explained(h, &middle, q), &mut part.lead);
                    part.middles.extend(middle);
                }
                Ok(part)
            });
        let mut parts = Self {
            roots,
            inner: buffer(lead.n * q * q),
            blocks: vec![Vec::new()],
            factors: vec![Vec::new()],
            middles: vec![Vec::new()],
            logdet: 0.0,
            traces: data.factors.iter().map(|f| vec![0.0; f.q * f.q]).collect(),
            chunks: Vec::new(),
        };
        for part in found {
            let part = part?;
            append(&mut parts.inner, &part.middles);
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
        let task = |levels: &Range<usize>| {
            let mut part = Part::empty(lead, q);
            if lead == 1 && q == 1 {
                self.add_scalar_levels(data, j, levels.clone(), &mut part)?;
            } else {
                self.add_levels(data, j, levels.clone(), &mut part)?;
            }
            Ok(part)
        };
        let found: Vec<Result<Part, NotPositiveDefinite>> =
            threads::map(&factor.order.chunks, task);
        let mut whole = Part::empty(lead, q);
        for part in found {
            let part = part?;
            append(&mut whole.factors, &part.factors);
            append(&mut whole.middles, &part.middles);
            append(&mut whole.blocks, &part.blocks);
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
