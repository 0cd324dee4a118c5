//! The region's keys on this server's disk, and its own certificate.
//!
//! A server that forms a region alone makes the authority at its first start; root and intermediate keys stay in its
//! data directory, readable by its user alone, and go nowhere else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use drover_certs::{Authority, AuthorityPem, Identity, Lifetimes, RegionName};
use drover_transport::Endpoint;

use crate::chance;
use crate::server::Server;
use crate::settings::StartError;

const ID_FILE: &str = "node-id";
const TLS_DIR: &str = "tls";
const ROOT_CERT_FILE: &str = "root.pem";
const ROOT_KEY_FILE: &str = "root-key.pem";
const REGION_CERT_FILE: &str = "region.pem";
const REGION_KEY_FILE: &str = "region-key.pem";

/// The longest wait between two looks at the own certificate's age.
const RENEW_CHECK_MAX: Duration = Duration::from_secs(600);
/// The shortest wait between two renewals, also after one that failed.
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
    let authority = open_authority(&dir.join(TLS_DIR), region, SystemTime::now())?;
    Ok(Home { id, number: u64::from_be_bytes(number), authority })
}

fn open_authority(dir: &Path, region: &RegionName, now: SystemTime) -> Result<Authority, StartError> {
    let unusable = |source| StartError::DataDir { dir: dir.to_path_buf(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(unusable)?;
    let read = |name| read_text(&dir.join(name)).map_err(unusable);
    // The region's key is written last: with it there, all is there.
    if let Some(key) = read(REGION_KEY_FILE)? {
        // A new authority in place of a damaged one would cut off every machine that has a certificate.
        let needed = |name: &'static str| {
            let missing =
                || io::Error::new(io::ErrorKind::NotFound, format!("{name} is missing beside {REGION_KEY_FILE}"));
            read(name)?.ok_or_else(|| unusable(missing()))
        };
        let (root, intermediate) = (needed(ROOT_CERT_FILE)?, needed(REGION_CERT_FILE)?);
        let texts = AuthorityPem { root, intermediate, key, root_key: read(ROOT_KEY_FILE)? };
        let authority = Authority::from_pem(&texts).map_err(|e| StartError::Authority(Box::new(e)))?;
        if authority.region() != region {
            let text = format!("{} belongs to region {}, not {region}", dir.display(), authority.region());
            return Err(unusable(io::Error::new(io::ErrorKind::InvalidData, text)));
        }
        return Ok(renew_region(dir, &authority, now)?.unwrap_or(authority));
    }
    let authority = Authority::create(region.clone(), now, &Lifetimes::default())
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

/// Renews the region's certificate at two thirds of its life, also one that has ended; none while there is no need or no
/// root key. The region's key stays, so what was signed before still counts.
fn renew_region(dir: &Path, authority: &Authority, now: SystemTime) -> Result<Option<Authority>, StartError> {
    if now < authority.renew_at() {
        return Ok(None);
    }
    if !authority.has_root_key() {
        tracing::warn!("the region's certificate ends soon and the root's key, which renews it, is not here");
        return Ok(None);
    }
    let renewed = authority.renew(now, &Lifetimes::default()).map_err(|e| StartError::Authority(Box::new(e)))?;
    write_private(&dir.join(REGION_CERT_FILE), renewed.to_pem().intermediate.as_bytes())
        .map_err(|source| StartError::DataDir { dir: dir.to_path_buf(), source })?;
    tracing::info!(region = %renewed.region(), "the region's certificate was renewed");
    Ok(Some(renewed))
}

/// Issues this server a new certificate and shows it from now on; gives the time in which it needs no other.
pub fn renew_own(
    endpoint: &Endpoint,
    authority: &Authority,
    identity: &Identity,
    lifetime: Duration,
) -> Result<Range<SystemTime>, StartError> {
    let credentials =
        authority.issue_own(identity, SystemTime::now(), lifetime).map_err(|e| StartError::Authority(Box::new(e)))?;
    let valid = credentials.leaf().not_before()..credentials.leaf().renew_at();
    endpoint.set_credentials(&credentials, &authority.anchors()).map_err(|e| StartError::Authority(Box::new(e)))?;
    Ok(valid)
}

/// Renews the own certificate, and the region's, at two thirds of their lives, for as long as the server runs. `valid` is
/// the time in which the own one needs no other.
pub async fn keep_renewed(
    server: Server,
    dir: PathBuf,
    identity: Identity,
    lifetime: Duration,
    mut valid: Range<SystemTime>,
) {
    let tls = dir.join(TLS_DIR);
    loop {
        // The wall clock may jump, also to before the certificate's beginning; a look now and then finds that out.
        let left = valid.end.duration_since(SystemTime::now()).unwrap_or_default();
        tokio::time::sleep(left.clamp(RENEW_RETRY, RENEW_CHECK_MAX)).await;
        let now = SystemTime::now();
        match renew_region(&tls, &server.authority(), now) {
            Ok(Some(renewed)) => server.set_authority(renewed),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "the region's certificate was not renewed, trying again"),
        }
        if valid.contains(&now) {
            continue;
        }
        match renew_own(server.endpoint(), &server.authority(), &identity, lifetime) {
            Ok(next) => valid = next,
            Err(error) => tracing::error!(%error, "own certificate not renewed, trying again"),
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
    // One that is there already may be somebody else's, or a link.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn region() -> RegionName {
        "global".parse().unwrap()
    }

    #[test]
    fn the_regions_certificate_renews_itself_also_after_its_end() {
        for days in [500, 1000] {
            let dir = tempfile::tempdir().unwrap();
            let then = SystemTime::now() - DAY * days;
            let old = open_authority(dir.path(), &region(), then).unwrap();
            assert!(old.renew_at() < SystemTime::now());
            let renewed = open_authority(dir.path(), &region(), SystemTime::now()).unwrap();
            assert_eq!(renewed.fingerprint(), old.fingerprint());
            assert!(renewed.not_after() > SystemTime::now() + DAY * 700, "made {days} days ago");
            let identity = Identity::new(region(), drover_certs::Role::Server, "s1").unwrap();
            renewed.issue_own(&identity, SystemTime::now(), DAY).unwrap();
            let kept = open_authority(dir.path(), &region(), SystemTime::now()).unwrap();
            assert_eq!(kept.not_after(), renewed.not_after());
        }
    }

    #[test]
    fn a_damaged_authority_is_not_replaced_by_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        open_authority(dir.path(), &region(), SystemTime::now()).unwrap();
        let key = fs::read(dir.path().join(REGION_KEY_FILE)).unwrap();
        fs::remove_file(dir.path().join(ROOT_CERT_FILE)).unwrap();
        assert!(open_authority(dir.path(), &region(), SystemTime::now()).is_err());
        assert_eq!(fs::read(dir.path().join(REGION_KEY_FILE)).unwrap(), key);
    }

    #[test]
    fn a_private_file_is_never_written_into_one_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let (trap, beside) = (dir.path().join("trap"), dir.path().join("key.new"));
        fs::write(&trap, b"").unwrap();
        std::os::unix::fs::symlink(&trap, &beside).unwrap();
        let path = dir.path().join("key.pem");
        write_private(&path, b"secret").unwrap();
        assert_eq!(fs::read(&trap).unwrap(), b"");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
