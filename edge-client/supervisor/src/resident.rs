//! What stays mapped of a program that has started: small devices need the memory for something else.
//!
//! The kernel maps code around each place that is used, in pieces of 64 KiB, and spares mapped code when it looks for memory. Most
//! of it is used once, at the start. Taken off the map it is read again where it is needed, mostly from the page cache.

use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;

/// Gives back what is free, and takes the program's code and constants off the map as far as they are as in its file.
pub fn give_back() {
    crate::sys::give_back_free_memory();
    let Ok(maps) = std::fs::read_to_string("/proc/self/smaps") else { return };
    let Ok(program) = std::fs::metadata("/proc/self/exe") else { return };
    for range in unchanged(&maps, program.ino()) {
        crate::sys::unmap_unchanged(range);
    }
}

/// The ranges of a file, which is named by its inode, that nobody can write to and of which no page differs from the file.
fn unchanged(smaps: &str, inode: u64) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut current = None;
    for line in smaps.lines() {
        if let Some(range) = range_of(line) {
            let mut words = line.split_whitespace();
            let is_read_only = words.nth(1).is_some_and(|rights| rights.starts_with('r') && !rights.contains('w'));
            let is_file = words.nth(2).and_then(|inode| inode.parse().ok()) == Some(inode);
            current = (is_read_only && is_file).then_some(range);
        } else if let Some(size) = line.strip_prefix("Anonymous:") {
            // Pages that were changed, by relocation for one, are nobody's file any more.
            found.extend(current.take().filter(|_| size.trim() == "0 kB"));
        }
    }
    found
}

/// Of a line such as `55d0c0000000-55d0c0021000 r-xp 00000000 fe:00 1234 /usr/bin/drover-edge`.
fn range_of(line: &str) -> Option<Range<usize>> {
    let (from, to) = line.split_whitespace().next()?.split_once('-')?;
    Some(usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_as_in_the_file_goes() {
        let mapping =
            |head: &str, changed: &str| format!("{head}\nSize: 8 kB\nAnonymous: {changed} kB\nVmFlags: rd mr\n");
        let smaps = [
            mapping("1000-3000 r--p 00000000 fe:00 7                  /bin/edge", "0"),
            mapping("3000-5000 r-xp 00002000 fe:00 7                  /bin/edge", "0"),
            mapping("5000-7000 r--p 00004000 fe:00 7                  /bin/edge", "8"),
            mapping("7000-9000 rw-p 00006000 fe:00 7                  /bin/edge", "0"),
            mapping("9000-b000 r--p 00000000 fe:00 8                  /bin/other", "0"),
            mapping("b000-d000 r--p 00000000 00:00 0", "0"),
        ];
        assert_eq!(unchanged(&smaps.concat(), 7), [0x1000..0x3000, 0x3000..0x5000]);
    }

    #[test]
    fn a_program_goes_on_without_its_map() {
        let text = |number: usize| format!("{number:?} {}", range_of("1-2 r").is_some());
        let before: Vec<String> = (0..100).map(text).collect();
        give_back();
        assert_eq!((0..100).map(text).collect::<Vec<_>>(), before);
    }
}
