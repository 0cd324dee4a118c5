//! The region's keys on this server's disk, and its own certificate.
//!
//! Who makes the authority keeps the root's key; the region's key is handed to every other server when it enrols, and to
//! nobody else. Both lie in the data directory, readable by the server's user alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use drover_certs::authority::AuthorityError;
use drover_certs::{Authority, AuthorityPem, Identity, Lifetimes, NodeKey, RegionName};
use drover_transport::Endpoint;

use crate::links::number_of;
use crate::server::Server;
use crate::settings::StartError;
use crate::{chance, clock, region_renewal};

const ID_FILE: &str = "node-id";
const NODE_KEY_FILE: &str = "node-key.pem";
const TLS_DIR: &str = "tls";
const ROOT_CERT_FILE: &str = "root.pem";
const ROOT_KEY_FILE: &str = "root-key.pem";
const REGION_CERT_FILE: &str = "region.pem";
const REGION_KEY_FILE: &str = "region-key.pem";

/// How long a server's own certificate lives.
const OWN_LEAF_LIFETIME: Duration = Duration::from_secs(72 * 3600);

/// The longest wait between two looks at the own certificate's age.
const RENEW_CHECK_MAX: Duration = Duration::from_secs(600);
/// The shortest wait between two renewals.
const RENEW_BETWEEN_MIN: Duration = Duration::from_secs(30);
/// The wait after the first one that failed; it doubles up to [`RENEW_CHECK_MAX`]: a server that has just started has no leader yet.
const RENEW_RETRY_MIN: Duration = Duration::from_millis(500);
/// So long before a certificate ends it is tried often again, however many attempts have failed.
const RENEW_MARGIN: Duration = Duration::from_secs(3600);
/// The wait between two attempts then.
const RENEW_LATE: Duration = Duration::from_secs(30);

/// The wait after a renewal that failed: the last one doubled, spread by a number, and no longer than until the certificate's last
/// hour. `left` is what it has still to live.
fn retry_wait(last: Duration, left: Duration, number: u64) -> Duration {
    let doubled = (last * 2).clamp(RENEW_RETRY_MIN, RENEW_CHECK_MAX);
    // Between three quarters of it and all: servers that lost the same one do not all come back at once.
    let spread = doubled - doubled / 4 * (number % 1024) as u32 / 1024;
    spread.min(left.saturating_sub(RENEW_MARGIN).max(RENEW_LATE))
}

/// Who a server is, for as long as its data directory lives.
pub struct Home {
    /// Its id as text (a UUID).
    pub id: String,
    /// Its number in raft, derived from the id.
    pub number: u64,
    /// The key that the id was derived from; none in a directory that was made before there were such keys.
    pub key: Option<NodeKey>,
}

