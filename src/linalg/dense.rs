//! Small dense kernels on plain slices.
//!
//! Vectors are contiguous; small square matrices are row-major. Sums run in one fixed order that
//! depends on lengths only, so a result has the same bits whatever the machine or thread count.

use std::hint::black_box;
use std::ops::Range;

use crate::running::memory::zeros;

/// Positions of item `i` in an array of items of `size` numbers.
#[must_use]
pub fn block(i: usize, size: usize) -> Range<usize> {
    i * size..(i + 1) * size
}

/// What [`vectorised`] runs: a closure, or a type whose `call` is always inlined, which a large
/// closure is not.
pub use pulp::NullaryFnOnce as Kernel;

/// Runs `kernel` compiled for the widest vectors the machine has.
///
/// Products and sums are never fused, so the bits are those of the plain code.
#[inline(always)]
pub fn vectorised<K: Kernel>(kernel: K) -> K::Output {
    pulp::Arch::new().dispatch(kernel)
}

/// A matrix that should have been positive definite was not.
///
/// An expected outcome of a long Newton step, not a fault: the caller records it and goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotPositiveDefinite {
    /// Row whose pivot was not positive.
    pub pivot: usize,
}

/// x'y, in eight interleaved partial sums so that it vectorises without reordering later.
#[inline(always)]
#[must_use]
pub fn dot(x: &[f64], y: &[f64]) -> f64 {
    dot_of::<false>(x, y)
}

