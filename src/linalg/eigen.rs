//! Eigenvalues and singular values of matrices of a few rows, by Jacobi's rotations.
//!
//! Orders are known to the compiler, so a matrix costs less than a call of a library; the same steps
//! whatever stands beside it, in lanes too.

use super::lanes::Lane;

/// A K-by-K matrix, of several fits side by side where V has lanes.
pub type Square<const K: usize, V = f64> = [[V; K]; K];

/// Sweeps after which rotations only move rounding errors about.
const MOST_SWEEPS: usize = 40;
/// An element over the matrix' norm, and a cosine, that is rounding.
const ROUNDING: f64 = 1.4e-17;

/// Eigenvalues in ascending order, and the eigenvectors as columns.
///
/// Errors are rounding of the largest eigenvalue, as LAPACK's are.
#[inline(always)]
#[must_use]
pub fn symmetric<V: Lane, const K: usize>(matrix: &Square<K, V>) -> ([V; K], Square<K, V>) {
    let (mut a, mut vectors) = (*matrix, identity::<V, K>());
    let least = V::splat(ROUNDING) * length(a.as_flattened()).root();
    // 1 in lanes that go on: what is done to one does not depend on those beside it.
    let mut open = V::splat(1.0);
    for _ in 0..MOST_SWEEPS {
        let mut rotated = V::splat(0.0);
        for p in 0..K {
            for q in p + 1..K {
                let turns = a[p][q].size().where_above(least, open, V::splat(0.0));
                if is_any(turns) {
                    rotated = rotated.most(turns);
                    rotate(&mut a, &mut vectors, p, q, turns);
                }
            }
        }
        open = rotated;
        if !is_any(open) {
            break;
        }
    }
    let mut values = [V::splat(0.0); K];
    for k in 0..K {
        values[k] = a[k][k];
    }
    let mut turned = transposed(&vectors);
    sort(&mut values, &mut turned, |values, k| values[k]);
    (values, transposed(&turned))
}

/// Is a mask 1 in any lane?
#[inline(always)]
fn is_any<V: Lane>(mask: V) -> bool {
    mask.is_above_in_any(V::splat(0.0))
}

/// `yes` where a mask is 1, `no` where it is 0.
#[inline(always)]
fn either<V: Lane>(mask: V, yes: V, no: V) -> V {
    mask.where_above(V::splat(0.0), yes, no)
}

/// Makes element (p, q) of the symmetric `a` 0 where `turns` is 1.
#[inline(always)]
fn rotate<V: Lane, const K: usize>(
    a: &mut Square<K, V>,
    vectors: &mut Square<K, V>,
    p: usize,
    q: usize,
    turns: V,
) {
    let t = tangent((a[q][q] - a[p][p]) / (V::splat(2.0) * a[p][q]));
    let (c, s) = angle(t);
    let shift = t * a[p][q];
    a[p][p] = either(turns, a[p][p] - shift, a[p][p]);
    a[q][q] = either(turns, a[q][q] + shift, a[q][q]);
    a[p][q] = either(turns, V::splat(0.0), a[p][q]);
    a[q][p] = either(turns, V::splat(0.0), a[q][p]);
    for r in 0..K {
        if r != p && r != q {
            (a[r][p], a[r][q]) = turned((a[r][p], a[r][q]), c, s, turns);
            // What is not turned stays as it is, symmetric to the last digit or not.
            a[p][r] = either(turns, a[r][p], a[p][r]);
            a[q][r] = either(turns, a[r][q], a[q][r]);
        }
        (vectors[r][p], vectors[r][q]) = turned((vectors[r][p], vectors[r][q]), c, s, turns);
    }
}

/// Two numbers turned where `turns` is 1.
#[inline(always)]
fn turned<V: Lane>((x, y): (V, V), c: V, s: V, turns: V) -> (V, V) {
    (either(turns, c * x - s * y, x), either(turns, s * x + c * y, y))
}

/// The smaller root t of t^2 + 2 `cotangent` t - 1 = 0.
#[inline(always)]
fn tangent<V: Lane>(cotangent: V) -> V {
    let one = V::splat(1.0);
    let size = one / (cotangent.size() + (cotangent * cotangent + one).root());
    V::splat(0.0).where_above(cotangent, -size, size)
}

/// Cosine and sine of an angle by its tangent.
#[inline(always)]
fn angle<V: Lane>(t: V) -> (V, V) {
    let one = V::splat(1.0);
    let c = one / (t * t + one).root();
    (c, t * c)
}

