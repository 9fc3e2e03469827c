//! PCG64DXSM: a congruential generator of 128 bits, of whose state a product of its halves is given.

/// Multiplier of the steps and of the output.
const MULTIPLIER: u64 = 0xda94_2042_e4dd_58b5;
/// 2^-53: what one of as many equal steps over the unit interval is.
const STEP: f64 = 1.0 / (1u64 << 53) as f64;

/// A stream.
pub struct Pcg {
    state: u128,
    increment: u128,
}

impl Pcg {
    /// Of a state and an increment, high words first.
    pub fn new(words: &[u64]) -> Self {
        let joined = |k: usize| u128::from(words[k]) << 64 | u128::from(words[k + 1]);
        Self { state: joined(0), increment: joined(2) }
    }

    /// The next 64 bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        let (mut high, low) = ((self.state >> 64) as u64, self.state as u64);
        self.state = self.state.wrapping_mul(u128::from(MULTIPLIER)).wrapping_add(self.increment);
        high ^= high >> 32;
        high = high.wrapping_mul(MULTIPLIER);
        high ^= high >> 48;
        high.wrapping_mul(low | 1)
    }

    /// The next number of [0, 1).
    #[inline]
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as i64 as f64 * STEP
    }
}