/// Opens what is in `dir`, or makes it.
pub fn open_home(dir: &Path) -> Result<Home, StartError> {
    let unusable = |source| StartError::DataDir { dir: dir.to_path_buf(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(unusable)?;
    let (id_path, key_path) = (dir.join(ID_FILE), dir.join(NODE_KEY_FILE));
    let read = |path: &Path| {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        read_text(path).map_err(|error| unusable(named(error)))
    };
    let key = read(&key_path)?.map(|text| NodeKey::from_pem(&text)).transpose();
    let key = key.map_err(|error| {
        let text = format!("{NODE_KEY_FILE}: {}", in_one_line(&error));
        unusable(io::Error::new(io::ErrorKind::InvalidData, text))
    })?;
    let (id, key) = match (read(&id_path)?, key) {
        (Some(text), key) => (text.trim().to_owned(), key),
        (None, key) => {
            let key = match key {
                // The process was killed between the two.
                Some(key) => key,
                None => {
                    let key = NodeKey::generate().map_err(|e| StartError::Authority(Box::new(e)))?;
                    write_private(&key_path, key.to_pem().as_bytes()).map_err(unusable)?;
                    key
                }
            };
            write_private(&id_path, key.node().as_bytes()).map_err(unusable)?;
            (key.node(), Some(key))
        }
    };
    if key.as_ref().is_some_and(|key| key.node() != id) {
        let text = format!("{} and {} do not belong together", id_path.display(), key_path.display());
        return Err(unusable(io::Error::new(io::ErrorKind::InvalidData, text)));
    }
    // Also where the directory was there: who made it may have been cut off before this.
    sync_names(dir).map_err(unusable)?;
    let parsed = id
        .parse::<drover_model::NodeId>()
        .map_err(|e| unusable(io::Error::new(io::ErrorKind::InvalidData, format!("{}: {e}", id_path.display()))))?;
    Ok(Home { id, number: number_of(parsed), key })
}

/// The authority that a server has on its disk; none for one that has not got it yet.
pub fn load(data_dir: &Path, region: &RegionName, now: SystemTime) -> Result<Option<Authority>, StartError> {
    let dir = &data_dir.join(TLS_DIR);
    let unusable = |source| StartError::DataDir { dir: dir.clone(), source };
    let named = |name: &str, error: &dyn std::fmt::Display| {
        unusable(io::Error::new(io::ErrorKind::InvalidData, format!("{name}: {error}")))
    };
    let read = |name| read_text(&dir.join(name)).map_err(|error| named(name, &error));
    // The region's key is written last: with it there, all is there.
    let Some(key) = read(REGION_KEY_FILE)? else { return Ok(None) };
    // A new authority in place of a damaged one would cut off every machine that has a certificate.
    let needed = |name: &'static str| {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("{name} is missing beside {REGION_KEY_FILE}"));
        read(name)?.ok_or_else(|| unusable(missing()))
    };
    let (root, intermediate) = (needed(ROOT_CERT_FILE)?, needed(REGION_CERT_FILE)?);
    let texts = AuthorityPem { root, intermediate, key, root_key: read(ROOT_KEY_FILE)? };
    let authority =
        Authority::from_pem(&texts).map_err(|error| named(damaged(&texts, &error), &in_one_line(&error)))?;
    if authority.region() != region {
        let text = format!("{} belongs to region {}, not {region}", dir.display(), authority.region());
        return Err(unusable(io::Error::new(io::ErrorKind::InvalidData, text)));
    }
    Ok(Some(renew_region(dir, &authority, now)?.unwrap_or(authority)))
}

/// The file that keeps an authority from being read: they are read in turn, and two that do not go together are told by their
/// certificate.
fn damaged(texts: &AuthorityPem, error: &AuthorityError) -> &'static str {
    let without = AuthorityPem { root_key: None, ..texts.clone() };
    match error {
        _ if texts.root_key.is_some() && Authority::from_pem(&without).is_ok() => ROOT_KEY_FILE,
        AuthorityError::Key(_) => REGION_KEY_FILE,
        AuthorityError::Pem(which, _) | AuthorityError::Count(which) if *which == "root" => ROOT_CERT_FILE,
        AuthorityError::Root(_) | AuthorityError::KeyMismatch("root's") => ROOT_CERT_FILE,
        AuthorityError::Intermediate(_) if texts.root_key.is_none() => "root.pem or region.pem",
        _ => REGION_CERT_FILE,
    }
}

/// An error and what lies behind it.
fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(&format!(": {source}"));
        next = source.source();
    }
    text
}

/// Makes the region's authority and keeps it.
pub fn create(data_dir: &Path, region: &RegionName, now: SystemTime) -> Result<Authority, StartError> {
    let authority = Authority::create(region.clone(), now, &Lifetimes::default())
        .map_err(|e| StartError::Authority(Box::new(e)))?;
    keep(data_dir, &authority)?;
    Ok(authority)
}

