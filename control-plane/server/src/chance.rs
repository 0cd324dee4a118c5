//! The one place where a server takes randomness: for ids, and for the seeds that the pure crates derive theirs from.

/// 16 random bytes.
///
/// # Panics
/// The operating system gives no randomness: nothing secure can be done then.
pub fn bytes16() -> [u8; 16] {
    bytes()
}

/// A seed for a pure step.
pub fn seed() -> u64 {
    u64::from_le_bytes(bytes())
}

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}
