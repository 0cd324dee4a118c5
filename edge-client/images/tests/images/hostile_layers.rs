//! Layers made to do harm: nothing outside changes, nothing stays, and one sentence says what was wrong.

use std::io::Read;

use drover_images::{Bounds, Digest};
use tar::EntryType;

use crate::Case;
use crate::fake::Fake;
use crate::made::{Made, Tar, gzip};
use crate::support::{Place, names, settings};

pub const CASES: &[Case] = &[
    ("hostile_layers::no_entry_reaches_outside", no_entry_reaches_outside),
    ("hostile_layers::bombs_are_stopped", bombs_are_stopped),
    ("hostile_layers::what_is_damaged_is_refused", what_is_damaged_is_refused),
    ("hostile_layers::deep_ones_are_removed_again", deep_ones_are_removed_again),
    ("hostile_layers::a_layer_is_not_taken_for_another", a_layer_is_not_taken_for_another),
];

/// Pulls an image of one layer, sent as it is, with small bounds. Gives the sentence of the refusal, or an empty one.
fn pull(bytes: Vec<u8>, diff_id: Digest) -> (Place, String) {
    let made = Made::sent(&[(bytes, diff_id)]);
    let fake = Fake::start(move |seen| made.answer(seen));
    let mut settings = settings(&[&fake.host]);
    settings.bounds = Bounds { unpacked_bytes_max: 2 << 20, entries_max: 300, ..settings.bounds };
    let place = Place::new(settings);
    let outcome = place.pull(&format!("{}/a", fake.host)).map(drop);
    place.assert_clean();
    let sentence = outcome.as_ref().err().map_or(String::new(), |error| error.sentence());
    if outcome.is_err() {
        assert!(place.names("layers").is_empty() && place.names("images").is_empty(), "{sentence}");
    }
    (place, sentence)
}

fn tarred(tar: Tar) -> (Place, String) {
    let tar = tar.end();
    let diff_id = Digest::of(&tar);
    pull(gzip(&tar), diff_id)
}

fn no_entry_reaches_outside() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "s").unwrap();
    let target = outside.path().to_str().unwrap();
    let below = &target[1..];
    let check = |tar: Tar, reason: &str| {
        let (place, sentence) = tarred(tar);
        assert!(sentence.contains(reason), "{sentence} instead of {reason}");
        assert_eq!(names(outside.path()), ["secret"]);
        assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"s");
        assert_eq!(names(place.path()), ["images", "layers", "leases", "lock", "partial", "temporary"]);
    };
    let up = "../".repeat(12);
    check(Tar::new().file("../evil", ""), "`../evil` leads out of the layer");
    check(Tar::new().dir("a").file("a/../../evil", ""), "leads out");
    check(Tar::new().file(&format!("{up}{below}/evil"), ""), "leads out");
    check(Tar::new().file("../.wh.secret", ""), "leads out");
    check(Tar::new().file(".wh...", ""), "Invalid argument");
    check(Tar::new().hard_link("h", &format!("{target}/secret")), "No such file");
    check(Tar::new().hard_link("h", &format!("{up}{below}/secret")), "leads out");
    check(Tar::new().symlink("l", target).hard_link("h", "l/secret"), "No such file");
    check(Tar::new().symlink("l", target).file("l/evil", ""), "File exists");
    check(Tar::new().symlink("l", target).file("l/.wh.secret", ""), "File exists");
    // A link in the place of a file: it is replaced, not written through.
    check(Tar::new().symlink("l", &format!("{target}/secret")).file("l", "overwritten"), "");
    // Upwards from the root is the root.
    check(Tar::new().symlink("l", &up).dir(below).file(&format!("l/{below}/evil"), ""), "");
    // A directory that was used becomes a link.
    check(Tar::new().dir("d").file("d/a", "").symlink("d", target).file("d/evil", ""), "File exists");
    check(Tar::new().symlink("l", "/proc/self/root").file("l/evil", ""), "File exists");
    check(Tar::new().symlink("a", "b").symlink("b", "a").file("a/x", ""), "Too many levels");
    // What the store itself writes beside the layer's root is not theirs to plant.
    check(Tar::new().symlink("l", "../trash").file("l/layer.json", ""), "File exists");
    check(Tar::new().dir("d").hard_link("h", "d"), "Operation not permitted");
    check(Tar::new().file(".wh.w", "").hard_link("h", "w"), "Operation not permitted");
}

