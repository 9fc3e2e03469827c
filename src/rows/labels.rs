//! Labels of rows as codes: each label is found by its hash, and numbered when it first appears.

use super::hashes::{MIX, mixed};
use crate::running::memory::filled;
use crate::running::stop;

/// Rows whose labels are looked up together, and blocks of them between two looks for a signal.
const BLOCK: usize = 64;
const BLOCKS_AT_ONCE: usize = 1024;
/// Slots that a table begins with.
const FIRST_SLOTS: usize = 256;
/// Bytes that a key holds whole.
const WORD: usize = 8;

/// Codes of rows, and where each label first appears.
#[derive(Debug, PartialEq, Eq)]
pub struct Coded {
    /// Code of each row; -1 where it has no label.
    pub codes: Vec<i32>,
    /// First row of each code.
    pub first_rows: Vec<u32>,
}

/// Texts one after the other: row i is `bytes[ends[i]..ends[i + 1]]`.
#[derive(Clone, Copy)]
pub struct Texts<'a> {
    /// Where each text begins, and where the last one ends.
    pub ends: &'a [i64],
    /// All texts.
    pub bytes: &'a [u8],
    /// A bit a row, from the lowest of each byte on, 0 where there is no text; and the first row's.
    pub present: Option<(&'a [u8], usize)>,
}

impl<'a> Texts<'a> {
    /// The texts of some rows; `None` where one is not UTF-8.
    #[must_use]
    pub fn at(&self, rows: &[u32]) -> Option<Vec<String>> {
        let text =
            |&row: &u32| std::str::from_utf8(self.text(row as usize)).map(str::to_owned).ok();
        rows.iter().map(text).collect()
    }

    #[inline(always)]
    fn is_present(&self, row: usize) -> bool {
        self.present
            .is_none_or(|(bits, first)| bits[(first + row) / 8] >> ((first + row) % 8) & 1 == 1)
    }

    #[inline(always)]
    fn text(&self, row: usize) -> &'a [u8] {
        &self.bytes[self.ends[row] as usize..self.ends[row + 1] as usize]
    }

    #[inline(always)]
    fn length(&self, row: usize) -> usize {
        (self.ends[row + 1] - self.ends[row]) as usize
    }
}

/// What tells labels apart: a short text itself, else its hash; its length.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    word: u64,
    length: u32,
}

/// A key and its code side by side, without the gap that a `Key` ends in: four to a line of the cache.
#[derive(Clone, Copy)]
struct Slot {
    word: u64,
    length: u32,
    code: u32,
}

impl Slot {
    #[inline(always)]
    fn key(&self) -> Key {
        Key { word: self.word, length: self.length }
    }
}

const EMPTY: Slot = Slot { word: 0, length: 0, code: u32::MAX };

/// Open addressing with steps of one slot, at most half full.
struct Table {
    slots: Vec<Slot>,
    n: usize,
}

impl Table {
    fn new() -> Self {
        Self { slots: filled(EMPTY, FIRST_SLOTS), n: 0 }
    }

    #[inline(always)]
    fn place(&self, key: Key) -> usize {
        let word = key.word ^ (key.word >> 32) ^ u64::from(key.length);
        (word.wrapping_mul(MIX) >> (64 - self.slots.len().trailing_zeros())) as usize
    }

    /// The slot of a label, and whether it is there; `is_same` compares it with that of a code.
    fn find(&self, key: Key, is_same: impl Fn(u32) -> bool) -> (usize, bool) {
        let mask = self.slots.len() - 1;
        let mut at = self.place(key);
        loop {
            let slot = self.slots[at];
            if slot.code == u32::MAX {
                return (at, false);
            }
            if slot.key() == key && is_same(slot.code) {
                return (at, true);
            }
            at = (at + 1) & mask;
        }
    }

    /// Gives a label that is not there the next code.
    fn insert(&mut self, at: usize, key: Key) -> u32 {
        let code = self.n as u32;
        self.slots[at] = Slot { word: key.word, length: key.length, code };
        self.n += 1;
        if 2 * self.n > self.slots.len() {
            self.grow();
        }
        code
    }

    fn grow(&mut self) {
        let larger = filled(EMPTY, 2 * self.slots.len());
        let old = std::mem::replace(&mut self.slots, larger);
        for slot in old.into_iter().filter(|slot| slot.code != u32::MAX) {
            let (at, _) = self.find(slot.key(), |_| false);
            self.slots[at] = slot;
        }
    }
}

