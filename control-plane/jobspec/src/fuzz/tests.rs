//! Damaged job files, from a fixed seed: none may panic.

#![allow(clippy::disallowed_methods, reason = "tests read the fixtures")]

use std::path::Path;

/// A small generator with a fixed seed, so that a failure can be had again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Pieces that matter to the parsers.
const PIECES: [&[u8]; 16] = [
    b"{",
    b"}",
    b"\"",
    b"${",
    b"%{",
    b"<<EOF\n",
    b"[",
    b"]",
    b"=",
    b"\0",
    b"\xff\xfe",
    b"null",
    b"-9223372036854775808",
    b"1e999",
    b"for x in y : ",
    b"dynamic \"task\" { for_each = [1] content {} }",
];

fn damage(text: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = text.to_vec();
    for _ in 0..1 + random.below(4) {
        let place = random.below(bytes.len() + 1);
        match random.below(5) {
            0 => bytes.truncate(place),
            1 if place < bytes.len() => bytes[place] = random.next() as u8,
            2 => {
                bytes.splice(place..place, PIECES[random.below(PIECES.len())].iter().copied());
            }
            3 => {
                let end = (place + random.below(40)).min(bytes.len());
                bytes.drain(place..end);
            }
            _ => {
                let from = random.below(other.len());
                let to = (from + random.below(80)).min(other.len());
                bytes.splice(place..place, other[from..to].iter().copied());
            }
        }
    }
    bytes
}

#[test]
fn damaged_job_files_do_not_panic() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/jobspec-cases");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let is_text = |path: &Path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        path.is_file() && (name.ends_with(".nomad.hcl") || name.ends_with(".json")) && !name.starts_with("fn-hash")
    };
    let texts: Vec<Vec<u8>> =
        files.iter().filter(|path| is_text(path)).map(|path| std::fs::read(path).unwrap()).collect();
    assert!(texts.len() > 100);
    let mut random = Random(7);
    for round in 0..3000 {
        let text = &texts[round % texts.len()];
        let other = random.below(texts.len());
        super::fuzz_parse(&damage(text, &texts[other], &mut random));
    }
}
