//! Which disk image a virtual machine may have: one inside the alloc's directory or a directory that the operator names,
//! whatever links there are, and none that makes the emulator open another file of the host.
//!
//! The emulator runs as the agent's user. A disk whose first bytes name a "backing file" would show the guest any file of
//! the host, and a guest can write those bytes itself: so they are looked at before each start.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How many images may stand on each other.
const CHAIN_MAX: usize = 8;
/// The longest name of a backing file, in bytes.
const NAME_BYTES_MAX: u32 = 1023;
/// How much of an image that describes itself in words is looked through, in bytes.
const WORDS_MAX: u64 = 1 << 20;

/// Said of an image that lies elsewhere.
const NOT_ALLOWED: &str = "image_path is not in the allowed paths";

/// The image's own path, free of links, if it may be used. `relative_to` is where a path without a leading slash begins.
pub(crate) fn resolve(image: &Path, relative_to: &Path, allowed: &[PathBuf]) -> Result<PathBuf, String> {
    resolve_in_chain(image, relative_to, allowed, 0)
}

fn resolve_in_chain(image: &Path, relative_to: &Path, allowed: &[PathBuf], depth: usize) -> Result<PathBuf, String> {
    let path = relative_to.join(image);
    let is_allowed = |path: &Path| {
        let mut dirs = allowed.iter().filter_map(|dir| dir.canonicalize().ok());
        dirs.any(|dir| path.starts_with(dir))
    };
    let found = match path.canonicalize() {
        Ok(found) => found,
        // Of what lies elsewhere not even that it is missing is said.
        Err(error) if is_allowed_in_words(&path, allowed) => return Err(unusable(image, &error)),
        Err(_) => return Err(NOT_ALLOWED.to_owned()),
    };
    if !is_allowed(&found) {
        return Err(NOT_ALLOWED.to_owned());
    }
    let header = Header::read(&found).map_err(|error| unusable(image, &error))?;
    match header {
        Header::Plain => Ok(found),
        Header::OpensOthers => {
            Err(format!("image {} may name other files of the host, which is not allowed", image.display()))
        }
        Header::Backing(_) if depth >= CHAIN_MAX => {
            Err(format!("image {} stands on more than {CHAIN_MAX} others", image.display()))
        }
        Header::Backing(backing) => {
            let dir = found.parent().unwrap_or(Path::new("/"));
            resolve_in_chain(Path::new(&backing), dir, allowed, depth + 1)
                .map(|_| found)
                .map_err(|error| format!("backing file {backing:?} of image {}: {error}", image.display()))
        }
    }
}

fn unusable(image: &Path, error: &io::Error) -> String {
    let reason = error.to_string();
    let reason = reason.split(" (os error").next().unwrap_or_default().to_lowercase();
    format!("image {} can't be used: {reason}", image.display())
}

/// Whether a path that leads nowhere would be allowed, going by its words.
fn is_allowed_in_words(path: &Path, allowed: &[PathBuf]) -> bool {
    let goes_up = path.components().any(|part| matches!(part, std::path::Component::ParentDir));
    !goes_up && allowed.iter().any(|dir| path.starts_with(dir))
}

/// What an image's first bytes make the emulator do.
#[derive(Debug, PartialEq, Eq)]
enum Header {
    /// It is all there is.
    Plain,
    /// It stands on another image.
    Backing(String),
    /// It names further files.
    OpensOthers,
}

