//! Damage: bytes, words and whole stretches of a text changed, moved, repeated, nested and mixed with another's.

use std::ops::Range;

use crate::random::Random;

/// The longest text that is made; the limits of the parsers themselves are tried by texts of their own.
pub const BYTES_MAX: usize = 48 * 1024;

/// Numbers at the edges of something.
const NUMBERS: [&str; 18] = [
    "0",
    "-1",
    "1",
    "255",
    "65536",
    "2147483648",
    "4294967295",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551616",
    "1e400",
    "-1e400",
    "1e99999",
    "0.1",
    "1e-400",
    "123456789012345678901234567890",
    "00",
];

/// Pairs that nest.
const BRACKETS: [(&str, &str); 9] = [
    ("{", "}"),
    ("[", "]"),
    ("(", ")"),
    ("\"${", "}\""),
    ("%{ if true }", "%{ endif }"),
    ("{\"a\":", "}"),
    ("x {\n", "}\n"),
    ("[for v in [1] : ", "]"),
    ("not (", ")"),
];

/// A damaged text: one of the corpus, or a new one from words.
pub fn text(corpus: &[Vec<u8>], words: &[&str], random: &mut Random) -> Vec<u8> {
    let mut bytes = match corpus.is_empty() || random.below(32) == 0 {
        true => Vec::new(),
        false => random.pick(corpus).clone(),
    };
    // Most inputs are damaged little, so that they get past the first check.
    let times = match random.below(8) {
        0..4 => 1,
        4..7 => 1 + random.below(4),
        _ => 1 + random.below(24),
    };
    for _ in 0..times {
        damage(&mut bytes, corpus, words, random);
        bytes.truncate(BYTES_MAX);
    }
    bytes
}

fn damage(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str], random: &mut Random) {
    let place = random.below(bytes.len() + 1);
    match random.below(14) {
        0 => {
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            // The lowest byte of a number that has eight.
            bytes.insert(place, random.number() as u8);
        }
        2 => drop(bytes.drain(stretch(bytes.len(), 40, random))),
        3 | 4 => insert(bytes, place, random.pick(words).as_bytes()),
        5 => {
            let word = word_at(bytes, place);
            drop(bytes.splice(word, random.pick(words).bytes()));
        }
        6 => {
            let number = number_from(bytes, place);
            drop(bytes.splice(number, random.pick(&NUMBERS).bytes()));
        }
        7 => {
            let copy = bytes[stretch(bytes.len(), 200, random)].to_vec();
            insert(bytes, place, &copy);
        }
        8 => {
            let copy = bytes[stretch(bytes.len(), 30, random)].to_vec();
            let times = 1 << random.below(11);
            let room = BYTES_MAX.saturating_sub(bytes.len()) / copy.len().max(1);
            insert(bytes, place, &copy.repeat(times.min(room)));
        }
        9 => {
            let (open, close) = random.pick(&BRACKETS);
            let most = if random.below(4) == 0 { 4000 } else { 8 };
            let times = 1 + random.below(most);
            let inside = stretch(bytes.len(), 60, random);
            insert(bytes, inside.end, close.repeat(times).as_bytes());
            insert(bytes, inside.start, open.repeat(times).as_bytes());
        }
        10 if !corpus.is_empty() => {
            let other = random.pick(corpus);
            let piece = &other[stretch(other.len(), 400, random)];
            insert(bytes, place, piece);
        }
        11 if !corpus.is_empty() => {
            let other = random.pick(corpus);
            bytes.truncate(place);
            bytes.extend_from_slice(&other[random.below(other.len())..]);
        }
        12 => bytes.truncate(place),
        _ => {
            // Two lines change places.
            let (first, second) = (line_at(bytes, place), line_at(bytes, random.below(bytes.len() + 1)));
            if first.end <= second.start {
                let moved = bytes[second.clone()].to_vec();
                let stayed = bytes[first.clone()].to_vec();
                drop(bytes.splice(second, stayed));
                drop(bytes.splice(first, moved));
            }
        }
    }
}

fn insert(bytes: &mut Vec<u8>, place: usize, piece: &[u8]) {
    drop(bytes.splice(place..place, piece.iter().copied()));
}

/// A stretch of at most `longest` bytes.
fn stretch(len: usize, longest: usize, random: &mut Random) -> Range<usize> {
    let start = random.below(len + 1);
    start..(start + random.below(longest + 1)).min(len)
}

/// The letters, digits and marks of names around a place.
fn word_at(bytes: &[u8], place: usize) -> Range<usize> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let before = bytes[..place].iter().rev().take_while(|byte| is_word(byte)).count();
    let after = bytes[place..].iter().take_while(|byte| is_word(byte)).count();
    place - before..place + after
}

/// The next run of digits, or nothing at the place.
fn number_from(bytes: &[u8], place: usize) -> Range<usize> {
    let Some(skipped) = bytes[place..].iter().position(u8::is_ascii_digit) else { return place..place };
    let start = place + skipped;
    start..start + bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn line_at(bytes: &[u8], place: usize) -> Range<usize> {
    let start = bytes[..place].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let end = bytes[place..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |newline| place + newline + 1);
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_texts() {
        let corpus = [b"job \"a\" {\n  n = 12\n}\n".to_vec(), b"[1, 2]".to_vec()];
        let make = |input| text(&corpus, &["x", "${"], &mut Random::of(5, input));
        let all: Vec<Vec<u8>> = (0..2000).map(make).collect();
        assert_eq!(all, (0..2000).map(make).collect::<Vec<_>>());
        let different: std::collections::BTreeSet<&Vec<u8>> = all.iter().collect();
        assert!(different.len() > 1000, "{} different texts", different.len());
        assert!(all.iter().all(|text| text.len() <= BYTES_MAX));
    }
}
