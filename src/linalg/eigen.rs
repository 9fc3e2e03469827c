//! Eigenvalues and singular values of matrices of a few rows, by Jacobi's rotations.
//!
//! Orders are known to the compiler, so a matrix costs less than a call of a library; the same steps
//! whatever stands beside it.

/// A K-by-K matrix.
pub type Square<const K: usize> = [[f64; K]; K];

/// Sweeps after which rotations only move rounding errors about.
const MOST_SWEEPS: usize = 40;
/// An element over the matrix' norm, and a cosine, that is rounding.
const ROUNDING: f64 = 1.4e-17;

/// Eigenvalues in ascending order, and the eigenvectors as columns.
///
/// Errors are rounding of the largest eigenvalue, as LAPACK's are.
#[inline(always)]
#[must_use]
pub fn symmetric<const K: usize>(matrix: &Square<K>) -> ([f64; K], Square<K>) {
    let (mut a, mut vectors) = (*matrix, identity::<K>());
    let norm = a.iter().flatten().map(|x| x * x).sum::<f64>().sqrt();
    for _ in 0..MOST_SWEEPS {
        let mut rotated = false;
        for p in 0..K {
            for q in p + 1..K {
                if a[p][q].abs() > ROUNDING * norm {
                    rotated = true;
                    rotate(&mut a, &mut vectors, p, q);
                }
            }
        }
        if !rotated {
            break;
        }
    }
    let mut order = [0; K];
    for (k, at) in order.iter_mut().enumerate() {
        *at = k;
    }
    sort(&mut order, |k| a[k][k]);
    let (mut values, mut sorted) = ([0.0; K], [[0.0; K]; K]);
    for (to, &from) in order.iter().enumerate() {
        values[to] = a[from][from];
        for row in 0..K {
            sorted[row][to] = vectors[row][from];
        }
    }
    (values, sorted)
}

/// Makes element (p, q) of the symmetric `a` 0.
#[inline(always)]
fn rotate<const K: usize>(a: &mut Square<K>, vectors: &mut Square<K>, p: usize, q: usize) {
    let t = tangent((a[q][q] - a[p][p]) / (2.0 * a[p][q]));
    let c = 1.0 / (t * t + 1.0).sqrt();
    let s = t * c;
    let shift = t * a[p][q];
    a[p][p] -= shift;
    a[q][q] += shift;
    (a[p][q], a[q][p]) = (0.0, 0.0);
    for r in 0..K {
        if r != p && r != q {
            let (x, y) = (a[r][p], a[r][q]);
            (a[r][p], a[r][q]) = (c * x - s * y, s * x + c * y);
            (a[p][r], a[q][r]) = (a[r][p], a[r][q]);
        }
        let (x, y) = (vectors[r][p], vectors[r][q]);
        (vectors[r][p], vectors[r][q]) = (c * x - s * y, s * x + c * y);
    }
}

/// The smaller root t of t^2 + 2 `cotangent` t - 1 = 0.
#[inline(always)]
fn tangent(cotangent: f64) -> f64 {
    let size = 1.0 / (cotangent.abs() + (cotangent * cotangent + 1.0).sqrt());
    if cotangent < 0.0 { -size } else { size }
}

/// U and d, descending, with L = U diag(d) V'.
///
/// Rows are rotated until they are orthogonal, which keeps the digits of small singular values.
#[inline(always)]
#[must_use]
pub fn left_singular<const K: usize>(l: &Square<K>) -> (Square<K>, [f64; K]) {
    // Rows of `left` turn with those of `rows`: rows = left L.
    let (mut rows, mut left) = (*l, identity::<K>());
    for _ in 0..MOST_SWEEPS {
        let mut rotated = false;
        for p in 0..K {
            for q in p + 1..K {
                let (alpha, beta) = (dot(&rows[p], &rows[p]), dot(&rows[q], &rows[q]));
                let gamma = dot(&rows[p], &rows[q]);
                if gamma.abs() > ROUNDING * (alpha * beta).sqrt() && alpha * beta > 0.0 {
                    rotated |= gamma.abs() > 16.0 * ROUNDING * (alpha * beta).sqrt();
                    let t = tangent((beta - alpha) / (2.0 * gamma));
                    let c = 1.0 / (t * t + 1.0).sqrt();
                    turn(&mut rows, p, q, c, t * c);
                    turn(&mut left, p, q, c, t * c);
                }
            }
        }
        if !rotated {
            break;
        }
    }
    let mut d = [0.0; K];
    for (value, row) in d.iter_mut().zip(&rows) {
        *value = dot(row, row).sqrt();
    }
    let mut order = [0; K];
    for (k, at) in order.iter_mut().enumerate() {
        *at = k;
    }
    sort(&mut order, |k| -d[k]);
    let (mut u, mut sorted) = ([[0.0; K]; K], [0.0; K]);
    for (to, &from) in order.iter().enumerate() {
        sorted[to] = d[from];
        for row in 0..K {
            u[row][to] = left[from][row];
        }
    }
    (u, sorted)
}

