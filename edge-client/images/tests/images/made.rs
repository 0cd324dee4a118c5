//! Images made in memory, and a registry's right answers about them.

use std::collections::BTreeMap;
use std::io::Write;

use drover_images::Digest;

use crate::fake::{Reply, Seen};

pub const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An archive, entry by entry.
pub struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    pub fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// An entry with whatever name, also one that no honest tool writes.
    pub fn entry(mut self, kind: tar::EntryType, name: &str, link: &str, mode: u32, body: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_mode(mode);
        header.set_uid(1234);
        header.set_gid(567);
        header.set_mtime(1_000_000_000);
        header.set_size(body.len() as u64);
        if matches!(kind, tar::EntryType::Char | tar::EntryType::Block) {
            header.set_device_major(8).unwrap();
            header.set_device_minor(0).unwrap();
        }
        header.set_cksum();
        self.0.append(&header, body).unwrap();
        self
    }

    pub fn file(self, name: &str, body: impl AsRef<[u8]>) -> Self {
        self.entry(tar::EntryType::Regular, name, "", 0o644, body.as_ref())
    }

    pub fn dir(self, name: &str) -> Self {
        self.entry(tar::EntryType::Directory, name, "", 0o755, b"")
    }

    pub fn symlink(self, name: &str, to: &str) -> Self {
        self.entry(tar::EntryType::Symlink, name, to, 0o777, b"")
    }

    pub fn hard_link(self, name: &str, to: &str) -> Self {
        self.entry(tar::EntryType::Link, name, to, 0o644, b"")
    }

    /// Attributes of the entry that follows.
    pub fn pax(mut self, pairs: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(pairs.iter().copied()).unwrap();
        self
    }

    pub fn end(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An image and all that a registry has of it.
#[derive(Clone)]
pub struct Made {
    pub manifest: Vec<u8>,
    pub config: Vec<u8>,
    pub layers: Vec<Vec<u8>>,
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: BTreeMap<String, Vec<u8>>,
}

impl Made {
    /// Of layers that are sent as gzip.
    pub fn of(tars: &[Vec<u8>]) -> Self {
        Self::sent(&tars.iter().map(|tar| (gzip(tar), Digest::of(tar))).collect::<Vec<_>>())
    }

    /// Of layers as they are sent, each with the diff id that the configuration tells.
    pub fn sent(layers: &[(Vec<u8>, Digest)]) -> Self {
        let diff_ids: Vec<_> = layers.iter().map(|(_, diff_id)| diff_id.as_str()).collect();
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux",
            "config": {"Env": ["PATH=/bin", "A=b"], "Entrypoint": ["/bin/app"], "Cmd": ["-x"], "User": "1000", "WorkingDir": "/w",
                "StopSignal": "SIGQUIT", "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}}, "Labels": {"l": "m"}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = serde_json::to_vec(&config).unwrap();
        let layers: Vec<Vec<u8>> = layers.iter().map(|(bytes, _)| bytes.clone()).collect();
        let described: Vec<_> = layers.iter().map(|bytes| describe(bytes, GZIP)).collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": describe(&config, "application/vnd.oci.image.config.v1+json"), "layers": described,
        });
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let mut made = Self {
            manifest: manifest.clone(),
            config: config.clone(),
            layers: layers.clone(),
            blobs: BTreeMap::new(),
            manifests: BTreeMap::new(),
        };
        for blob in layers.into_iter().chain([config]) {
            made.blobs.insert(Digest::of(&blob).to_string(), blob);
        }
        made.tag("latest", &manifest);
        made
    }

    /// The digest of the layer.
    pub fn layer(&self, at: usize) -> Digest {
        Digest::of(&self.layers[at])
    }

    pub fn tag(&mut self, tag: &str, manifest: &[u8]) {
        self.manifests.insert(tag.to_owned(), manifest.to_vec());
        self.manifests.insert(Digest::of(manifest).to_string(), manifest.to_vec());
    }

    /// What an honest registry says.
    pub fn answer(&self, seen: &Seen) -> Reply {
        let path = seen.target.split('?').next().unwrap();
        let (folder, what) = path.rsplit_once('/').unwrap();
        let found = if folder.ends_with("/manifests") { self.manifests.get(what) } else { self.blobs.get(what) };
        match (found, seen.from()) {
            (None, _) => Reply::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#),
            (Some(bytes), 0) => Reply::new(200, bytes.clone()),
            (Some(bytes), from) => {
                let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                Reply::new(206, &bytes[from..]).header("Content-Range", range)
            }
        }
    }
}

pub fn describe(bytes: &[u8], media_type: &str) -> serde_json::Value {
    serde_json::json!({"mediaType": media_type, "digest": Digest::of(bytes).as_str(), "size": bytes.len()})
}
