//! What one parse may still cost, and how much of its randomness is used up. It goes from evaluator to evaluator, so
//! that a text with many small parts costs no more than one with a large part.

use ring::digest::{SHA256, digest};

/// Units left, and draws made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meter {
    units_left: usize,
    draws: u64,
}

impl Meter {
    pub fn new(units: usize) -> Meter {
        Meter { units_left: units, draws: 0 }
    }

    /// Takes units; false when so many are not left.
    pub fn take(&mut self, units: usize) -> bool {
        let left = self.units_left.checked_sub(units);
        self.units_left = left.unwrap_or(self.units_left);
        left.is_some()
    }

    /// Takes units, or what is left of them.
    pub fn take_up_to(&mut self, units: usize) {
        self.units_left = self.units_left.saturating_sub(units);
    }

    /// Takes all.
    pub fn empty(&mut self) {
        self.units_left = 0;
    }

    /// The next bytes that follow from a seed.
    pub fn draw(&mut self, seed: &[u8; 32]) -> [u8; 16] {
        self.draws += 1;
        let hashed = digest(&SHA256, &[seed.as_slice(), &self.draws.to_le_bytes()].concat());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hashed.as_ref()[..16]);
        bytes
    }
}
