//! Derivatives of the criterion by entries of G, and their Monte Carlo errors.

use std::sync::Arc;

use super::columns::Right;
use super::data::Data;
use super::estimate::{
    Evaluation, Settings, WIDTH, degrees, inverse_basis, sum_products, with_width,
};
use super::system::System;
use crate::criterion::engine::Unsolved;
use crate::criterion::sums::Entry;
use crate::linalg::dense::{axpy, dot};
use crate::linalg::small::{product, transpose};
use crate::running::memory::zeros;

/// Derivatives by entries of G in the transformed basis.
pub struct Derivatives {
    /// Of the criterion.
    pub gradient: Vec<f64>,
    /// Average information, `n` squared.
    pub information: Vec<f64>,
    /// Monte Carlo covariance of the gradient, `n` squared.
    pub gradient_covariance: Vec<f64>,
    /// Derivatives of y'Py.
    pub rss_by: Vec<f64>,
}

impl Evaluation {
    /// Gradient, average information (Gilmour, Thompson and Cullis 1995, Biometrics 51, 1440) and
    /// the Monte Carlo covariance of the gradient.
    ///
    /// # Errors
    /// [`Unsolved`].
    pub fn derivatives(
        &self,
        data: &Data,
        entries: &[Entry],
        reml: bool,
        settings: &Settings,
    ) -> Result<Derivatives, Unsolved> {
        let n = entries.len();
        let nu = degrees(data, reml);
        let directions: Vec<(usize, Vec<f64>)> =
            entries.iter().map(|entry| direction(data, entry)).collect();
        let along = |matrices: &[Vec<f64>]| -> Vec<f64> {
            directions.iter().map(|(j, e)| dot(e, &matrices[*j])).collect()
        };
        let mut trace = along(&self.traces);
        if reml {
            axpy(-1.0, &along(&self.fixed_traces), &mut trace);
        }
        let squares: Vec<Vec<f64>> = (data.factors.iter().zip(&self.effects))
            .map(|(f, e)| sum_products(e, e, f.q, 1))
            .collect();
        let quadratic = along(&squares);
        let gradient = (0..n).map(|k| trace[k] - nu / self.rss * quadratic[k]).collect();
        let forms = self.second_forms(data, &directions, settings)?;
        let mut information = zeros(n * n);
        for k in 0..n {
            for l in 0..n {
                let form = 0.5 * (forms[k * n + l] + forms[l * n + k]);
                information[k * n + l] =
                    nu / self.rss * (form - quadratic[k] * quadratic[l] / self.rss);
            }
        }
        let by_probe: Vec<Vec<f64>> = self.by_probe.iter().map(|c| along(c)).collect();
        let rss_by = quadratic.iter().map(|q| -q).collect();
        Ok(Derivatives {
            gradient,
            information,
            gradient_covariance: covariance(&by_probe, n),
            rss_by,
        })
    }

    /// Derivatives of X'W^-1 X by entries, each `rank` squared.
    #[must_use]
    pub fn information_derivatives(&self, data: &Data, entries: &[Entry]) -> Vec<f64> {
        let rank = data.rank();
        let mut out = Vec::with_capacity(entries.len() * rank * rank);
        for entry in entries {
            let (j, e) = direction(data, entry);
            let q = data.factors[j].q;
            let mut sum = vec![0.0; rank * rank];
            for u in self.fixed[j].chunks_exact((q * rank).max(1)) {
                let through = product(&e, u, q, q, rank);
                axpy(-1.0, &product(&transpose(u, q, rank), &through, rank, q, rank), &mut sum);
            }
            out.extend(sum);
        }
        out
    }

