//! Arithmetic of codes: levels of a factor, units of a grouping factor.

use crate::running::memory::{buffer, filled};

/// Codes up to which several counts of each are kept side by side.
const FEW: usize = 1024;
/// Counts side by side: those of one code would wait for each other.
const LANES: usize = 4;

/// Each code's entry in `table`; what is negative stays -1.
#[must_use]
pub fn translate(codes: &[i32], table: &[i32]) -> Vec<i32> {
    let mut out = buffer(codes.len());
    out.extend(codes.iter().map(|&code| if code < 0 { -1 } else { table[code as usize] }));
    out
}

/// How often each of `n` codes occurs; before them, how often none does.
#[must_use]
pub fn count(codes: &[i32], n: usize) -> Vec<i64> {
    let width = n + 1;
    let place = |code: i32| (code.max(-1) + 1) as usize;
    if n > FEW {
        let mut counts = filled(0, width);
        for run in codes.chunk_by(|a, b| a == b) {
            counts[place(run[0])] += run.len() as i64;
        }
        return counts;
    }
    let mut lanes = filled(0, LANES * width);
    let (chunks, rest) = codes.split_at(codes.len() / LANES * LANES);
    for chunk in chunks.chunks_exact(LANES) {
        for lane in 0..LANES {
            lanes[lane * width + place(chunk[lane])] += 1;
        }
    }
    rest.iter().for_each(|&code| lanes[place(code)] += 1);
    (0..width).map(|k| (0..LANES).map(|lane| lanes[lane * width + k]).sum()).collect()
}

/// A code for each run of equal values, in their order, and where it begins; `None` where the values
/// descend anywhere, or where hardly two neighbours are equal.
#[must_use]
pub fn runs(values: &[i64]) -> Option<(Vec<i32>, Vec<u32>)> {
    let mut first = Vec::new();
    let mut row = 0;
    for run in values.chunk_by(|a, b| a == b) {
        if row > 0 && run[0] < values[row - 1] || 2 * first.len() > values.len() {
            return None;
        }
        first.push(row as u32);
        row += run.len();
    }
    let mut codes = buffer(values.len());
    for (code, &start) in first.iter().enumerate() {
        let end = first.get(code + 1).map_or(values.len(), |&next| next as usize);
        codes.resize(codes.len() + end - start as usize, code as i32);
    }
    Some((codes, first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_counted_with_few_and_with_many() {
        let codes: Vec<i32> = (0..103).map(|i| i * i % 7 - 1).collect();
        for n in [6, 2000] {
            let counts = count(&codes, n);
            assert_eq!(counts.len(), n + 1);
            for (k, &found) in counts.iter().enumerate() {
                assert_eq!(found, codes.iter().filter(|&&c| c + 1 == k as i32).count() as i64);
            }
        }
    }

    #[test]
    fn what_is_missing_stays_missing() {
        assert_eq!(translate(&[1, -1, 0], &[5, 7]), [7, -1, 5]);
    }

    #[test]
    fn runs_are_those_of_ascending_values() {
        let found = runs(&[3, 3, 3, 9, 9]).expect("ascending");
        assert_eq!(found, (vec![0, 0, 0, 1, 1], vec![0, 3]));
        assert!(runs(&[3, 3, 2, 2]).is_none());
        assert!(runs(&[1, 2, 3, 4, 5, 6]).is_none());
        assert_eq!(runs(&[]), Some((vec![], vec![])));
    }
}
