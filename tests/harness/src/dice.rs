//! Chance with a seed that is printed, and sizes of tests that the environment can raise.

use std::time::{SystemTime, UNIX_EPOCH};

/// A sequence of numbers that its seed has again.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Of the seed in `DROVER_SEED`, or of this moment; says which.
    pub fn of_environment(test: &str) -> Self {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_nanos() as u64);
        let seed = std::env::var("DROVER_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(now);
        println!("{test}: DROVER_SEED={seed}");
        Self(seed)
    }

    /// Of that seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `sides`, which must not be zero.
    pub fn roll(&mut self, sides: usize) -> usize {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).unwrap_or_default()
    }
}

/// A size of a test: `gate`, unless the environment names another.
///
/// # Panics
/// What it names is no number.
pub fn size(variable: &str, gate: usize) -> usize {
    std::env::var(variable).map_or(gate, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}