/// Rows p and q of a matrix turned by an angle of cosine `c` and sine `s`.
#[inline(always)]
fn turn<const K: usize>(rows: &mut Square<K>, p: usize, q: usize, c: f64, s: f64) {
    for k in 0..K {
        let (x, y) = (rows[p][k], rows[q][k]);
        (rows[p][k], rows[q][k]) = (c * x - s * y, s * x + c * y);
    }
}

/// Lower triangular L with L L' = `root` `root`' and no negative diagonal.
#[inline(always)]
#[must_use]
pub fn lower_of<const K: usize>(root: &Square<K>) -> Square<K> {
    let mut l = *root;
    for i in 0..K {
        let norm = (i..K).map(|k| l[i][k] * l[i][k]).sum::<f64>().sqrt();
        if norm > 0.0 {
            // A reflection takes the row's part from i on to (-sign norm, 0, ...).
            let sign = if l[i][i] < 0.0 { -1.0 } else { 1.0 };
            let mut v = l[i];
            v[i] += sign * norm;
            let square = (i..K).map(|k| v[k] * v[k]).sum::<f64>();
            for r in i..K {
                let along = 2.0 * (i..K).map(|k| v[k] * l[r][k]).sum::<f64>() / square;
                for k in i..K {
                    l[r][k] -= along * v[k];
                }
            }
        }
        for k in i + 1..K {
            l[i][k] = 0.0;
        }
        if l[i][i] < 0.0 {
            for r in i..K {
                l[r][i] = -l[r][i];
            }
        }
    }
    l
}

#[inline(always)]
fn dot<const K: usize>(x: &[f64; K], y: &[f64; K]) -> f64 {
    (0..K).fold(0.0, |s, k| s + x[k] * y[k])
}

#[inline(always)]
fn identity<const K: usize>() -> Square<K> {
    let mut out = [[0.0; K]; K];
    for (k, row) in out.iter_mut().enumerate() {
        row[k] = 1.0;
    }
    out
}

/// Sorts positions by their numbers, ascending; equal ones stay in order.
#[inline(always)]
fn sort<const K: usize>(order: &mut [usize; K], number: impl Fn(usize) -> f64) {
    for i in 1..K {
        let mut j = i;
        while j > 0 && number(order[j]) < number(order[j - 1]) {
            order.swap(j, j - 1);
            j -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(seed: u64) -> Square<4> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        };
        let mut out = [[0.0; 4]; 4];
        for i in 0..4 {
            for j in 0..=i {
                out[i][j] = next() * 10f64.powi(-3 * j as i32);
            }
        }
        out
    }

    fn product(a: &Square<4>, b: &Square<4>) -> Square<4> {
        let mut out = [[0.0; 4]; 4];
        for i in 0..4 {
            for j in 0..4 {
                out[i][j] = (0..4).map(|k| a[i][k] * b[k][j]).sum();
            }
        }
        out
    }

    fn transpose(a: &Square<4>) -> Square<4> {
        let mut out = [[0.0; 4]; 4];
        for i in 0..4 {
            for j in 0..4 {
                out[j][i] = a[i][j];
            }
        }
        out
    }

    fn scaled(vectors: &Square<4>, values: &[f64; 4]) -> Square<4> {
        vectors.map(|row| [0, 1, 2, 3].map(|k| row[k] * values[k]))
    }

    fn assert_close(a: &Square<4>, b: &Square<4>, tolerance: f64) {
        for (x, y) in a.iter().flatten().zip(b.iter().flatten()) {
            assert!((x - y).abs() <= tolerance, "{a:?} {b:?}");
        }
    }

    #[test]
    fn eigenvectors_give_the_matrix_back() {
        for seed in 0..50 {
            let l = example(seed);
            let mut a = product(&l, &transpose(&l));
            a[2][2] -= 0.3;
            let (values, vectors) = symmetric(&a);
            assert!(values.windows(2).all(|pair| pair[0] <= pair[1]));
            let back = product(&scaled(&vectors, &values), &transpose(&vectors));
            assert_close(&back, &a, 1e-15);
            assert_close(&product(&transpose(&vectors), &vectors), &identity(), 1e-14);
        }
    }

    #[test]
    fn left_vectors_diagonalise_a_factor_that_is_nearly_singular() {
        for seed in 0..50 {
            let mut l = example(seed);
            l[3] = l[1];
            let (u, d) = left_singular(&l);
            assert!(d.windows(2).all(|pair| pair[0] >= pair[1]));
            let squares = d.map(|x| x * x);
            let back = product(&scaled(&u, &squares), &transpose(&u));
            assert_close(&back, &product(&l, &transpose(&l)), 1e-15);
            assert_close(&product(&transpose(&u), &u), &identity(), 1e-14);
        }
    }

    #[test]
    fn a_lower_factor_has_the_same_square() {
        for seed in 0..50 {
            let root = transpose(&example(seed));
            let l = lower_of(&root);
            assert_close(&product(&l, &transpose(&l)), &product(&root, &transpose(&root)), 1e-15);
            assert!((0..4).all(|i| l[i][i] >= 0.0 && l[i][i + 1..].iter().all(|&x| x == 0.0)));
        }
        assert_eq!(lower_of(&[[0.0; 4]; 4]), [[0.0; 4]; 4]);
    }
}
