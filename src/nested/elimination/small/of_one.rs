//! The sums of one fit as the general passes have them.

use std::ops::Range;

use super::super::state::Elimination;
use super::matrices::square;
use super::sizes::{is_lower, is_small_padded, padded, with_sizes};
use super::sums::{derivatives, values};
use super::units::Units;
use crate::criterion::sums::Sums;
use crate::linalg::dense::NotPositiveDefinite;
use crate::linalg::lanes::Lane;

impl Elimination<'_> {
    /// Is there one level of random effects whose sizes have code of their own?
    pub(crate) fn is_small(&self) -> bool {
        is_small_padded(self.reduction)
    }

    /// The same, where all entries of G are free.
    pub(crate) fn is_small_and_free(&self) -> bool {
        self.is_small() && is_lower(self.entries, self.reduction.levels[0].q)
    }

    /// `values` of some patterns.
    pub(crate) fn small_values(
        &self,
        items: Range<usize>,
        sums: &mut Sums,
    ) -> Result<(), NotPositiveDefinite> {
        let (q, w) = (self.reduction.levels[0].q, padded(self.width[0]));
        with_sizes!(q, w, f64, own_values, (self, items, sums); 1, 2, 3, 4, 5, 6, 8, 10, 12)
    }

    /// `derivatives` of some patterns.
    pub(crate) fn small_derivatives(
        &self,
        items: Range<usize>,
        psi: &[f64],
        e: &[f64],
        sums: &mut Sums,
    ) -> Result<(), NotPositiveDefinite> {
        let (q, w) = (self.reduction.levels[0].q, padded(self.width[0]));
        with_sizes!(q, w, f64, own_derivatives, (self, items, psi, e, sums); 1, 2, 3, 4, 5, 6, 8, 10, 12)
    }

    fn units(&self) -> Units<'_> {
        let Some(units) = Units::of(&[(self.reduction, self.fit)]) else {
            unreachable!("one fit has the patterns that it has")
        };
        units
    }
}

fn own_values<V: Lane, const Q: usize, const W: usize, const N: usize>(
    of: &Elimination<'_>,
    items: Range<usize>,
    sums: &mut Sums,
) -> Result<(), NotPositiveDefinite> {
    let found = values::<V, Q, W>(&of.units(), items, &square(&[&of.g[0]]), None)?;
    let w = of.width[0];
    sums.logdet += found.logdet.lane(0);
    for i in 0..w {
        for j in 0..=i {
            sums.gram[i * w + j] += found.gram[i][j].lane(0);
        }
    }
    Ok(())
}

fn own_derivatives<V: Lane, const Q: usize, const W: usize, const N: usize>(
    of: &Elimination<'_>,
    items: Range<usize>,
    psi: &[f64],
    e: &[f64],
    sums: &mut Sums,
) -> Result<(), NotPositiveDefinite> {
    let (w, zero) = (of.width[0], V::splat(0.0));
    let (mut weights, mut of_rss) = ([[zero; W]; W], [zero; W]);
    for i in 0..w {
        of_rss[i] = V::splat(e[i]);
        for j in 0..w {
            weights[i][j] = V::splat(psi[i * w + j]);
        }
    }
    let (units, g) = (of.units(), square(&[&of.g[0]]));
    let found = derivatives::<V, Q, W, N>(&units, items, &g, (&weights, &of_rss), None)?;
    for k in 0..N {
        for i in 0..w {
            for j in 0..=i {
                sums.gram_by[(k * w + i) * w + j] += found.gram[k][i][j].lane(0);
            }
        }
        sums.logdet_by[k] += found.trace(k).lane(0);
        for l in 0..=k {
            let (second, second_rss) = found.second(k, l);
            sums.hessian[k * N + l] += second.lane(0);
            sums.hessian_rss[k * N + l] += second_rss.lane(0);
        }
    }
    Ok(())
}
