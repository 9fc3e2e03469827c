//! Hashes of words.

/// Odd, with bits of both kinds everywhere: the fraction of the golden ratio.
pub const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash of some words and one more.
#[inline(always)]
#[must_use]
pub fn mixed(hash: u64, word: u64) -> u64 {
    let mixed = (hash.rotate_left(23) ^ word).wrapping_mul(MIX);
    mixed ^ (mixed >> 32)
}