/// Codes of rows by their keys, `None` for one without a label; `None` once more than `most` differ.
///
/// `is_same` says whether two rows of one key have the same label.
#[inline(always)]
fn code_rows(
    n: usize,
    most: usize,
    key: impl Fn(usize) -> Option<Key>,
    is_same: impl Fn(usize, usize) -> bool,
) -> Option<Coded> {
    let (mut codes, mut first_rows) = (filled(-1_i32, n), Vec::<u32>::new());
    let mut table = Table::new();
    let (mut keys, mut places, mut seen) = ([None; BLOCK], [0; BLOCK], [EMPTY; BLOCK]);
    for (block, codes) in codes.chunks_mut(BLOCK).enumerate() {
        if block % BLOCKS_AT_ONCE == 0 {
            stop::check();
        }
        // Slots of labels in random order are far apart: those of a block are fetched together, by
        // nothing but loads, of which the processor then has as many under way as it can.
        for i in 0..codes.len() {
            keys[i] = key(block * BLOCK + i);
            places[i] = keys[i].map_or(0, |key| table.place(key));
        }
        for (slot, &place) in seen.iter_mut().zip(&places[..codes.len()]) {
            *slot = table.slots[place];
        }
        for (i, code) in codes.iter_mut().enumerate() {
            let Some(key) = keys[i] else { continue };
            let row = block * BLOCK + i;
            let same = |code: u32| is_same(first_rows[code as usize] as usize, row);
            if seen[i].code != u32::MAX && seen[i].key() == key && same(seen[i].code) {
                *code = seen[i].code as i32;
                continue;
            }
            let (at, found) = table.find(key, same);
            if found {
                *code = table.slots[at].code as i32;
                continue;
            }
            if first_rows.len() == most {
                return None;
            }
            *code = table.insert(at, key) as i32;
            first_rows.push(row as u32);
        }
    }
    Some(Coded { codes, first_rows })
}

/// Codes of texts, which are numbered in the order of their bytes: that of their code points.
///
/// # Panics
/// If texts lie outside the bytes.
#[must_use]
pub fn code_texts(texts: Texts) -> Coded {
    let n = texts.ends.len().saturating_sub(1);
    let is_same = |first: usize, row: usize| {
        texts.length(row) <= WORD || texts.text(first) == texts.text(row)
    };
    let key = |row: usize| {
        let (from, to) = (texts.ends[row] as usize, texts.ends[row + 1] as usize);
        texts.is_present(row).then(|| key_of(texts.bytes, from, to))
    };
    let mut coded = code_rows(n, usize::MAX, key, is_same).expect("no limit was set");
    sort_labels(&mut coded, |row| texts.text(row as usize));
    coded
}

/// Numbers labels in their order instead of that in which they appear.
fn sort_labels<'a>(coded: &mut Coded, label: impl Fn(u32) -> &'a [u8]) {
    let labels: Vec<&[u8]> = coded.first_rows.iter().map(|&row| label(row)).collect();
    if labels.is_sorted() {
        return;
    }
    // Compared by the word in which they begin to differ; labels themselves lie far apart.
    let alike = common_prefix(&labels);
    let key = |code: usize| (leading_word(&labels[code][alike..]), code as u32);
    let mut order: Vec<(u64, u32)> = (0..labels.len()).map(key).collect();
    order.sort_unstable_by(|(a, first), (b, second)| {
        a.cmp(b).then_with(|| labels[*first as usize].cmp(labels[*second as usize]))
    });
    let mut rank = filled(0_i32, order.len());
    for (place, &(_, code)) in order.iter().enumerate() {
        rank[code as usize] = place as i32;
    }
    coded.first_rows = order.iter().map(|&(_, code)| coded.first_rows[code as usize]).collect();
    for code in coded.codes.iter_mut().filter(|code| **code >= 0) {
        *code = rank[*code as usize];
    }
}

/// Bytes with which all labels begin.
fn common_prefix(labels: &[&[u8]]) -> usize {
    let first = labels.first().copied().unwrap_or_default();
    labels.iter().fold(first.len(), |alike, label| {
        first[..alike].iter().zip(*label).take_while(|(a, b)| a == b).count()
    })
}

/// The first bytes as a number that is ordered as they are, but for zeros at the end.
fn leading_word(text: &[u8]) -> u64 {
    let mut word = [0; WORD];
    let n = text.len().min(WORD);
    word[..n].copy_from_slice(&text[..n]);
    u64::from_be_bytes(word)
}

/// Codes of numbers; `None` once more than `most` differ.
#[must_use]
pub fn code_numbers(numbers: &[i64], most: usize) -> Option<Coded> {
    let key = |row: usize| Some(Key { word: numbers[row] as u64, length: 0 });
    code_rows(numbers.len(), most, key, |_, _| true)
}

