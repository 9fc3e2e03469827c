//! The equations at one G after the leading factor is eliminated.
//!
//! With `W_1` = I + `Z_1` `G_1` `Z_1`' of the leading factor and Z the columns of all others,
//! N = Z'`W_1`^-1 Z and S = I + Lambda'N Lambda, G = Lambda Lambda': log|W| = log|`W_1`| + log|S|.
//! N is never formed, only its blocks on the diagonal, one a level; P, the preconditioner, is S
//! with those blocks alone.

use std::ops::{Deref, Range};
use std::sync::Arc;

use super::blocks::{CHUNK_LEVELS, Parts};
use super::coupling::{couple, pieces, small_product};
use super::data::Data;
use crate::linalg::dense::{NotPositiveDefinite, block, vectorised};
use crate::linalg::small::{add, transpose};
use crate::running::memory::zeros;
use crate::running::threads;

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
        threads::each(t.chunks_mut(CHUNK_LEVELS * q * K).enumerate(), |(chunk, t)| {
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
            let size = CHUNK_LEVELS * q * K;
            let tasks = out.chunks_mut(size).zip(v.chunks(size)).enumerate();
            threads::each(tasks, |(chunk, (out, v))| {
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
        threads::each(out.chunks_mut(size).zip(t.chunks(size)).enumerate(), |(chunk, (out, t))| {
            for (i, (out, t)) in out.chunks_exact_mut(q * K).zip(t.chunks_exact(q * K)).enumerate()
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
        });
    }

    /// Lambda v or Lambda'v, level by level of the reduced equations.
    #[must_use]
    pub fn scale<const K: usize>(&self, v: &[f64], transposed: bool) -> Vec<f64> {
        let mut out = zeros(v.len());
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
        threads::each(tasks.into_iter().zip(&self.chunks), |(v, &(j, first, _))| {
            let q = self.data.factors[j].q;
            vectorised(|| {
                for (i, v) in v.chunks_exact_mut(q * K).enumerate() {
                    kernel(&self.factors[j][block(first + i, q * q)], q, v);
                }
            });
        });
    }
}
