//! `bcrypt` and `uuidv4`: the two functions that need randomness. It follows from a seed that the caller gives.

use blowfish::Blowfish;

use super::{Answer, Context, Fault, Function, fixed, num, open, string, text_at, whole_at};
use crate::value::Value;

/// Least cost; a smaller one stands for the default.
const COST_MIN: i64 = 4;
/// Cost unless told otherwise.
const COST_DEFAULT: i64 = 10;
/// Largest cost there is.
const COST_MAX: i64 = 31;
/// Longest password.
const PASSWORD_BYTES_MAX: usize = 72;
/// What one of the `2^cost` rounds counts, each some 50 microseconds.
const ROUND_UNITS: usize = 60;
/// Bytes of the result that are shown.
const SHOWN_BYTES: usize = 23;

pub(super) const FUNCTIONS: &[Function] = &[
    open("bcrypt", &[string("str")], num("cost"), bcrypt),
    fixed("uuidv4", &[], |_, context| {
        let mut id = context.draw()?;
        id[6] = (id[6] & 0x0f) | 0x40;
        id[8] = (id[8] & 0x3f) | 0x80;
        Ok(super::hash::uuid_text(&id).into())
    }),
];

fn bcrypt(arguments: &[Value], context: &mut Context) -> Answer {
    let password = text_at(arguments, 0);
    let cost = match arguments.len() {
        1 => COST_DEFAULT,
        2 => whole_at(arguments, 1).map_err(|_| Fault::Call(NOT_WHOLE.to_string()))?,
        _ => return Fault::call("bcrypt() takes no more than two arguments"),
    };
    if password.len() > PASSWORD_BYTES_MAX {
        let reason = format!("bcrypt: password length exceeds {PASSWORD_BYTES_MAX} bytes");
        return Fault::call(format!("error occured generating password {reason}"));
    }
    let cost = if cost < COST_MIN { COST_DEFAULT } else { cost };
    if cost > COST_MAX {
        return Fault::call(format!(
            "error occured generating password crypto/bcrypt: cost {cost} is outside allowed inclusive range {COST_MIN}..{COST_MAX}"
        ));
    }
    context.spend(ROUND_UNITS << cost)?;
    let salt = context.draw()?;
    let hash = hash(password.as_bytes(), &salt, 1 << cost);
    Ok(format!("$2a${cost:02}${}{}", encoded(&salt), encoded(&hash[..SHOWN_BYTES])).into())
}

const NOT_WHOLE: &str = "value must be a whole number, between -9223372036854775808 and 9223372036854775807";

/// The hash itself (Provos and Mazieres, 1999): a cipher whose key setup is slow, run over a fixed text.
fn hash(password: &[u8], salt: &[u8; 16], rounds: u64) -> [u8; 24] {
    let key = [password, &[0]].concat();
    let mut cipher = Blowfish::bc_init_state();
    cipher.salted_expand_key(salt, &key);
    for _ in 0..rounds {
        cipher.bc_expand_key(&key);
        cipher.bc_expand_key(salt);
    }
    let mut out = *b"OrpheanBeholderScryDoubt";
    for block in out.chunks_exact_mut(8) {
        let word = |at: usize| u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
        let mut pair = [word(0), word(4)];
        for _ in 0..64 {
            pair = cipher.bc_encrypt(pair);
        }
        block[..4].copy_from_slice(&pair[0].to_be_bytes());
        block[4..].copy_from_slice(&pair[1].to_be_bytes());
    }
    out
}

/// Base64 with an alphabet of its own and no padding.
fn encoded(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..=group.len() {
            // Six bits are below 64.
            out.push(ALPHABET[(bits >> (18 - 6 * place) & 63) as usize] as char);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_others_do() {
        // From the test vectors of OpenBSD's bcrypt: salt and hash of "a", "abc" and the empty password at cost 6.
        let check = |password: &str, salt: [u8; 16], expected: &str| {
            let hash = hash(password.as_bytes(), &salt, 1 << 6);
            assert_eq!(format!("{}{}", encoded(&salt), encoded(&hash[..SHOWN_BYTES])), expected);
        };
        check("", decoded("DCq7YPn5Rq63x1Lad4cll."), "DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.");
        check("a", decoded("m0CrhHm10qJ3lXRY.5zDGO"), "m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe");
        check("abc", decoded("If6bvum7DFjUnE9p2uDeDu"), "If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i");
    }

    /// The 16 bytes behind 22 characters.
    fn decoded(text: &str) -> [u8; 16] {
        let mut bits: u128 = 0;
        let alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let values: Vec<u128> = text.chars().map(|c| alphabet.find(c).unwrap() as u128).collect();
        for value in &values[..21] {
            bits = bits << 6 | value;
        }
        (bits << 2 | values[21] >> 4).to_be_bytes()
    }
}
