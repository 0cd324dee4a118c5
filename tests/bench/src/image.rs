//! A registry on loopback with one small image, made here: a static program and nothing else.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use drover_images::Digest;
use serde_json::json;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// How long a caller may take for its request.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// The registry. Its thread ends with this process.
pub struct Registry {
    /// `127.0.0.1:<port>`.
    pub host: String,
}

impl Registry {
    /// Starts it with an image of busybox, whose command sleeps.
    ///
    /// # Errors
    /// There is no busybox, or no port.
    pub fn start() -> anyhow::Result<Self> {
        let answers = Arc::new(answers(&std::fs::read(busybox()?)?)?);
        let listener = TcpListener::bind("127.0.0.1:0").context("listen")?;
        let host = listener.local_addr()?.to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Who does not get its answer asks again.
                let _ = answer(stream, &answers);
            }
        });
        Ok(Self { host })
    }

    /// The image's name.
    pub fn image(&self) -> String {
        format!("{}/bench/app:v1", self.host)
    }

    /// What an agent has to be told to get it.
    pub fn settings(&self) -> String {
        let registry = format!("registry \"{}\" {{\n      plain_http = true\n    }}", self.host);
        format!("plugin \"container\" {{\n  config {{\n    {registry}\n  }}\n}}\n")
    }
}

/// The busybox on the search path.
///
/// # Errors
/// There is none.
pub fn busybox() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("busybox")).find(|file| file.is_file());
    found.context("no busybox; the Debian package busybox-static has one")
}

/// What is answered, by path.
fn answers(program: &[u8]) -> anyhow::Result<BTreeMap<String, (&'static str, Vec<u8>)>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, kind, mode, body) in [
        ("bin/", tar::EntryType::Directory, 0o755, &[][..]),
        ("bin/busybox", tar::EntryType::Regular, 0o755, program),
        ("tmp/", tar::EntryType::Directory, 0o1777, &[]),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(body.len() as u64);
        tar.append_data(&mut header, name, body)?;
    }
    let layer = tar.into_inner()?;
    let (os, architecture) = ("linux", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" });
    let config = json!({
        "architecture": architecture, "os": os, "config": {"Entrypoint": ["/bin/busybox"], "Cmd": ["sleep", "300"]},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer).as_str()]},
    });
    let config = serde_json::to_vec(&config)?;
    let describe = |bytes: &[u8], kind: &str| json!({"mediaType": kind, "digest": Digest::of(bytes).as_str(), "size": bytes.len()});
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": describe(&config, CONFIG), "layers": [describe(&layer, LAYER)],
    });
    let manifest = serde_json::to_vec(&manifest)?;
    let mut answers = BTreeMap::from([("/v2/bench/app/manifests/v1".to_owned(), (MANIFEST, manifest.clone()))]);
    for (place, kind, bytes) in [("manifests", MANIFEST, manifest), ("blobs", CONFIG, config), ("blobs", LAYER, layer)]
    {
        answers.insert(format!("/v2/bench/app/{place}/{}", Digest::of(&bytes)), (kind, bytes));
    }
    Ok(answers)
}

fn answer(mut stream: TcpStream, answers: &BTreeMap<String, (&'static str, Vec<u8>)>) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(REQUEST_MAX))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().context("no request")??;
    // Its headers ask for nothing that is not the only answer.
    while lines.next().context("half a request")??.as_str() != "" {}
    let [method, path, _] = first.split(' ').collect::<Vec<_>>()[..] else { bail!("no request") };
    let (status, kind, body) = match answers.get(path.split('?').next().unwrap_or_default()) {
        Some((kind, body)) => ("200 OK", *kind, body.as_slice()),
        None => ("404 Not Found", "application/json", &b"{}"[..]),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    if method != "HEAD" {
        stream.write_all(body)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_its_answer() {
        let answers = answers(b"program").unwrap();
        let (kind, manifest) = &answers["/v2/bench/app/manifests/v1"];
        assert_eq!(*kind, MANIFEST);
        let manifest: serde_json::Value = serde_json::from_slice(manifest).unwrap();
        for part in [&manifest["config"], &manifest["layers"][0]] {
            let (_, bytes) = &answers[&format!("/v2/bench/app/blobs/{}", part["digest"].as_str().unwrap())];
            assert_eq!(bytes.len() as u64, part["size"].as_u64().unwrap());
        }
    }
}
