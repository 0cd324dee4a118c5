//! `rsadecrypt`: PKCS #1 v1.5 with a key in PEM. Both the key and the text come from whoever wrote the job, so there
//! is nobody to whom the time that this takes could tell a secret; for anything else it is not safe.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use num_bigint::BigUint;

use super::{Answer, Context, Fault, Function, fixed, string, text_at};

/// Largest key.
const KEY_BITS_MAX: u64 = 8192;
const PEM_BEGIN: &str = "-----BEGIN RSA PRIVATE KEY-----";
const PEM_END: &str = "-----END RSA PRIVATE KEY-----";

pub(super) const FUNCTIONS: &[Function] =
    &[fixed("rsadecrypt", &[string("ciphertext"), string("privatekey")], |a, context| {
        decrypt(text_at(a, 0), text_at(a, 1), context)
    })];

/// A modulus and the exponent that undoes the public one.
struct Key {
    modulus: BigUint,
    exponent: BigUint,
}

fn decrypt(text: &str, key: &str, context: &mut Context) -> Answer {
    let Ok(cipher) = STANDARD.decode(text) else {
        return Fault::call(format!("failed to decode input \"{text}\": cipher text must be base64-encoded"));
    };
    let key = key_of(key).map_err(|reason| Fault::Call(reason.to_string()))?;
    let bits = key.modulus.bits();
    if bits > KEY_BITS_MAX {
        return Fault::call(format!("a key may have {KEY_BITS_MAX} bits"));
    }
    // As the cube of the length; some 7000 for a key of 2048 bits. The length is bounded, so it fits.
    context.spend((bits / 64).pow(3) as usize / 5)?;
    match plain(&cipher, &key) {
        Some(plain) => Ok(String::from_utf8_lossy(&plain).into_owned().into()),
        None => Fault::call("crypto/rsa: decryption error"),
    }
}

fn plain(cipher: &[u8], key: &Key) -> Option<Vec<u8>> {
    let width = usize::try_from(key.modulus.bits().div_ceil(8)).ok()?;
    let number = BigUint::from_bytes_be(cipher);
    if cipher.len() > width || number >= key.modulus || key.modulus < BigUint::from(3u8) || !key.modulus.bit(0) {
        return None;
    }
    let opened = number.modpow(&key.exponent, &key.modulus).to_bytes_be();
    // A leading zero is not part of a number; then a 2, eight random bytes at least that are not zero, a zero, the text.
    let filling = opened.strip_prefix(&[2]).filter(|_| opened.len() + 1 == width)?;
    let zero = filling.iter().position(|byte| *byte == 0).filter(|zero| *zero >= 8)?;
    Some(filling[zero + 1..].to_vec())
}

fn key_of(pem: &str) -> Result<Key, &'static str> {
    let Some((_, rest)) = pem.split_once("-----BEGIN ") else {
        return Err("failed to parse key: no key found");
    };
    let Some((body, _)) = pem.split_once(PEM_BEGIN).and_then(|(_, rest)| rest.split_once(PEM_END)) else {
        return Err(match rest.contains("-----END ") {
            true => "failed to parse key: it must be in PEM, as RSA PRIVATE KEY (PKCS #1)",
            false => "failed to parse key: no key found",
        });
    };
    if body.contains("ENCRYPTED") {
        return Err(
            "failed to parse key: password protected keys are not supported. Please decrypt the key prior to use",
        );
    }
    let body: String = body.split_whitespace().collect();
    let der = STANDARD.decode(body).map_err(|_| "failed to parse key: no key found")?;
    der_key(&der).ok_or("asn1: syntax error: truncated tag or length")
}

/// A sequence of numbers: version, modulus, public exponent, private exponent, and more that is not needed.
fn der_key(der: &[u8]) -> Option<Key> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    let (numbers, _) = element(der, SEQUENCE)?;
    let (_version, rest) = element(numbers, INTEGER)?;
    let (modulus, rest) = element(rest, INTEGER)?;
    let (_public, rest) = element(rest, INTEGER)?;
    let (exponent, _) = element(rest, INTEGER)?;
    let modulus = BigUint::from_bytes_be(modulus);
    let exponent = BigUint::from_bytes_be(exponent);
    // A longer exponent only takes longer.
    (exponent.bits() <= modulus.bits()).then_some(Key { modulus, exponent })
}

/// The content of the element at the start, which must have that tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (head, rest) = der.split_at_checked(2)?;
    let (length, rest) = match head[1] {
        short @ 0..0x80 => (usize::from(short), rest),
        long => {
            let (length, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            let length =
                length.iter().try_fold(0usize, |sum, byte| sum.checked_mul(256)?.checked_add((*byte).into()))?;
            (length, rest)
        }
    };
    (head[0] == tag).then(|| rest.split_at_checked(length))?
}

#[cfg(test)]
mod tests;
