//! Many small results: side by side, or summed in pairs.

use super::dense::axpy;
use crate::running::memory::zeros;
use crate::running::threads;

/// Concatenated results of many small tasks, on several threads where there is enough to do.
#[must_use]
pub fn gather(n: usize, work: usize, one: impl Fn(usize) -> Vec<f64> + Sync + Send) -> Vec<f64> {
    if work < 200_000 {
        return (0..n).flat_map(one).collect();
    }
    let step = n.div_ceil(64).max(1);
    let part =
        |k: usize| -> Vec<f64> { (k * step..((k + 1) * step).min(n)).flat_map(&one).collect() };
    threads::map(0..n.div_ceil(step), part).concat()
}

/// `size` numbers for each of `n` small tasks, which find them zero.
#[must_use]
pub fn fill(
    n: usize,
    size: usize,
    work: usize,
    one: impl Fn(usize, &mut [f64]) + Sync + Send,
) -> Vec<f64> {
    let mut out = zeros(n * size);
    if size == 0 {
        return out;
    }
    if work < 200_000 {
        out.chunks_exact_mut(size).enumerate().for_each(|(k, own)| one(k, own));
        return out;
    }
    let step = n.div_ceil(64).max(1);
    threads::each(out.chunks_mut(step * size).enumerate(), |(part, chunk)| {
        chunk.chunks_exact_mut(size).enumerate().for_each(|(k, own)| one(part * step + k, own));
    });
    out
}

/// Terms that are added one after the other.
const LEAF: usize = 64;

/// The sum over 0..n of what `add` adds to `size` numbers: in pairs, so that rounding errors do not
/// grow with n, and in an order that n alone decides.
#[must_use]
pub fn pairwise(n: usize, size: usize, add: &dyn Fn(usize, &mut [f64])) -> Vec<f64> {
    fn part(first: usize, last: usize, size: usize, add: &dyn Fn(usize, &mut [f64])) -> Vec<f64> {
        if last - first <= LEAF {
            let mut sum = zeros(size);
            (first..last).for_each(|k| add(k, &mut sum));
            return sum;
        }
        let middle = first + (last - first) / 2;
        let mut sum = part(first, middle, size, add);
        axpy(1.0, &part(middle, last, size, add), &mut sum);
        sum
    }
    part(0, n, size, add)
}