fn bombs_are_stopped() {
    let check = |bytes: Vec<u8>, reason: &str| {
        let (_place, sentence) = pull(bytes, Digest::of(b""));
        assert!(sentence.contains(reason), "{sentence} instead of {reason}");
    };
    let zeros = |size: usize| std::io::repeat(0).take(size as u64);
    // A header that promises much, and much.
    let header = |kind: EntryType, size: u64| {
        let mut header = tar::Header::new_gnu();
        header.set_path("bomb").unwrap();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    let with_zeros = |head: Vec<u8>, size: usize| {
        let mut bytes = head;
        zeros(size).read_to_end(&mut bytes).unwrap();
        gzip(&bytes)
    };
    let max = "more than 2.0 MiB";
    check(with_zeros(header(EntryType::Regular, 8 << 20), 8 << 20), max);
    check(gzip(&header(EntryType::Regular, 1 << 50)), max);
    check(with_zeros(header(EntryType::GNULongName, 8 << 20), 8 << 20), max);
    check(with_zeros(header(EntryType::XHeader, 8 << 20), 8 << 20), max);
    check(with_zeros(Tar::new().file("a", "").end(), 8 << 20), max);
    let many = (0..400).fold(Tar::new(), |tar, number| tar.file(&format!("f{number}"), ""));
    check(gzip(&many.end()), "more than 300 entries");
}

fn what_is_damaged_is_refused() {
    let tar = Tar::new().file("a", vec![7; 100_000]).end();
    let diff_id = Digest::of(&tar);
    let check = |bytes: &[u8], reason: &str| {
        let (_place, sentence) = pull(bytes.to_vec(), diff_id.clone());
        assert!(sentence.contains(reason), "{sentence} instead of {reason}");
    };
    let packed = gzip(&tar);
    check(&packed, "");
    check(&packed[..packed.len() / 2], "it is cut short");
    check(&tar[..50_000], "it is cut short in `a`");
    check(&[packed.as_slice(), b"garbage"].concat(), "can not be unpacked");
    check(b"BZh91AY&SY", "compressed with bzip2");
    check(b"\xfd7zXZ\0", "compressed with xz");
    check(b"\x28\xb5\x2f\xfd\xff\xff\xff\xff", "can not be unpacked");
    check(&[b'x'; 2048], "can not be unpacked");
    check(&gzip(&Tar::new().file("b", "").end()), "and the image's configuration wants");
}

fn deep_ones_are_removed_again() {
    // Each link makes the next step begin where the last one ended: 300 deep, and then an error.
    let deep = "d/".repeat(19);
    let mut tar = Tar::new();
    let mut at = "l".to_owned();
    tar = tar.dir(&deep).symlink(&at, &deep[..deep.len() - 1]);
    for step in 0..15 {
        tar = tar.dir(&format!("{at}/{deep}"));
        let next = format!("l{step}");
        tar = tar.symlink(&next, &format!("{at}/{}", &deep[..deep.len() - 1]));
        at = next;
    }
    let (_place, sentence) = tarred(tar.file("../end", ""));
    assert!(sentence.contains("leads out"), "{sentence}");
}

fn a_layer_is_not_taken_for_another() {
    let good = Tar::new().file("a", "good").end();
    let bad = Tar::new().file("a", "bad").end();
    let (good_image, bad_image) =
        (Made::of(std::slice::from_ref(&good)), Made::sent(&[(gzip(&bad), Digest::of(&good))]));
    let fake =
        Fake::start(
            move |seen| if seen.target.contains("/good/") { good_image.answer(seen) } else { bad_image.answer(seen) },
        );
    let place = Place::with(&fake.host);
    assert!(place.refusal(&format!("{}/bad", fake.host)).contains("configuration wants"));
    let image = place.pull(&format!("{}/good", fake.host)).unwrap();
    assert_eq!(std::fs::read(image.layers[0].join("a")).unwrap(), b"good");
    // Nor when it is there already.
    assert!(place.refusal(&format!("{}/bad", fake.host)).contains("configuration wants"));
}
