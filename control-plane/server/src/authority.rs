//! The region's keys on this server's disk, and its own certificate.
//!
//! A server that forms a region alone makes the authority at its first start; root and intermediate keys stay in its
//! data directory, readable by its user alone, and go nowhere else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use drover_certs::{Authority, AuthorityPem, Identity, Lifetimes, RegionName};
use drover_transport::Endpoint;

use crate::chance;
use crate::server::Server;
use crate::settings::StartError;

const ID_FILE: &str = "node-id";
const ROOT_CERT_FILE: &str = "root.pem";
const ROOT_KEY_FILE: &str = "root-key.pem";
const REGION_CERT_FILE: &str = "region.pem";
const REGION_KEY_FILE: &str = "region-key.pem";

/// The longest wait between two looks at the own certificate's age.
const RENEW_CHECK_MAX: Duration = Duration::from_secs(3600);
/// The wait after a renewal that failed.
const RENEW_RETRY: Duration = Duration::from_secs(30);

/// What a server keeps about itself.
pub struct Home {
    /// Its id as text (a UUID).
    pub id: String,
    /// Its number in raft, derived from the id.
    pub number: u64,
    /// The region's authority.
    pub authority: Authority,
}

/// Opens what is in `dir`, or makes it.
pub fn open(dir: &Path, region: &RegionName) -> Result<Home, StartError> {
    let unusable = |source| StartError::DataDir { dir: dir.to_path_buf(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(unusable)?;
    let id_path = dir.join(ID_FILE);
    let id = match read_text(&id_path).map_err(unusable)? {
        Some(text) => text.trim().to_owned(),
        None => {
            let id = drover_model::NodeId::from_random(chance::bytes16()).to_string();
            write_private(&id_path, id.as_bytes()).map_err(unusable)?;
            id
        }
    };
    let bytes = id
        .parse::<drover_model::NodeId>()
        .map_err(|e| unusable(io::Error::new(io::ErrorKind::InvalidData, format!("{}: {e}", id_path.display()))))?;
    let mut number = [0; 8];
    number.copy_from_slice(&bytes.as_bytes()[..8]);
    let authority = open_authority(&dir.join("tls"), region)?;
    Ok(Home { id, number: u64::from_be_bytes(number), authority })
}

fn open_authority(dir: &Path, region: &RegionName) -> Result<Authority, StartError> {
    let unusable = |source| StartError::DataDir { dir: dir.to_path_buf(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(unusable)?;
    let read = |name| read_text(&dir.join(name)).map_err(unusable);
    // The region's key is written last: with it there, all is there.
    if let (Some(root), Some(intermediate), Some(key)) =
        (read(ROOT_CERT_FILE)?, read(REGION_CERT_FILE)?, read(REGION_KEY_FILE)?)
    {
        let texts = AuthorityPem { root, intermediate, key, root_key: read(ROOT_KEY_FILE)? };
        let authority = Authority::from_pem(&texts).map_err(|e| StartError::Authority(Box::new(e)))?;
        if authority.region() != region {
            let text = format!("{} belongs to region {}, not {region}", dir.display(), authority.region());
            return Err(unusable(io::Error::new(io::ErrorKind::InvalidData, text)));
        }
        return Ok(authority);
    }
    let authority = Authority::create(region.clone(), SystemTime::now(), &Lifetimes::default())
        .map_err(|e| StartError::Authority(Box::new(e)))?;
    let texts = authority.to_pem();
    let write = |name, text: &str| write_private(&dir.join(name), text.as_bytes()).map_err(unusable);
    write(ROOT_CERT_FILE, &texts.root)?;
    if let Some(root_key) = &texts.root_key {
        write(ROOT_KEY_FILE, root_key)?;
    }
    write(REGION_CERT_FILE, &texts.intermediate)?;
    write(REGION_KEY_FILE, &texts.key)?;
    Ok(authority)
}

/// Issues this server a new certificate and shows it from now on; gives when it should be renewed.
pub fn renew_own(
    endpoint: &Endpoint,
    authority: &Authority,
    identity: &Identity,
    lifetime: Duration,
) -> Result<SystemTime, StartError> {
    let credentials =
        authority.issue_own(identity, SystemTime::now(), lifetime).map_err(|e| StartError::Authority(Box::new(e)))?;
    let renew_at = credentials.leaf().renew_at();
    endpoint.set_credentials(&credentials, &authority.anchors()).map_err(|e| StartError::Authority(Box::new(e)))?;
    Ok(renew_at)
}

/// Renews the own certificate at two thirds of its life, for as long as the server runs.
pub async fn keep_renewed(server: Server, identity: Identity, lifetime: Duration) {
    let mut renew_at = SystemTime::now() + lifetime * 2 / 3;
    loop {
        // The wall clock may jump; a look every hour finds that out.
        let wait = renew_at.duration_since(SystemTime::now()).unwrap_or_default().min(RENEW_CHECK_MAX);
        tokio::time::sleep(wait).await;
        if SystemTime::now() < renew_at {
            continue;
        }
        match renew_own(server.endpoint(), &server.inner.authority, &identity, lifetime) {
            Ok(next) => renew_at = next,
            Err(error) => {
                tracing::error!(%error, "own certificate not renewed, trying again");
                tokio::time::sleep(RENEW_RETRY).await;
            }
        }
    }
}

/// Where others reach a socket bound to this address when nothing else was said: itself, or for "all addresses" the
/// loopback of the same kind.
pub fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

fn read_text(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file that only its owner may read, whole or not at all.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}