/// U and d, descending, with L = U diag(d) V'.
///
/// Rows are rotated until they are orthogonal, which keeps the digits of small singular values.
#[inline(always)]
#[must_use]
pub fn left_singular<V: Lane, const K: usize>(l: &Square<K, V>) -> (Square<K, V>, [V; K]) {
    // Rows of `left` turn with those of `rows`: rows = left L.
    let (mut rows, mut left) = (*l, identity::<V, K>());
    let (zero, two, rounding) = (V::splat(0.0), V::splat(2.0), V::splat(ROUNDING));
    let mut open = V::splat(1.0);
    for _ in 0..MOST_SWEEPS {
        let mut rotated = zero;
        for p in 0..K {
            for q in p + 1..K {
                let (alpha, beta) = (dot(&rows[p], &rows[p]), dot(&rows[q], &rows[q]));
                let gamma = dot(&rows[p], &rows[q]);
                let both = alpha * beta;
                let open = both.where_above(zero, open, zero);
                let turns = gamma.size().where_above(rounding * both.root(), open, zero);
                if is_any(turns) {
                    let much = V::splat(16.0 * ROUNDING) * both.root();
                    rotated = rotated.most(gamma.size().where_above(much, turns, zero));
                    let (c, s) = angle(tangent((beta - alpha) / (two * gamma)));
                    turn(&mut rows, p, q, (c, s), turns);
                    turn(&mut left, p, q, (c, s), turns);
                }
            }
        }
        open = rotated;
        if !is_any(open) {
            break;
        }
    }
    let mut d = [zero; K];
    for k in 0..K {
        d[k] = dot(&rows[k], &rows[k]).root();
    }
    sort(&mut d, &mut left, |d, k| -d[k]);
    (transposed(&left), d)
}

/// Rows p and q of a matrix turned by an angle of a cosine and a sine, where `turns` is 1.
#[inline(always)]
fn turn<V: Lane, const K: usize>(
    rows: &mut Square<K, V>,
    p: usize,
    q: usize,
    (c, s): (V, V),
    turns: V,
) {
    for k in 0..K {
        (rows[p][k], rows[q][k]) = turned((rows[p][k], rows[q][k]), c, s, turns);
    }
}

/// Lower triangular L with L L' = `root` `root`' and no negative diagonal.
#[inline(always)]
#[must_use]
pub fn lower_of<V: Lane, const K: usize>(root: &Square<K, V>) -> Square<K, V> {
    let zero = V::splat(0.0);
    let mut l = *root;
    for i in 0..K {
        let norm = length(&l[i][i..]).root();
        if norm.is_above_in_any(zero) {
            // A reflection takes the row's part from i on to (-sign norm, 0, ...).
            let sign = zero.where_above(l[i][i], V::splat(-1.0), V::splat(1.0));
            let mut v = l[i];
            v[i] += sign * norm;
            let square = length(&v[i..]);
            for r in i..K {
                let sum = (i..K).fold(V::splat(-0.0), |sum, k| sum + v[k] * l[r][k]);
                let along = V::splat(2.0) * sum / square;
                for k in i..K {
                    l[r][k] = norm.where_above(zero, l[r][k] - along * v[k], l[r][k]);
                }
            }
        }
        for k in i + 1..K {
            l[i][k] = zero;
        }
        let own = l[i][i];
        for r in i..K {
            l[r][i] = zero.where_above(own, -l[r][i], l[r][i]);
        }
    }
    l
}

/// The sum of the squares.
#[inline(always)]
fn length<V: Lane>(x: &[V]) -> V {
    x.iter().fold(V::splat(-0.0), |sum, &value| sum + value * value)
}

#[inline(always)]
fn dot<V: Lane, const K: usize>(x: &[V; K], y: &[V; K]) -> V {
    (0..K).fold(V::splat(0.0), |s, k| s + x[k] * y[k])
}

#[inline(always)]
fn identity<V: Lane, const K: usize>() -> Square<K, V> {
    let mut out = [[V::splat(0.0); K]; K];
    for (k, row) in out.iter_mut().enumerate() {
        row[k] = V::splat(1.0);
    }
    out
}

#[inline(always)]
fn transposed<V: Lane, const K: usize>(a: &Square<K, V>) -> Square<K, V> {
    let mut out = *a;
    for i in 0..K {
        for j in 0..K {
            out[j][i] = a[i][j];
        }
    }
    out
}

/// Sorts numbers, and rows with them, ascending by what `key` says of a place; equal ones stay in
/// order.
#[inline(always)]
fn sort<V: Lane, const K: usize>(
    numbers: &mut [V; K],
    rows: &mut Square<K, V>,
    key: impl Fn(&[V; K], usize) -> V,
) {
    for i in 1..K {
        for j in (1..=i).rev() {
            // Below what stays nothing moves.
            let (this, before) = (key(numbers, j), key(numbers, j - 1));
            let swap =
                |x: V, y: V| (before.where_above(this, y, x), before.where_above(this, x, y));
            (numbers[j - 1], numbers[j]) = swap(numbers[j - 1], numbers[j]);
            for k in 0..K {
                (rows[j - 1][k], rows[j][k]) = swap(rows[j - 1][k], rows[j][k]);
            }
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
