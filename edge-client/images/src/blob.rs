//! One blob on its way to disk: resumed after a cut and after a death of the agent, whole only when its digest is right.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::digest::Hasher;
use crate::error::PullError;
use crate::http::{self, Response};
use crate::manifest::Descriptor;
use crate::registry::{Repository, TRIES_MAX, backoff};
use crate::url::Url;

/// Bytes read at a time.
const PIECE: usize = 64 << 10;

/// A small blob, or a manifest, in memory.
pub(crate) fn get_small(
    repository: &Repository,
    what: &'static str,
    blob: &Descriptor,
    max: usize,
) -> Result<Vec<u8>, PullError> {
    if blob.size > max as u64 {
        return Err(PullError::TooLarge { what: format!("the {what}"), max: max as u64 });
    }
    let kind = if what == "manifest" { "manifests" } else { "blobs" };
    let bytes = get_document(repository, kind, what, blob.digest.as_str(), max)?;
    if blob.digest.fits(&bytes) {
        return Ok(bytes);
    }
    let mut hasher = blob.digest.hasher();
    hasher.update(&bytes);
    let (host, wanted) = (repository.host.clone(), blob.digest.clone());
    Err(PullError::Digest { what, host, wanted, got: hasher.finish() })
}

/// A document by tag or digest, whole, asked for again when the connection breaks under it.
pub(crate) fn get_document(
    repository: &Repository,
    kind: &str,
    what: &'static str,
    name: &str,
    max: usize,
) -> Result<Vec<u8>, PullError> {
    let accept = if kind == "manifests" { crate::manifest::ACCEPT } else { "" };
    let mut tries = 0;
    loop {
        tries += 1;
        let mut response = repository.get(kind, name, accept, 0)?;
        match response.read_whole(max) {
            Ok(Some(bytes)) => return Ok(bytes),
            Ok(None) => return Err(PullError::TooLarge { what: format!("the {what}"), max: max as u64 }),
            Err(err) => match broken(repository, err) {
                PullError::Unreachable { .. } if tries < TRIES_MAX => repository.watch.pause(backoff(tries))?,
                error => return Err(error),
            },
        }
    }
}

fn broken(repository: &Repository, err: io::Error) -> PullError {
    let url = Url::of_host(&repository.host, true);
    match url {
        Some(url) => http::explain(err, &url, &repository.watch),
        None => PullError::Unreachable { host: repository.host.clone(), reason: err.to_string() },
    }
}

/// Fetches a layer into the file at `path`, which keeps what is there when it fails for a reason that may pass. `on_bytes` is told of each
/// piece: how many there are now.
pub(crate) fn download(
    repository: &Repository,
    blob: &Descriptor,
    path: &Path,
    on_bytes: &dyn Fn(u64),
) -> Result<File, PullError> {
    let disk = || PullError::disk(format!("keep layer {}", blob.digest));
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(disk())?;
    let mut partial = Partial::resume(file, blob).map_err(disk())?;
    let mut was_resumed = partial.length > 0;
    loop {
        on_bytes(partial.length);
        fill(repository, blob, &mut partial, on_bytes)?;
        let got = partial.hasher.clone().finish();
        if got == blob.digest {
            partial.file.seek(SeekFrom::Start(0)).map_err(disk())?;
            return Ok(partial.file);
        }
        partial.restart(blob).map_err(disk())?;
        // What was kept may have been spoilt on this side: once more from the beginning.
        if !std::mem::take(&mut was_resumed) {
            let _ = std::fs::remove_file(path);
            let (host, wanted) = (repository.host.clone(), blob.digest.clone());
            return Err(PullError::Digest { what: "a layer", host, wanted, got });
        }
    }
}

/// What there is of a blob.
struct Partial {
    file: File,
    length: u64,
    hasher: Hasher,
}

impl Partial {
    /// Goes on behind what the file holds.
    fn resume(mut file: File, blob: &Descriptor) -> io::Result<Self> {
        let mut hasher = blob.digest.hasher();
        let mut length = 0;
        let mut piece = vec![0; PIECE];
        loop {
            let count = file.read(&mut piece)?;
            if count == 0 {
                break;
            }
            hasher.update(&piece[..count]);
            length += count as u64;
        }
        let mut partial = Self { file, length, hasher };
        if length > blob.size {
            partial.restart(blob)?;
        }
        Ok(partial)
    }

    fn restart(&mut self, blob: &Descriptor) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.length = 0;
        self.hasher = blob.digest.hasher();
        Ok(())
    }

    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }
}

/// Fetches until there are as many bytes as the manifest says. Cuts are met by asking for the rest, as long as each answer brings some.
fn fill(
    repository: &Repository,
    blob: &Descriptor,
    partial: &mut Partial,
    on_bytes: &dyn Fn(u64),
) -> Result<(), PullError> {
    let mut fruitless = 0;
    while partial.length < blob.size {
        let before = partial.length;
        let mut response = repository.get("blobs", blob.digest.as_str(), "", before)?;
        let continues = response.status == 206 && begins_at(&response, before);
        if before > 0 && !continues {
            partial.restart(blob).map_err(PullError::disk("keep a layer"))?;
            if response.status != 200 {
                fruitless += 1;
                give_up(repository, fruitless)?;
                continue;
            }
        }
        let broken_by = receive(&mut response, blob, partial, on_bytes, repository)?;
        if partial.length >= blob.size {
            break;
        }
        fruitless = if partial.length > before { 1 } else { fruitless + 1 };
        // A body that ends in good order and is too short is as good as a cut.
        let error = broken_by.map_or_else(
            || PullError::Unreachable { host: repository.host.clone(), reason: "it sends layers cut short".to_owned() },
            |err| broken(repository, err),
        );
        match error {
            PullError::Unreachable { .. } | PullError::Silent { .. } if fruitless < TRIES_MAX => {
                repository.watch.pause(backoff(fruitless))?;
            }
            error => return Err(error),
        }
    }
    Ok(())
}

fn give_up(repository: &Repository, fruitless: u32) -> Result<(), PullError> {
    if fruitless < TRIES_MAX {
        return repository.watch.pause(backoff(fruitless));
    }
    Err(PullError::Answer { host: repository.host.clone(), what: "a range that was not asked for".to_owned() })
}

fn begins_at(response: &Response, at: u64) -> bool {
    let range = response.header("content-range").and_then(|range| range.strip_prefix("bytes "));
    range.and_then(|range| range.split('-').next()).and_then(|from| from.trim().parse().ok()) == Some(at)
}

/// Takes what comes. Gives what broke the connection, if it did.
fn receive(
    response: &mut Response,
    blob: &Descriptor,
    partial: &mut Partial,
    on_bytes: &dyn Fn(u64),
    repository: &Repository,
) -> Result<Option<io::Error>, PullError> {
    let mut piece = vec![0; PIECE];
    loop {
        match response.read(&mut piece) {
            Ok(0) => return Ok(None),
            Ok(count) => {
                if partial.length + count as u64 > blob.size {
                    partial.restart(blob).map_err(PullError::disk("keep a layer"))?;
                    let what = format!("more than the {} bytes of layer {}", blob.size, blob.digest);
                    return Err(PullError::Answer { host: repository.host.clone(), what });
                }
                partial.add(&piece[..count]).map_err(PullError::disk(format!("keep layer {}", blob.digest)))?;
                on_bytes(partial.length);
            }
            Err(err) => return Ok(Some(err)),
        }
    }
}
