//! A small registry with an image of busybox, on loopback, for as long as the test: what it answers is the test's choice.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};

/// The longest request that is read, in bytes.
const REQUEST_BYTES_MAX: u64 = 64 << 10;

/// It is there until the process ends.
pub struct ImageServer {
    /// `127.0.0.1:<port>`
    pub host: String,
}

/// What is had from it, by path.
type Answers = BTreeMap<String, Vec<u8>>;

impl ImageServer {
    /// Starts it with `busybox:good` and `busybox:bad`, whose layer is not what its manifest says; `busybox:slow` is never answered.
    /// None without busybox, said aloud.
    ///
    /// # Panics
    /// The image can't be made.
    #[must_use]
    pub fn start() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let Some(busybox) = std::env::split_paths(&path).map(|dir| dir.join("busybox")).find(|file| file.is_file())
        else {
            println!("skipped: no busybox (Debian package busybox-static)");
            return None;
        };
        let dir = tempfile::tempdir().expect("a temporary directory");
        let layer = layer(dir.path(), &busybox);
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Entrypoint": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        });
        let config = config.to_string().into_bytes();
        let good = manifest(&config, &layer);
        let mut other = layer.clone();
        other[0] ^= 1;
        let bad = manifest(&config, &other).to_string().into_bytes();
        let good = good.to_string().into_bytes();
        let mut answers = Answers::new();
        // Whoever asks for the other layer gets this one.
        for (name, bytes) in [(digest(&layer), &layer), (digest(&other), &layer), (digest(&config), &config)] {
            answers.insert(format!("/v2/busybox/blobs/{name}"), bytes.clone());
        }
        for (tag, bytes) in [("good", &good), ("bad", &bad)] {
            answers.insert(format!("/v2/busybox/manifests/{tag}"), bytes.clone());
            answers.insert(format!("/v2/busybox/manifests/{}", digest(bytes)), bytes.clone());
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
        let host = listener.local_addr().expect("a bound socket has an address").to_string();
        let answers = Arc::new(answers);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answers = answers.clone();
                // Whoever breaks a connection off loses only that.
                std::thread::spawn(move || drop(serve(stream, &answers)));
            }
        });
        Some(Self { host })
    }

    /// What an agent has to be told of it, with more of the plugin's settings.
    pub fn plugin(&self, more: &str) -> String {
        format!(
            "plugin \"container\" {{\n  config {{\n    {more}\n    registry \"{}\" {{\n      plain_http = true\n    \
             }}\n  }}\n}}\n",
            self.host
        )
    }
}

fn serve(mut stream: TcpStream, answers: &Answers) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?.take(REQUEST_BYTES_MAX));
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut header = String::new();
        while reader.read_line(&mut header)? > 2 {
            header.clear();
        }
        let words: Vec<&str> = line.split(' ').collect();
        let [method, path, _] = words.as_slice() else { return Ok(()) };
        if path.ends_with("/slow") {
            // Until the other side has had enough.
            let _ = reader.read(&mut [0])?;
            return Ok(());
        }
        let (status, body) = match (answers.get(*path), *path) {
            (Some(body), _) => ("200 OK", body.as_slice()),
            (None, "/v2/") => ("200 OK", &b"{}"[..]),
            (None, _) => ("404 Not Found", &br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}"#[..]),
        };
        let kind = if path.contains("/manifests/") { MANIFEST } else { "application/octet-stream" };
        write!(stream, "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len())?;
        if *method != "HEAD" {
            stream.write_all(body)?;
        }
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn manifest(config: &[u8], layer: &[u8]) -> Value {
    let describe = |bytes: &[u8], kind: &str| json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
    json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": describe(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [describe(layer, "application/vnd.oci.image.layer.v1.tar")],
    })
}

/// A layer with busybox and the links that scripts need.
fn layer(dir: &Path, busybox: &Path) -> Vec<u8> {
    let bin = dir.join("root/bin");
    std::fs::create_dir_all(&bin).expect("a directory for the image");
    std::fs::copy(busybox, bin.join("busybox")).expect("a copy of busybox");
    for applet in ["sh", "sleep", "cat", "echo", "true"] {
        std::os::unix::fs::symlink("busybox", bin.join(applet)).expect("a link to busybox");
    }
    let tar = Command::new("tar").args(["-C", "root", "-cf", "-", "bin"]).current_dir(dir).output().expect("tar runs");
    assert!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
    tar.stdout
}

/// `sha256:…`
fn digest(bytes: &[u8]) -> String {
    let mut sum = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sha256sum is part of every system");
    let mut stdin = sum.stdin.take().expect("it was piped");
    stdin.write_all(bytes).expect("sha256sum reads all of it");
    drop(stdin);
    let said = sum.wait_with_output().expect("sha256sum ends");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    format!("sha256:{}", text.split(' ').next().unwrap_or_default())
}
