//! Numbers and ids derived from a seed: the same seed gives the same plan, so a schedule can be replayed.

/// A stream of numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Seeds {
    state: u64,
}

impl Seeds {
    /// A stream for one purpose: `salt` (an eval's id, a node's id) keeps streams of one seed apart.
    pub fn new(seed: u64, salt: &[u8]) -> Self {
        Self { state: mix(seed, salt) }
    }

    /// The next number.
    pub fn next_number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        finish(self.state)
    }

    /// The next sixteen bytes, for an id.
    pub fn next_bytes(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.next_number().to_le_bytes());
        bytes[8..].copy_from_slice(&self.next_number().to_le_bytes());
        bytes
    }
}

/// A hash of a seed and some bytes, the same on every machine.
pub fn mix(seed: u64, bytes: &[u8]) -> u64 {
    let mut state = finish(seed ^ 0x9e37_79b9_7f4a_7c15);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        state = finish(state.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ u64::from_le_bytes(word));
    }
    state
}

fn finish(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ_by_salt() {
        let first = |salt: &[u8]| Seeds::new(7, salt).next_number();
        assert_eq!(first(b"a"), first(b"a"));
        assert_ne!(first(b"a"), first(b"b"));
        assert_ne!(mix(1, b"a"), mix(2, b"a"));
    }
}
