//! Hashes of text, and the identifiers made from them.

use ring::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512, digest};

use super::{Answer, Fault, Function, fixed, string, text_at};
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("md5", &[string("str")], |a, _| Ok(hex(&md5(text_at(a, 0).as_bytes())).into())),
    fixed("sha1", &[string("str")], |a, _| Ok(hash(&SHA1_FOR_LEGACY_USE_ONLY, text_at(a, 0)))),
    fixed("sha256", &[string("str")], |a, _| Ok(hash(&SHA256, text_at(a, 0)))),
    fixed("sha512", &[string("str")], |a, _| Ok(hash(&SHA512, text_at(a, 0)))),
    fixed("uuidv5", &[string("namespace"), string("name")], |a, _| uuidv5(text_at(a, 0), text_at(a, 1))),
];

fn hash(algorithm: &'static Algorithm, text: &str) -> Value {
    Value::String(hex(digest(algorithm, text.as_bytes()).as_ref()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn uuidv5(namespace: &str, name: &str) -> Answer {
    // The four namespaces of RFC 9562 differ in one digit.
    let well_known = |digit: char| format!("6ba7b81{digit}9dad11d180b400c04fd430c8");
    let digits = match namespace {
        "dns" => well_known('0'),
        "url" => well_known('1'),
        "oid" => well_known('2'),
        "x500" => well_known('4'),
        other => other.replace('-', ""),
    };
    let bytes: Option<Vec<u8>> = match digits.len() == 32 && digits.is_ascii() {
        true => (0..16).map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).ok()).collect(),
        false => None,
    };
    let Some(bytes) = bytes else {
        return Fault::call(format!(
            "uuidv5() doesn't support namespace {namespace} (invalid UUID length: {})",
            namespace.len()
        ));
    };
    let hashed = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[&bytes, name.as_bytes()].concat());
    let mut id = hashed.as_ref()[..16].to_vec();
    id[6] = (id[6] & 0x0f) | 0x50;
    id[8] = (id[8] & 0x3f) | 0x80;
    Ok(uuid_text(&id).into())
}

/// The usual form of the 16 bytes of a UUID.
pub(super) fn uuid_text(id: &[u8]) -> String {
    let id = hex(id);
    format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..])
}

/// MD5 (RFC 1321): kept for texts that need it, good for nothing that must be safe.
fn md5(input: &[u8]) -> [u8; 16] {
    const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let mut state: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let mut padded = input.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if padded.len() - input.len() < 9 {
        padded.resize(padded.len() + 64, 0);
    }
    let length_at = padded.len() - 8;
    padded[length_at..].copy_from_slice(&(input.len() as u64).wrapping_mul(8).to_le_bytes());
    for block in padded.chunks_exact(64) {
        let word = |i: usize| u32::from_le_bytes([block[4 * i], block[4 * i + 1], block[4 * i + 2], block[4 * i + 3]]);
        let [mut a, mut b, mut c, mut d] = state;
        for i in 0..64 {
            let (mixed, at) = match i / 16 {
                0 => ((b & c) | (!b & d), i),
                1 => ((d & b) | (!d & c), (5 * i + 1) % 16),
                2 => (b ^ c ^ d, (3 * i + 5) % 16),
                _ => (c ^ (b | !d), (7 * i) % 16),
            };
            // The constants are the first 32 bits of the fraction of sin(i + 1).
            let constant = (((i + 1) as f64).sin().abs() * 4_294_967_296.0) as u32;
            let sum = a.wrapping_add(mixed).wrapping_add(constant).wrapping_add(word(at));
            (a, d, c) = (d, c, b);
            b = b.wrapping_add(sum.rotate_left(SHIFTS[i / 16][i % 4]));
        }
        for (kept, added) in state.iter_mut().zip([a, b, c, d]) {
            *kept = kept.wrapping_add(added);
        }
    }
    let mut out = [0; 16];
    for (i, word) in state.iter().enumerate() {
        out[4 * i..4 * i + 4].copy_from_slice(&word.to_le_bytes());
    }
    out
}
