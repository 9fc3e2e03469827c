//! Derivatives of X'V^-1 X from those of [X y]'V^-1 [X y].

use crate::linalg::dense::block;
use crate::running::memory::zeros;

/// The X blocks of cross-products of [X y] given by their lower triangles, `rank` squared each.
#[must_use]
pub fn fixed_blocks(grams: &[f64], rank: usize) -> Vec<f64> {
    let width = rank + 1;
    let mut out = zeros(grams.len() / (width * width) * rank * rank);
    let blocks = out.chunks_exact_mut((rank * rank).max(1));
    for (out, gram) in blocks.zip(grams.chunks_exact(width * width)) {
        for i in 0..rank {
            for j in 0..rank {
                out[i * rank + j] = gram[i.max(j) * width + i.min(j)];
            }
        }
    }
    out
}

/// Second derivatives of X'V^-1 X by pairs of `n` entries, or their sum with `weights`; `sums` makes,
/// for each set of weights, the sum of second derivatives of [X y]'V^-1 [X y].
///
/// # Errors
/// Those of `sums`.
pub fn second_derivatives<E>(
    (n, rank): (usize, usize),
    weights: Option<&[f64]>,
    sums: impl FnOnce(&[Vec<f64>]) -> Result<Vec<f64>, E>,
) -> Result<Vec<f64>, E> {
    let width = rank + 1;
    if let Some(weights) = weights {
        return Ok(fixed_blocks(&sums(&[weights.to_vec()])?, rank));
    }
    let sums = sums(&pair_weights(n))?;
    let mut out = Vec::with_capacity(n * n * rank * rank);
    for at in 0..n * n {
        let (k, l) = ((at / n).max(at % n), (at / n).min(at % n));
        out.extend(fixed_blocks(&sums[block(k * (k + 1) / 2 + l, width * width)], rank));
    }
    Ok(out)
}

/// Weights that pick out the second derivative by each pair (k, l), l <= k.
fn pair_weights(n: usize) -> Vec<Vec<f64>> {
    let mut out = Vec::with_capacity(n * (n + 1) / 2);
    for k in 0..n {
        for l in 0..=k {
            let mut weights = vec![0.0; n * n];
            weights[k * n + l] += 0.5;
            weights[l * n + k] += 0.5;
            out.push(weights);
        }
    }
    out
}
