//! The units of some fits side by side.

use super::matrices::Rows;
use crate::linalg::lanes::Lane;
use crate::nested::patterns::Pattern;
use crate::nested::reduction::Reduction;

/// The units of a fit in each lane, of which all have the same patterns.
pub(super) struct Units<'a> {
    pub(super) patterns: &'a [Pattern],
    /// By lane, rows of [T X]; one where all lanes share them.
    design: Vec<&'a [f64]>,
    /// By lane.
    response: Vec<&'a [f64]>,
}

impl<'a> Units<'a> {
    /// Of fits of reductions; `None` where their patterns differ.
    pub(super) fn of(fits: &[(&'a Reduction, usize)]) -> Option<Self> {
        let (first, _) = fits[0];
        let shared = fits.iter().all(|&(reduction, _)| std::ptr::eq(reduction, first));
        if !shared && fits.iter().any(|(other, _)| other.patterns != first.patterns) {
            return None;
        }
        let design = |&(reduction, _): &(&'a Reduction, usize)| &reduction.levels[0].design[..];
        let response = |&(reduction, fit): &(&'a Reduction, usize)| {
            let size = reduction.levels[0].response.len() / reduction.n_fits.max(1);
            &reduction.levels[0].response[fit * size..(fit + 1) * size]
        };
        Some(Self {
            patterns: &first.patterns,
            design: fits[..if shared { 1 } else { fits.len() }].iter().map(design).collect(),
            response: fits.iter().map(response).collect(),
        })
    }

    #[inline(always)]
    pub(super) fn rows<V: Lane, const Q: usize, const W: usize>(&self, b: usize) -> Rows<V, Q, W> {
        let zero = V::splat(0.0);
        let mut rows = Rows { t: [[zero; Q]; Q], a: [[zero; W]; Q] };
        let columns = Q + W - 1;
        let block = |k: usize| &self.design[k][b * Q * columns..(b + 1) * Q * columns];
        if let [_] = self.design[..] {
            let design = block(0);
            for i in 0..Q {
                let row = &design[i * columns..(i + 1) * columns];
                rows.t[i].iter_mut().zip(row).for_each(|(to, &from)| *to = V::splat(from));
                let x = rows.a[i].iter_mut().zip(&row[Q..]);
                x.for_each(|(to, &from)| *to = V::splat(from));
            }
        } else {
            for lane in 0..V::COUNT {
                let design = block(lane);
                for i in 0..Q {
                    let row = &design[i * columns..(i + 1) * columns];
                    rows.t[i].iter_mut().zip(row).for_each(|(to, &from)| to.set(lane, from));
                    let x = rows.a[i].iter_mut().zip(&row[Q..]);
                    x.for_each(|(to, &from)| to.set(lane, from));
                }
            }
        }
        for lane in 0..V::COUNT {
            let response = &self.response[lane][b * Q..(b + 1) * Q];
            for i in 0..Q {
                rows.a[i][W - 1].set(lane, response[i]);
            }
        }
        rows
    }
}