/// Keeps an authority, readable by this user alone.
pub fn keep(data_dir: &Path, authority: &Authority) -> Result<(), StartError> {
    let dir = &data_dir.join(TLS_DIR);
    let unusable = |source| StartError::DataDir { dir: dir.clone(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(unusable)?;
    sync_names(dir).map_err(unusable)?;
    let texts = authority.to_pem();
    let write = |name, text: &str| write_private(&dir.join(name), text.as_bytes()).map_err(unusable);
    write(ROOT_CERT_FILE, &texts.root)?;
    if let Some(root_key) = &texts.root_key {
        write(ROOT_KEY_FILE, root_key)?;
    }
    write(REGION_CERT_FILE, &texts.intermediate)?;
    write(REGION_KEY_FILE, &texts.key)
}

/// Renews the region's certificate at two thirds of its life, also one that has ended; none while there is no need or no
/// root key. The region's key stays, so what was signed before still counts.
fn renew_region(dir: &Path, authority: &Authority, now: SystemTime) -> Result<Option<Authority>, StartError> {
    if now < authority.renew_at() {
        return Ok(None);
    }
    if !authority.has_root_key() {
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
    endpoints: &[&Endpoint],
    authority: &Authority,
    identity: &Identity,
) -> Result<Range<SystemTime>, StartError> {
    let credentials = authority
        .issue_own(identity, authority.floored(SystemTime::now()), OWN_LEAF_LIFETIME)
        .map_err(|e| StartError::Authority(Box::new(e)))?;
    let valid = credentials.leaf().not_before()..credentials.leaf().renew_at();
    for endpoint in endpoints {
        endpoint.set_credentials(&credentials, &authority.anchors()).map_err(|e| StartError::Authority(Box::new(e)))?;
    }
    Ok(valid)
}

/// Renews the own certificate, and the region's, at two thirds of their lives, for as long as the server runs. `valid` is
/// the time in which the own one needs no other.
pub async fn keep_renewed(server: Server, mut valid: Range<SystemTime>) {
    // Certificates count by the date: when that is set all looks different.
    let mut jumps = clock::Jumps::watch();
    let (mut retry, mut said) = (Duration::ZERO, String::new());
    loop {
        let Some(authority) = server.authority() else { return };
        let now = authority.floored(SystemTime::now());
        let (mut is_settled, mut is_new) = (true, false);
        if now >= authority.renew_at() {
            match renewed_region(&server, &authority, now).await {
                Ok(renewed) => {
                    server.set_authority(renewed);
                    is_new = true;
                }
                Err(error) => {
                    if said != error {
                        tracing::warn!(%error, "the region's certificate ends soon and was not renewed, trying again");
                        said = error;
                    }
                    is_settled = false;
                }
            }
        }
        if is_new || !valid.contains(&now) {
            match server.renew_own() {
                Ok(next) => valid = next,
                Err(error) => {
                    tracing::error!(%error, "own certificate not renewed, trying again");
                    is_settled = false;
                }
            }
        }
        let wait = if is_settled {
            retry = Duration::ZERO;
            valid.end.duration_since(now).unwrap_or_default().clamp(RENEW_BETWEEN_MIN, RENEW_CHECK_MAX)
        } else {
            // `valid` is two thirds of the own one's life.
            let own_end = valid.end + valid.end.duration_since(valid.start).unwrap_or_default() / 2;
            let left = own_end.min(authority.not_after()).duration_since(now).unwrap_or_default();
            retry = retry_wait(retry, left, chance::seed());
            retry
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = jumps.next() => {}
        }
    }
}

/// A later certificate of the region: made here where the root's key is, else from a fellow that has got one, else asked for.
async fn renewed_region(server: &Server, authority: &Authority, now: SystemTime) -> Result<Authority, String> {
    let dir = &server.inner.data_dir;
    if let Some(renewed) = renew_region(&dir.join(TLS_DIR), authority, now).map_err(|e| in_one_line(&e))? {
        return Ok(renewed);
    }
    let mut found = server.region_certificates().await;
    let mut is_later = find_later(authority, &found);
    if is_later.is_none() {
        if !server.is_leader() {
            return Err("the root's key is not here, and the leader has no later one yet".to_owned());
        }
        found = vec![region_renewal::ask(server, authority).await?];
        is_later = find_later(authority, &found);
    }
    let later = is_later.ok_or("what was got is no later certificate of this region")?;
    keep(dir, &later).map_err(|e| in_one_line(&e))?;
    tracing::info!(region = %later.region(), "the region's certificate was renewed elsewhere");
    Ok(later)
}

/// The authority with the first of these certificates that ends later. The root and the key are one's own: a foreign certificate
/// does not go with them.
fn find_later(authority: &Authority, found: &[String]) -> Option<Authority> {
    found.iter().find_map(|pem| {
        let later = Authority::from_pem(&AuthorityPem { intermediate: pem.clone(), ..authority.to_pem() });
        let later = later.inspect_err(|error| tracing::warn!(%error, "a certificate of the region is not ours"));
        later.ok().filter(|later| later.not_after() > authority.not_after())
    })
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

/// Makes the names of a directory of the server's, and of those above it up to the data directory's own, outlive a power cut.
fn sync_names(dir: &Path) -> io::Result<()> {
    const LEVELS: usize = 4;
    for dir in dir.ancestors().take(LEVELS).filter(|dir| !dir.as_os_str().is_empty()) {
        match File::open(dir).and_then(|dir| dir.sync_all()) {
            // Above the data directory it is not ours: whoever made that must care for its name.
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
    }
    Ok(())
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

    fn open_authority(dir: &Path, region: &RegionName, now: SystemTime) -> Result<Authority, StartError> {
        Ok(match load(dir, region, now)? {
            Some(authority) => authority,
            None => create(dir, region, now)?,
        })
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
    fn a_renewal_that_fails_is_tried_ever_more_seldom_but_not_past_the_end() {
        let (mut last, mut waits) = (Duration::ZERO, Vec::new());
        for number in 0..40 {
            last = retry_wait(last, 100 * DAY, number * 677);
            waits.push(last);
        }
        assert_eq!(waits[0], RENEW_RETRY_MIN);
        let is_spread = |wait: &Duration| (RENEW_CHECK_MAX * 3 / 4..=RENEW_CHECK_MAX).contains(wait);
        assert!(waits.iter().skip(25).all(is_spread), "{waits:?}");
        assert!(waits.windows(2).skip(25).any(|pair| pair[0] != pair[1]), "{waits:?}");
        // Five minutes before its last hour, then in it, then past it.
        for (left, expected) in
            [(RENEW_MARGIN + Duration::from_secs(300), 300), (RENEW_MARGIN, 30), (Duration::ZERO, 30)]
        {
            assert_eq!(retry_wait(RENEW_CHECK_MAX, left, 0), Duration::from_secs(expected));
        }
        assert_eq!(retry_wait(Duration::ZERO, Duration::ZERO, 0), RENEW_RETRY_MIN);
    }

    #[test]
    fn a_damaged_authority_is_not_replaced_by_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        open_authority(dir.path(), &region(), SystemTime::now()).unwrap();
        let tls = dir.path().join(TLS_DIR);
        let key = fs::read(tls.join(REGION_KEY_FILE)).unwrap();
        fs::remove_file(tls.join(ROOT_CERT_FILE)).unwrap();
        assert!(open_authority(dir.path(), &region(), SystemTime::now()).is_err());
        assert_eq!(fs::read(tls.join(REGION_KEY_FILE)).unwrap(), key);
    }

    #[test]
    fn a_file_that_is_no_text_is_named() {
        for name in [ID_FILE, NODE_KEY_FILE] {
            let dir = tempfile::tempdir().unwrap();
            open_home(dir.path()).unwrap();
            fs::write(dir.path().join(name), b"\xff").unwrap();
            let Err(StartError::DataDir { source, .. }) = open_home(dir.path()) else { panic!("{name} is believed") };
            assert!(source.to_string().contains(name), "{source}");
        }
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
