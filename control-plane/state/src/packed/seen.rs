//! Which bytes came before, and as the how-manieth: a table that is only asked, never walked, so its order is nobody's.

/// Byte strings in the order in which they were added.
#[derive(Debug, Default)]
pub struct Seen {
    all: Vec<u8>,
    /// Start and end of each in `all`.
    places: Vec<(u32, u32)>,
    /// Open addressing: a number plus one, 0 for a free place.
    slots: Vec<u32>,
}

impl Seen {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Their length together.
    pub fn bytes(&self) -> usize {
        self.all.len()
    }

    /// The one of that number.
    pub fn get(&self, number: u32) -> &[u8] {
        let (start, end) = self.places[number as usize];
        &self.all[start as usize..end as usize]
    }

    /// The number of these bytes, if they were added.
    pub fn find(&self, bytes: &[u8]) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut slot = hash(bytes) as usize & mask;
        loop {
            match self.slots[slot] {
                0 => return None,
                number if self.get(number - 1) == bytes => return Some(number - 1),
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    /// Adds bytes that are not there; gives their number. The caller bounds how many and how long.
    pub fn add(&mut self, bytes: &[u8]) -> u32 {
        if (self.places.len() + 1) * 2 > self.slots.len() {
            self.grow();
        }
        let (number, start) = (self.places.len() as u32, self.all.len() as u32);
        self.all.extend_from_slice(bytes);
        self.places.push((start, self.all.len() as u32));
        self.place(number);
        number
    }

    fn grow(&mut self) {
        let len = (self.slots.len() * 2).max(64);
        self.slots.clear();
        self.slots.resize(len, 0);
        for number in 0..self.places.len() as u32 {
            self.place(number);
        }
    }

    fn place(&mut self, number: u32) {
        let mask = self.slots.len() - 1;
        let mut slot = hash(self.get(number)) as usize & mask;
        while self.slots[slot] != 0 {
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = number + 1;
    }
}

/// Good enough for a table: who chooses texts that meet makes his own snapshot slow.
fn hash(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(FACTOR).rotate_left(29);
    }
    for byte in chunks.remainder() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(FACTOR).rotate_left(29);
    }
    hash.wrapping_mul(FACTOR) >> 20
}
