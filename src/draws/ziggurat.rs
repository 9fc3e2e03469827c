//! Normal numbers by the ziggurat of Marsaglia and Tsang (2000), 256 layers.

use super::pcg::Pcg;
use super::tables::{DENSITY, INSIDE, WIDTH};

/// Where the last layer ends and the tail begins.
const TAIL: f64 = 3.654_152_885_361_009;
const OF_TAIL: f64 = 0.273_661_237_329_758_3;

/// The next standard normal number.
#[inline]
pub fn normal(stream: &mut Pcg) -> f64 {
    loop {
        let bits = stream.bits();
        let (layer, place) = ((bits & 0xff) as usize, bits >> 9 & 0x000f_ffff_ffff_ffff);
        let size = place as i64 as f64 * WIDTH[layer];
        // The sign is a bit, not a branch: half of all guesses of it would be wrong.
        let x = f64::from_bits(size.to_bits() | (bits >> 8 & 1) << 63);
        if place < INSIDE[layer] {
            return x;
        }
        if layer == 0 {
            return tail(stream, place >> 8 & 1 == 1);
        }
        if below_density(stream, layer, x) {
            return x;
        }
    }
}

/// Whether a point of the layer's edge lies under the density.
#[cold]
fn below_density(stream: &mut Pcg, layer: usize, x: f64) -> bool {
    let height = (DENSITY[layer - 1] - DENSITY[layer]) * stream.uniform() + DENSITY[layer];
    height < (-0.5 * x * x).exp()
}

/// A number beyond the last layer, by Marsaglia (1964).
#[cold]
fn tail(stream: &mut Pcg, negative: bool) -> f64 {
    loop {
        let beyond = -OF_TAIL * (-stream.uniform()).ln_1p();
        let y = -(-stream.uniform()).ln_1p();
        if y + y > beyond * beyond {
            let size = TAIL + beyond;
            return if negative { -size } else { size };
        }
    }
}