    /// y'P `V_k` P `V_l` P y.
    fn second_forms(
        &self,
        data: &Data,
        directions: &[(usize, Vec<f64>)],
        settings: &Settings,
    ) -> Result<Vec<f64>, Unsolved> {
        let system = System { data, parts: Arc::clone(&self.parts) };
        let (n, rank) = (directions.len(), data.rank());
        let mut out = zeros(n * n);
        for first in (0..n).step_by(WIDTH) {
            let columns = first..(first + WIDTH).min(n);
            with_width!(columns.len(), K => {
                let right = self.second_right::<K>(&system, &directions[columns.clone()]);
                let products = right.solve::<K>(&system, settings.stop)?;
                for (c, l) in columns.enumerate() {
                    for (k, (j, e)) in directions.iter().enumerate() {
                        let q = data.factors[*j].q;
                        let u = if *j == 0 {
                            &products.lead
                        } else {
                            &products.rest[system.stretch(*j, K)]
                        };
                        let column: Vec<f64> = u.iter().skip(c).step_by(K).copied().collect();
                        let sums = sum_products(&self.effects[*j], &column, q, 1);
                        out[k * n + l] = dot(e, &sums);
                    }
                }
            });
        }
        let reached: Vec<Vec<f64>> = directions
            .iter()
            .map(|(j, e)| {
                let q = data.factors[*j].q;
                let mut sum = vec![0.0; rank];
                let levels = self.effects[*j].chunks_exact(q);
                for (effects, u) in levels.zip(self.fixed[*j].chunks_exact((q * rank).max(1))) {
                    let h = product(e, effects, q, q, 1);
                    h.iter()
                        .zip(u.chunks_exact(rank.max(1)))
                        .for_each(|(h, u)| axpy(*h, u, &mut sum));
                }
                sum
            })
            .collect();
        for k in 0..n {
            let through = product(&self.c, &reached[k], rank, rank, 1);
            for l in 0..n {
                out[k * n + l] -= dot(&through, &reached[l]);
            }
        }
        Ok(out)
    }

    /// Z'`W_1`^-1 `V_k` P y of K entries.
    fn second_right<const K: usize>(
        &self,
        system: &System,
        directions: &[(usize, Vec<f64>)],
    ) -> Right {
        let data = system.data;
        let mut right = Right::zeros::<K>(system);
        let mut v = zeros(right.rest.len());
        let mut lead = zeros(right.lead.len());
        for (c, (j, e)) in directions.iter().enumerate() {
            let q = data.factors[*j].q;
            let out = if *j == 0 { &mut lead[..] } else { &mut v[system.stretch(*j, K)] };
            for (out, effects) in out.chunks_exact_mut(q * K).zip(self.effects[*j].chunks_exact(q))
            {
                for a in 0..q {
                    out[a * K + c] = dot(&e[a * q..(a + 1) * q], effects);
                }
            }
        }
        let mut t = zeros(lead.len());
        system.apply::<K>(&v, &mut right.rest, &mut t, Some(&mut right.lead));
        // The leading factor's own: t = (I - M H) h gives Z'W_1^-1 Z_1 h = Z'Z_1 t.
        t.fill(0.0);
        system.add_lead_gram::<K>(&lead, &mut t);
        system.eliminate_lead::<K>(&mut t);
        t.iter_mut().zip(&lead).for_each(|(t, h)| *t += h);
        system.add_lead_gram::<K>(&t, &mut right.lead);
        right.reach::<K>(system, &t);
        right
    }
}

/// Position of the factor of an entry, and B^-1 E B'^-1.
fn direction(data: &Data, entry: &Entry) -> (usize, Vec<f64>) {
    let (j, factor) = data
        .factors
        .iter()
        .enumerate()
        .find(|(_, f)| f.position == entry.level)
        .expect("entries were checked");
    let q = factor.q;
    let mut e = vec![0.0; q * q];
    e[entry.a * q + entry.b] = 1.0;
    e[entry.b * q + entry.a] = 1.0;
    let inverse = inverse_basis(&factor.basis, q);
    let half = product(&inverse, &e, q, q, q);
    (j, product(&half, &transpose(&inverse, q, q), q, q, q))
}

/// Covariance of the mean of the rows.
fn covariance(rows: &[Vec<f64>], size: usize) -> Vec<f64> {
    let n = rows.len() as f64;
    let mut out = vec![0.0; size * size];
    if rows.len() < 2 {
        return out;
    }
    let mut mean = vec![0.0; size];
    rows.iter().for_each(|row| axpy(1.0 / n, row, &mut mean));
    for row in rows {
        for i in 0..size {
            for j in 0..size {
                out[i * size + j] += (row[i] - mean[i]) * (row[j] - mean[j]) / (n * (n - 1.0));
            }
        }
    }
    out
}
