//! A set of animals, the youngest of which is taken out again and again.

use crate::running::memory::filled;

/// Numbers marked, in words of 64 bits, with a mark for every word that has any.
pub struct Ancestors {
    marks: Vec<u64>,
    words: Vec<u64>,
    /// No word of `words` above this one has a mark.
    highest: usize,
}

impl Ancestors {
    /// Room for numbers below `n`.
    #[must_use]
    pub fn new(n: usize) -> Self {
        let marks = n.div_ceil(64).max(1);
        Self { marks: filled(0, marks), words: filled(0, marks.div_ceil(64)), highest: 0 }
    }

    /// Marks a number.
    pub fn insert(&mut self, number: usize) {
        let word = number / 64;
        self.marks[word] |= 1 << (number % 64);
        self.words[word / 64] |= 1 << (word % 64);
        self.highest = self.highest.max(word / 64);
    }

    /// Takes out the largest number marked.
    pub fn pop(&mut self) -> Option<usize> {
        while self.words[self.highest] == 0 {
            self.highest = self.highest.checked_sub(1)?;
        }
        let word = self.highest * 64 + 63 - self.words[self.highest].leading_zeros() as usize;
        let bit = 63 - self.marks[word].leading_zeros() as usize;
        self.marks[word] &= !(1 << bit);
        if self.marks[word] == 0 {
            self.words[self.highest] &= !(1 << (word % 64));
        }
        Some(word * 64 + bit)
    }
}

#[cfg(test)]
mod tests {
    use super::Ancestors;

    #[test]
    fn numbers_come_out_from_the_largest_down() {
        let mut set = Ancestors::new(10_000);
        [3, 9_999, 64, 63, 5_000, 3].iter().for_each(|&k| set.insert(k));
        let out: Vec<usize> = std::iter::from_fn(|| set.pop()).collect();
        assert_eq!(out, [9_999, 5_000, 64, 63, 3]);
        set.insert(0);
        assert_eq!((set.pop(), set.pop()), (Some(0), None));
    }
}