/// The text from one byte to another: a short one as a number with its bytes, which together with its
/// length is the text; of a long one a hash.
#[inline(always)]
fn key_of(bytes: &[u8], from: usize, to: usize) -> Key {
    let length = to - from;
    let number = |word: &[u8]| word.try_into().map_or(0, u64::from_le_bytes);
    let word = if length > WORD {
        // Words from the front, and the last one once more from the end: every byte counts.
        let words = bytes[from..to].chunks_exact(WORD).map(number);
        words.fold(number(&bytes[to - WORD..to]), mixed)
    } else if let (Some(word), true) = (bytes.get(from..from + WORD), length > 0) {
        // Read whole: what follows the text is cut off.
        number(word) << (8 * (WORD - length)) >> (8 * (WORD - length))
    } else {
        bytes[from..to].iter().rev().fold(0, |word, &byte| (word << 8) | u64::from(byte))
    };
    Key { word, length: length as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(labels: &[&str]) -> (Vec<i64>, Vec<u8>) {
        let mut ends = vec![0];
        let mut bytes = Vec::new();
        for label in labels {
            bytes.extend_from_slice(label.as_bytes());
            ends.push(bytes.len() as i64);
        }
        (ends, bytes)
    }

    #[test]
    fn texts_are_numbered_in_their_order() {
        let (ends, bytes) = texts(&["b", "", "a\0", "b", "a", "a\0", "longer than a word", ""]);
        let coded = code_texts(Texts { ends: &ends, bytes: &bytes, present: None });
        assert_eq!(coded.codes, vec![3, 0, 2, 3, 1, 2, 4, 0]);
        assert_eq!(coded.first_rows, vec![1, 4, 2, 0, 6]);
    }

    /// Labels that begin alike for more than a word, differ behind one, or end in zeros.
    #[test]
    fn labels_that_begin_alike_stand_in_their_order() {
        let beginnings = ["", "s", "subject no. ", "a word and one more "];
        for beginning in beginnings {
            let ends = ["9", "10", "", "\0", "1\0", "1", "same word, then b", "same word, then a"];
            let labels: Vec<String> = ends.iter().map(|end| format!("{beginning}{end}")).collect();
            let (ends, bytes) = texts(&labels.iter().map(String::as_str).collect::<Vec<_>>());
            let coded = code_texts(Texts { ends: &ends, bytes: &bytes, present: None });
            let mut sorted = labels.clone();
            sorted.sort();
            let found: Vec<&String> =
                coded.codes.iter().map(|&code| &sorted[code as usize]).collect();
            assert_eq!(found, labels.iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn rows_without_a_label_have_no_code() {
        let (ends, bytes) = texts(&["a", "", "b"]);
        // The first row's bit is the second of the first byte.
        let present: Option<(&[u8], usize)> = Some((&[0b1010], 1));
        let coded = code_texts(Texts { ends: &ends, bytes: &bytes, present });
        assert_eq!(coded.codes, vec![0, -1, 1]);
        assert_eq!(coded.first_rows, vec![0, 2]);
    }

    #[test]
    fn many_labels_are_told_apart() {
        // Lengths about that of a word, and texts that differ in one byte at any place.
        let labels: Vec<String> = (0..20_000_usize)
            .map(|k| format!("{:0width$}", k * 7919 % 20_011, width = 5 + k % 19))
            .collect();
        let twice: Vec<&str> = labels.iter().chain(&labels).map(String::as_str).collect();
        let (ends, bytes) = texts(&twice);
        let coded = code_texts(Texts { ends: &ends, bytes: &bytes, present: None });
        let sorted: std::collections::BTreeSet<&str> = twice.iter().copied().collect();
        let sorted: Vec<&str> = sorted.into_iter().collect();
        let found: Vec<&str> = coded.codes.iter().map(|&code| sorted[code as usize]).collect();
        assert_eq!(found, twice);
        let first: Vec<&str> = coded.first_rows.iter().map(|&row| twice[row as usize]).collect();
        assert_eq!(first, sorted);
    }

    #[test]
    fn numbers_are_coded_up_to_a_limit() {
        let numbers = [7, -1, 7, 0, i64::MIN, -1];
        let coded = code_numbers(&numbers, 4).expect("four differ");
        assert_eq!(coded.codes, vec![0, 1, 0, 2, 3, 1]);
        assert_eq!(coded.first_rows, vec![0, 1, 3, 4]);
        assert!(code_numbers(&numbers, 3).is_none());
    }
}
