//! The node's certificate, key and roots, as they are kept between two lives of the agent.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use drover_certs::{Anchors, Credentials, NodeKey, OwnCertificate, RegionName, Role};
use serde::{Deserialize, Serialize};

use crate::config::OwnTls;
use crate::node_id::{self, write_durably};

const FILE: &str = "certificate.json";

/// What the node shows and whom it believes.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Its certificate and key.
    pub credentials: Credentials,
    /// The roots that it believes.
    pub anchors: Anchors,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    chain: String,
    key: String,
    roots: String,
}

/// Where the certificate of a node is kept.
#[derive(Clone, Debug)]
pub struct TrustFile(PathBuf);

impl TrustFile {
    /// In that directory.
    pub fn new(dir: &Path) -> TrustFile {
        TrustFile(dir.join(FILE))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Reads it; none when there is none. One that can't be read is an error, not a reason to ask for another.
    pub fn load(&self) -> Result<Option<Trust>> {
        let text = match fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", self.0.display())),
        };
        let parse = || -> Result<Trust> {
            let kept: Kept = serde_json::from_slice(&text)?;
            Ok(Trust {
                credentials: Credentials::from_pem(&kept.chain, &kept.key)?,
                anchors: Anchors::from_pem(&kept.roots)?,
            })
        };
        parse().map(Some).with_context(|| format!("{} holds no certificate", self.0.display()))
    }

    /// Keeps it, readable for the owner alone.
    pub fn save(&self, trust: &Trust) -> Result<()> {
        let kept = Kept {
            chain: trust.credentials.leaf().to_pem(),
            key: trust.credentials.key().to_pem(),
            roots: trust.anchors.to_pem(),
        };
        write_durably(&self.0, &serde_json::to_vec(&kept)?, 0o600)
    }
}

/// Certificates that the operator made, and the key that says which node this is.
#[derive(Clone, Debug)]
pub struct OwnTrust {
    /// States region and role.
    pub certificate: OwnCertificate,
    /// The roots that the node believes.
    pub anchors: Anchors,
    /// Says which node it is.
    pub key: NodeKey,
}

/// The certificates that the operator made, for a node of that region which keeps its state in `state_dir`.
pub fn load_own(files: &OwnTls, region: &RegionName, state_dir: &Path) -> Result<OwnTrust> {
    let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("read {}", path.display()));
    let (chain, key) = (read(&files.cert_file)?, read(&files.key_file)?);
    let certificate = OwnCertificate::from_pem(&chain, &key).with_context(|| {
        format!("use certificate {} with key {}", files.cert_file.display(), files.key_file.display())
    })?;
    let holder = certificate.holder();
    if holder.region != *region || holder.in_role(Role::Client).is_none() {
        bail!(
            "{} is a certificate for {holder}, this is client.{region}: make one with `drover tls cert create -client -region {region}`",
            files.cert_file.display()
        );
    }
    let anchors = Anchors::from_pem(&read(&files.ca_file)?)
        .with_context(|| format!("use roots of {}", files.ca_file.display()))?;
    let key = node_id::load_key(state_dir)?.with_context(|| {
        format!(
            "{} has a node id without a key (node-key.pem): a node with certificates of its own needs an empty state directory",
            state_dir.display()
        )
    })?;
    Ok(OwnTrust { certificate, anchors, key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use drover_certs::{Authority, Identity, Lifetimes, RegionName, Role};
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_certificate_is_kept_for_the_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = TrustFile::new(dir.path());
        assert!(file.load().unwrap().is_none());
        let region = RegionName::new("global").unwrap();
        let authority = Authority::create(region.clone(), SystemTime::now(), &Lifetimes::default()).unwrap();
        let identity = Identity::new(region, Role::Client, "n").unwrap();
        let credentials = authority.issue_own(&identity, SystemTime::now(), Duration::from_secs(60)).unwrap();
        file.save(&Trust { credentials, anchors: authority.anchors() }).unwrap();
        let read = file.load().unwrap().unwrap();
        assert_eq!(read.credentials.leaf().identity(), &identity);
        assert_eq!(fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(dir.path().join(FILE), "{}").unwrap();
        assert!(file.load().is_err());
    }
}
