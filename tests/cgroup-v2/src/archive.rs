//! A file tree as the kernel takes it for an initramfs: cpio in its "newc" form, everything owned by root.

use std::io::{self, Write};

/// The kind bits of a mode.
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// Writes one archive. A directory must come before what is in it; `finish` closes the archive.
pub struct Archive<W> {
    out: W,
    entries: u32,
}

impl<W: Write> Archive<W> {
    /// Starts an archive.
    pub fn new(out: W) -> Self {
        Self { out, entries: 0 }
    }

    /// Adds a directory, 0755.
    pub fn directory(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, DIRECTORY | 0o755, b"")
    }

    /// Adds a file with its permission bits.
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) -> io::Result<()> {
        self.entry(path, FILE | permissions, content)
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.entry(path, LINK | 0o777, target.as_bytes())
    }

    /// Ends the archive and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, b"")?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entries += 1;
        let too_large = |_| io::Error::new(io::ErrorKind::FileTooLarge, path.to_owned());
        let content_len = u32::try_from(content.len()).map_err(too_large)?;
        let path_len = u32::try_from(path.len() + 1).map_err(too_large)?;
        // ino, mode, uid, gid, nlink, mtime, size, the four device numbers, length of the name with its end, checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, content_len, 0, 0, 0, 0, path_len, 0];
        let head: String = fields.iter().map(|field| format!("{field:08X}")).collect();
        write!(self.out, "070701{head}{path}\0")?;
        self.pad(6 + head.len() + path.len() + 1)?;
        self.out.write_all(content)?;
        self.pad(content.len())
    }

    /// Head with name, and content, each end on a multiple of four bytes.
    fn pad(&mut self, written: usize) -> io::Result<()> {
        self.out.write_all(&[0; 3][..written.next_multiple_of(4) - written])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_made_of_padded_entries() {
        let mut archive = Archive::new(Vec::new());
        archive.directory("bin").unwrap();
        archive.file("bin/a", 0o755, b"12345").unwrap();
        archive.link("sh", "bin/a").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8(bytes).unwrap();
        let heads: Vec<&str> = text.split("070701").skip(1).collect();
        assert_eq!(
            heads,
            [
                "00000001000041ED000000000000000000000001000000000000000000000000000000000000000000000000000000040000000\
                 0bin\0\0\0",
                "00000002000081ED000000000000000000000001000000000000000500000000000000000000000000000000000000060000000\
                 0bin/a\x0012345\0\0\0",
                "000000030000A1FF00000000000000000000000100000000000000050000000000000000000000000000000000000003000000\
                 00sh\0\0\0\0bin/a\0\0\0",
                "0000000400000000000000000000000000000001000000000000000000000000000000000000000000000000\
                 0000000B00000000TRAILER!!!\0\0\0\0",
            ]
        );
    }
}