impl Header {
    fn read(path: &Path) -> io::Result<Header> {
        // A pipe must not hold the start up.
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
        let flags = i32::try_from(flags.bits()).unwrap_or(0);
        let mut file = File::options().read(true).custom_flags(flags).open(path)?;
        let kind = file.metadata()?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut head = [0; 104];
        let length = read_up_to(&mut file, &mut head)?;
        let head = head.get(..length).unwrap_or(&[]);
        let number = |at: usize| Some(u64::from_be_bytes(head.get(at..at + 8)?.try_into().ok()?));
        let short = |at: usize| Some(u32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let little = |at: usize| Some(u64::from_le_bytes(head.get(at..at + 8)?.try_into().ok()?));
        let little_short = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
        if head.starts_with(b"QFI\xfb") {
            // Version 3: the incompatible feature "external data file".
            if short(4).unwrap_or(0) >= 3 && number(72).unwrap_or(0) & 4 != 0 {
                return Ok(Header::OpensOthers);
            }
            return backing(&mut file, number(8).unwrap_or(0), short(16).unwrap_or(0));
        }
        if head.starts_with(b"QED\0") {
            let has_backing = little(16).unwrap_or(0) & 1 != 0;
            let (at, length) = (little_short(56).unwrap_or(0), little_short(60).unwrap_or(0));
            return if has_backing { backing(&mut file, u64::from(at), length) } else { Ok(Header::Plain) };
        }
        // Images of another maker, which describe in words what they consist of.
        let is_vmdk = head.starts_with(b"KDMV") || head.starts_with(b"COWD");
        if is_vmdk || head.starts_with(b"# Disk") || head.starts_with(b"# disk") {
            file.seek(SeekFrom::Start(0))?;
            let mut words = Vec::new();
            file.take(WORDS_MAX).read_to_end(&mut words)?;
            let has = |what: &[u8]| words.windows(what.len()).any(|part| part.eq_ignore_ascii_case(what));
            let names_others = !is_vmdk || has(b"parentFileNameHint") || head.starts_with(b"COWD");
            return Ok(if names_others { Header::OpensOthers } else { Header::Plain });
        }
        // Words before the mark of such an image: comments and empty lines are passed over by the emulator.
        Ok(if head.starts_with(b"#") || head.starts_with(b"\n") { Header::OpensOthers } else { Header::Plain })
    }
}

fn read_up_to(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

fn backing(file: &mut File, at: u64, length: u32) -> io::Result<Header> {
    if at == 0 || length == 0 {
        return Ok(Header::Plain);
    }
    if length > NAME_BYTES_MAX {
        return Ok(Header::OpensOthers);
    }
    file.seek(SeekFrom::Start(at))?;
    let mut name = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact(&mut name)?;
    // With a protocol (`nbd:…`, `json:{…}`) or not text at all it is no plain file.
    match String::from_utf8(name) {
        Ok(name) if !name.split('/').next().unwrap_or_default().contains(':') => Ok(Header::Backing(name)),
        _ => Ok(Header::OpensOthers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn qcow2(backing: &str, features: u64) -> Vec<u8> {
        let mut image = b"QFI\xfb\0\0\0\x03".to_vec();
        image.extend(if backing.is_empty() { 0u64 } else { 104 }.to_be_bytes());
        image.extend(u32::try_from(backing.len()).unwrap().to_be_bytes());
        image.resize(72, 0);
        image.extend(features.to_be_bytes());
        image.resize(104, 0);
        image.extend(backing.as_bytes());
        image
    }

    #[test]
    fn an_image_lies_where_it_may_whatever_links_there_are() {
        let (alloc, shared, host) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let task = alloc.path().join("web");
        std::fs::create_dir_all(task.join("local")).unwrap();
        for file in [task.join("local/d.img"), shared.path().join("base.img"), host.path().join("shadow")] {
            std::fs::write(file, "x").unwrap();
        }
        symlink(host.path().join("shadow"), task.join("local/link.img")).unwrap();
        symlink(host.path(), task.join("local/dir")).unwrap();
        symlink("d.img", task.join("local/good.img")).unwrap();
        let allowed = [alloc.path().to_owned(), shared.path().to_owned()];
        let check = |image: &str, expected: Result<&Path, &str>| {
            let found = resolve(Path::new(image), &task, &allowed);
            assert_eq!(found.as_deref(), expected.map_err(str::to_owned).as_ref().map(|path| *path), "{image}");
        };
        let own = task.join("local/d.img");
        check("local/d.img", Ok(&own));
        check("local/good.img", Ok(&own));
        check(own.to_str().unwrap(), Ok(&own));
        let base = shared.path().join("base.img");
        check(base.to_str().unwrap(), Ok(&base));
        for image in ["local/link.img", "local/dir/shadow", "/etc/passwd", "../../../../../etc/passwd", "/no/such"] {
            check(image, Err(NOT_ALLOWED));
        }
        check("local/no.img", Err("image local/no.img can't be used: no such file or directory"));
        check("local", Err("image local can't be used: not a regular file"));
    }

    #[test]
    fn an_image_does_not_reach_other_files_through_its_header() {
        let dir = tempfile::tempdir().unwrap();
        let check = |bytes: &[u8], expected: Result<(), &str>| {
            let image = dir.path().join("d.img");
            std::fs::write(&image, bytes).unwrap();
            let found = resolve(Path::new("d.img"), dir.path(), &[dir.path().to_owned()]).map(|_| ());
            assert_eq!(found.as_ref().map_err(String::as_str), expected.as_ref().map_err(|text| *text));
        };
        std::fs::write(dir.path().join("base.img"), qcow2("", 0)).unwrap();
        check(&qcow2("", 0), Ok(()));
        check(&qcow2("base.img", 0), Ok(()));
        check(
            &qcow2("/etc/shadow", 0),
            Err("backing file \"/etc/shadow\" of image d.img: image_path is not in the allowed paths"),
        );
        let others = Err("image d.img may name other files of the host, which is not allowed");
        check(&qcow2("json:{\"driver\":\"file\"}", 0), others);
        check(&qcow2("nbd:localhost:1", 0), others);
        check(&qcow2("", 4), others);
        check(b"# Disk DescriptorFile\nRW 1 FLAT \"/etc/shadow\" 0\n", others);
        check(b"\n# Disk DescriptorFile\n", others);
        check(b"KDMV....parentFileNameHint=\"/etc/shadow\"", others);
        check(b"KDMV....", Ok(()));
        // It stands on itself.
        let chain = resolve(Path::new("d.img"), dir.path(), &[dir.path().to_owned()]);
        assert!(chain.is_ok());
        check_loop(dir.path());
    }

    fn check_loop(dir: &Path) {
        std::fs::write(dir.join("loop.img"), qcow2("loop.img", 0)).unwrap();
        let error = resolve(Path::new("loop.img"), dir, &[dir.to_owned()]).unwrap_err();
        assert!(error.ends_with("image loop.img stands on more than 8 others"), "{error}");
    }
}