/// [`dot`], to the same bits; of `LONG` vectors a third faster, of short ones slower.
///
/// Compilers that see how partial sums are added keep pairs of them in narrow vectors, for which each
/// pair of numbers read is shuffled; adding them where this is not seen takes a way through memory.
#[inline(always)]
#[must_use]
fn dot_of<const LONG: bool>(x: &[f64], y: &[f64]) -> f64 {
    debug_assert_eq!(x.len(), y.len());
    // Loops by index: adapters of iterators are not always inlined where vectors are wide.
    let n = x.len();
    let (y, whole) = (&y[..n], n - n % 8);
    let mut lanes = [0.0; 8];
    let mut i = 0;
    while i < whole {
        let (a, b) = (&x[i..i + 8], &y[i..i + 8]);
        for lane in 0..8 {
            lanes[lane] += a[lane] * b[lane];
        }
        i += 8;
    }
    let mut tail = 0.0;
    while i < n {
        tail += x[i] * y[i];
        i += 1;
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    let pairs = [a + e, b + f, c + g, d + h];
    let [a, b, c, d] = if LONG { black_box(pairs) } else { pairs };
    ((a + b) + (c + d)) + tail
}

/// y <- y + alpha x.
#[inline(always)]
pub fn axpy(alpha: f64, x: &[f64], y: &mut [f64]) {
    let n = x.len().min(y.len());
    let (x, y) = (&x[..n], &mut y[..n]);
    for i in 0..n {
        y[i] += alpha * x[i];
    }
}

/// A <- L in place with A = L L'; reads and writes the lower triangle of the `n` x `n` matrix.
///
/// # Errors
/// [`NotPositiveDefinite`] at the first pivot that is not positive (or is NaN).
#[inline(always)]
pub fn cholesky(a: &mut [f64], n: usize) -> Result<(), NotPositiveDefinite> {
    for i in 0..n {
        let (above, row_i) = a.split_at_mut(i * n);
        let row_i = &mut row_i[..n];
        for j in 0..i {
            let row_j = &above[j * n..j * n + j + 1];
            let s = row_i[j] - dot(&row_i[..j], &row_j[..j]);
            row_i[j] = s / row_j[j];
        }
        let pivot = row_i[i] - dot(&row_i[..i], &row_i[..i]);
        // Written so that NaN fails too.
        if pivot > 0.0 && pivot.is_finite() {
            row_i[i] = pivot.sqrt();
        } else {
            return Err(NotPositiveDefinite { pivot: i });
        }
    }
    Ok(())
}

/// Upper triangular R with R'R = A for a positive semi-definite A; a zero pivot gives a zero row.
///
/// `a` is `n` x `n`, symmetric; on return its upper triangle holds R and the rest is zero. Pivots
/// below `n` machine epsilons of the diagonal count as zero: there A has no information.
pub fn semidefinite_root(a: &mut [f64], n: usize) {
    for j in 0..n {
        let scale = a[j * n + j];
        let mut pivot = scale;
        for k in 0..j {
            pivot -= a[k * n + j] * a[k * n + j];
        }
        let keep = pivot > 4.0 * n as f64 * f64::EPSILON * scale;
        let root = if keep { pivot.sqrt() } else { 0.0 };
        for c in j + 1..n {
            let mut s = a[j * n + c];
            for k in 0..j {
                s -= a[k * n + j] * a[k * n + c];
            }
            a[j * n + c] = if keep { s / root } else { 0.0 };
        }
        a[j * n + j] = root;
        for c in 0..j {
            a[j * n + c] = 0.0;
        }
    }
}

/// B <- L^-1 B for the lower triangular `n` x `n` L and the `n` x `width` row-major B.
#[inline(always)]
pub fn solve_lower(l: &[f64], n: usize, b: &mut [f64], width: usize) {
    for i in 0..n {
        let (above, row_i) = b.split_at_mut(i * width);
        let row_i = &mut row_i[..width];
        for j in 0..i {
            axpy(-l[i * n + j], &above[j * width..(j + 1) * width], row_i);
        }
        let inverse = 1.0 / l[i * n + i];
        for value in row_i {
            *value *= inverse;
        }
    }
}

/// B <- L^-1 B for the columns of B from `first` on; `stride` columns in all.
#[inline(always)]
pub fn solve_lower_right(l: &[f64], n: usize, b: &mut [f64], stride: usize, first: usize) {
    for i in 0..n {
        let (above, row_i) = b.split_at_mut(i * stride);
        let row_i = &mut row_i[first..stride];
        for j in 0..i {
            axpy(-l[i * n + j], &above[j * stride + first..(j + 1) * stride], row_i);
        }
        let inverse = 1.0 / l[i * n + i];
        for value in row_i {
            *value *= inverse;
        }
    }
}

/// A B for square row-major matrices of order `n`.
#[must_use]
pub fn multiply(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
    let mut out = zeros(n * n);
    faer::linalg::matmul::matmul(
        faer::MatMut::from_row_major_slice_mut(&mut out, n, n),
        faer::Accum::Replace,
        faer::MatRef::from_row_major_slice(a, n, n),
        faer::MatRef::from_row_major_slice(b, n, n),
        1.0,
        faer::Par::Seq,
    );
    out
}

/// Inverse of the lower triangular L, `n` x `n`, into `inverse` (lower triangle, rest zero).
pub fn invert_lower(l: &[f64], n: usize, inverse: &mut [f64]) {
    inverse.fill(0.0);
    for i in 0..n {
        inverse[i * n + i] = 1.0;
        let (above, row_i) = inverse.split_at_mut(i * n);
        for j in 0..i {
            axpy(-l[i * n + j], &above[j * n..j * n + n], &mut row_i[..n]);
        }
        let scale = 1.0 / l[i * n + i];
        for value in &mut row_i[..n] {
            *value *= scale;
        }
    }
}

/// x <- x R^-1 for the row vector x and the upper triangular R, `n` x `n`.
#[inline(always)]
pub fn solve_row_upper(r: &[f64], n: usize, x: &mut [f64]) {
    for i in 0..n {
        let (done, rest) = x.split_at_mut(i + 1);
        done[i] /= r[i * n + i];
        axpy(-done[i], &r[i * n + i + 1..(i + 1) * n], &mut rest[..n - i - 1]);
    }
}

/// Sums of squares below this lie near the underflow threshold.
pub(crate) const SMALLEST_SQUARE: f64 = 1e-280;

/// A Householder reflector I - tau v v' with `v[0]` = 1 that maps (alpha, x) to (beta, 0).
///
/// `x` is overwritten with v[1..]. Returns (beta, tau); tau = 0 where x is zero already, or so
/// small that its square would lose digits to underflow: columns are scaled near 1 beforehand, and
/// a reflector of rounded-off squares would not be orthogonal. The bits are those of any `LONG`.
#[inline(always)]
pub fn householder<const LONG: bool>(alpha: f64, x: &mut [f64]) -> (f64, f64) {
    let tail = dot_of::<LONG>(x, x);
    if tail < SMALLEST_SQUARE {
        return (alpha, 0.0);
    }
    let norm = (alpha * alpha + tail).sqrt();
    // The sign that avoids cancellation in alpha - beta.
    let beta = if alpha > 0.0 { -norm } else { norm };
    let scale = 1.0 / (alpha - beta);
    for value in x.iter_mut() {
        *value *= scale;
    }
    (beta, (beta - alpha) / beta)
}

/// Reflects [first; rest] by I - tau [1; v] [1; v]'; where tau is 0, nothing is reflected.
#[inline(always)]
pub fn reflect_by<const LONG: bool>(v: &[f64], tau: f64, first: &mut f64, rest: &mut [f64]) {
    if tau != 0.0 {
        let s = tau * (*first + dot_of::<LONG>(v, rest));
        *first -= s;
        axpy(-s, v, rest);
    }
}

/// Adds the lower triangle of b'b to the lower triangle of the row-major `width` x `width` `gram`.
#[inline(always)]
pub fn add_outer(b: &[f64], gram: &mut [f64]) {
    let width = b.len();
    for (i, &bi) in b.iter().enumerate() {
        axpy(bi, &b[..=i], &mut gram[i * width..i * width + i + 1]);
    }
}

/// Copies the lower triangle of a square row-major matrix to its upper triangle.
pub fn symmetrise(a: &mut [f64], n: usize) {
    for i in 0..n {
        for j in 0..i {
            a[j * n + i] = a[i * n + j];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cholesky_names_the_pivot_of_an_indefinite_matrix() {
        let mut a = [1.0, 2.0, 2.0, 1.0];
        assert_eq!(cholesky(&mut a, 2), Err(NotPositiveDefinite { pivot: 1 }));
    }

    #[test]
    fn cholesky_and_solve_recover_the_right_hand_side() {
        let a = [4.0, 2.0, 0.6, 2.0, 3.0, 0.4, 0.6, 0.4, 2.0];
        let mut l = a;
        cholesky(&mut l, 3).expect("positive definite");
        let mut b = [1.0, 2.0, 3.0];
        solve_lower(&l, 3, &mut b, 1);
        // L (L^-1 b) = b
        for i in 0..3 {
            let back: f64 = (0..=i).map(|j| l[i * 3 + j] * b[j]).sum();
            assert!((back - (i as f64 + 1.0)).abs() < 1e-14);
        }
    }

    #[test]
    fn semidefinite_root_reproduces_a_rank_one_matrix() {
        let v = [1.0, -2.0, 0.5];
        let mut a = [0.0; 9];
        for i in 0..3 {
            for j in 0..3 {
                a[i * 3 + j] = v[i] * v[j];
            }
        }
        let full = a;
        semidefinite_root(&mut a, 3);
        for i in 0..3 {
            for j in 0..3 {
                let back: f64 = (0..3).map(|k| a[k * 3 + i] * a[k * 3 + j]).sum();
                assert!((back - full[i * 3 + j]).abs() < 1e-14);
            }
        }
    }

    #[test]
    fn multiply_is_the_row_by_column_product() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
        assert_eq!(multiply(&a, &b, 2), vec![19.0, 22.0, 43.0, 50.0]);
    }

    /// Equal columns leave rounding errors of rounding errors: squares that underflow.
    #[test]
    fn householder_is_orthogonal_or_absent_near_underflow() {
        for scale in [1e-162, 1e-158, 1e-150, 1e-130] {
            let mut x = [3.0 * scale, 4.0 * scale];
            let (_, tau) = householder::<false>(scale, &mut x);
            let square = 1.0 + x[0] * x[0] + x[1] * x[1];
            assert!(tau == 0.0 || (tau * square - 2.0).abs() < 1e-14, "{scale}");
        }
    }

    #[test]
    fn householder_zeroes_the_tail_and_keeps_the_norm() {
        let mut x = [3.0, 4.0];
        let (beta, tau) = householder::<false>(12.0, &mut x);
        assert!((beta.abs() - 13.0).abs() < 1e-14);
        let inner = 12.0 + x[0] * 3.0 + x[1] * 4.0;
        assert!((3.0 - tau * x[0] * inner).abs() < 1e-14);
    }
}
