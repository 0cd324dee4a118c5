//! The file by which the agents of one host find and trust each other (design: "On one host nothing is asked for").
//!
//! A server writes one per RPC port and network namespace, mode 0600 in a directory of mode 0700. Whoever can read it
//! proves so with a MAC under its secret; the secret itself never travels. Here are its name, its form and whose files
//! count; reading and writing is the callers'.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The only version of the form.
pub const HOST_FILE_VERSION: u32 = 1;
/// The longest file that is read, in bytes.
pub const BYTES_MAX: usize = 16 << 10;

/// What a server says of itself to its own host. Its debug form shows the secret: don't print it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFile {
    /// [`HOST_FILE_VERSION`].
    pub version: u32,
    /// The server's region.
    pub region: String,
    /// The root's fingerprint, 64 hexadecimal digits.
    pub fingerprint: String,
    /// 32 random bytes made at the server's start, 64 hexadecimal digits.
    pub secret: String,
    /// Where it takes RPCs, as `address:port`.
    pub rpc: String,
    /// Where it answers HTTP, as `address:port`; empty when it does not.
    #[serde(default)]
    pub http: String,
    /// The server's process.
    pub pid: u32,
    /// Where it takes gossip, as `address:port`; empty when it does not.
    #[serde(default)]
    pub gossip: String,
    /// How many servers it forms its region with.
    #[serde(default)]
    pub bootstrap_expect: u32,
    /// Gossip addresses of the servers that it is told to join.
    #[serde(default)]
    pub joins: Vec<String>,
}

/// The fingerprint in the file of a server that has no authority yet: none has it.
pub const NO_FINGERPRINT: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The fingerprint in the file of a server whose certificates are of its operator's own authority: none has it.
pub const OWN_CERTIFICATES: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
/// What an agent is told that meets such a server without a certificate of that authority.
pub const OWN_CERTIFICATES_HELP: &str = "the servers of this region use certificates of an own authority: set tls { rpc = true, \
    ca_file, cert_file, key_file } here too (`drover tls cert create` makes the files)";

impl std::fmt::Debug for HostFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostFile({} at {}, pid {})", self.region, self.rpc, self.pid)
    }
}

/// A text that is no host file.
#[derive(Debug, thiserror::Error)]
pub enum HostFileError {
    /// Not JSON, or a field is missing.
    #[error("can't be read")]
    Form(#[source] serde_json::Error),
    /// Written by another version.
    #[error("has version {0}, this is version {HOST_FILE_VERSION}")]
    Version(u32),
    /// A field has a value that it can't have.
    #[error("its {0} makes no sense")]
    Field(&'static str),
    /// Longer than [`BYTES_MAX`].
    #[error("has {0} bytes, more than {BYTES_MAX}")]
    TooLarge(usize),
}

impl HostFile {
    /// Its text.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("the fields are plain texts and numbers")
    }

    /// Reads its text and checks each field's form.
    pub fn parse(text: &[u8]) -> Result<HostFile, HostFileError> {
        if text.len() > BYTES_MAX {
            return Err(HostFileError::TooLarge(text.len()));
        }
        let file: HostFile = serde_json::from_slice(text).map_err(HostFileError::Form)?;
        if file.version != HOST_FILE_VERSION {
            return Err(HostFileError::Version(file.version));
        }
        let is_hex = |digits: &str| digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if file.region.is_empty() {
            return Err(HostFileError::Field("region"));
        }
        if !is_hex(&file.fingerprint) {
            return Err(HostFileError::Field("fingerprint"));
        }
        if !is_hex(&file.secret) {
            return Err(HostFileError::Field("secret"));
        }
        if file.rpc.is_empty() {
            return Err(HostFileError::Field("rpc"));
        }
        Ok(file)
    }
}

/// What is signed to make a join token on a server's own host: the order in full, so that nothing of it can be changed,
/// and when it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenOrder<'a> {
    /// `client`.
    pub role: &'a str,
    /// How many machines; none is the server's default.
    pub uses: Option<u32>,
    /// For how long, as written; empty is the server's default.
    pub ttl: &'a str,
    /// Only into this pool.
    pub node_pool: &'a str,
    /// Only into this datacenter.
    pub datacenter: &'a str,
    /// Into this region; empty is the server's own.
    pub region: &'a str,
    /// Unix seconds.
    pub time: i64,
}

/// The most seconds between the clock of the signer and the server's: both are on one host.
pub const ORDER_AGE_MAX_SECONDS: u64 = 60;

impl TokenOrder<'_> {
    /// The bytes that are signed. Each text is preceded by its length, so that no two orders look alike.
    pub fn message(&self) -> Vec<u8> {
        let uses = self.uses.map(|uses| uses.to_string()).unwrap_or_default();
        let time = self.time.to_string();
        let mut message = b"drover join token".to_vec();
        let usual = [self.role, &uses, self.ttl, self.node_pool, self.datacenter, &time];
        for text in usual.into_iter().chain((!self.region.is_empty()).then_some(self.region)) {
            message.extend((text.len() as u64).to_be_bytes());
            message.extend(text.as_bytes());
        }
        message
    }
}

/// `<rpc port>-<inode of the network namespace>.json`: the inode of `/proc/self/ns/net`, so that ports of one namespace are
/// never taken for those of another.
pub fn file_name(rpc_port: u16, netns_inode: u64) -> String {
    format!("{rpc_port}-{netns_inode}.json")
}

/// RPC port and network namespace of a file of that name; none for any other name.
pub fn parse_file_name(name: &str) -> Option<(u16, u64)> {
    let (port, inode) = name.strip_suffix(".json")?.split_once('-')?;
    Some((port.parse().ok()?, inode.parse().ok()?))
}

/// The name of the file by which a server says that it waits for an authority. Clients pass it over: nobody can be joined there.
pub fn waiting_file_name(rpc_port: u16, netns_inode: u64) -> String {
    format!("{rpc_port}-{netns_inode}.waiting")
}

/// RPC port and network namespace of such a file; none for any other name.
pub fn parse_waiting_file_name(name: &str) -> Option<(u16, u64)> {
    let (port, inode) = name.strip_suffix(".waiting")?.split_once('-')?;
    Some((port.parse().ok()?, inode.parse().ok()?))
}

/// Where the server of that user writes its file.
pub fn directory(uid: u32, xdg_runtime_dir: Option<&Path>) -> PathBuf {
    match xdg_runtime_dir.filter(|dir| dir.is_absolute()) {
        _ if uid == 0 => PathBuf::from("/run/drover"),
        Some(dir) => dir.join("drover"),
        None => PathBuf::from(format!("/tmp/drover-{uid}")),
    }
}

/// Where an agent of that user looks, best first, and who must own directory and file: itself, root, and under sudo the
/// user that called it.
pub fn directories(uid: u32, sudo_uid: Option<u32>, xdg_runtime_dir: Option<&Path>) -> Vec<(PathBuf, u32)> {
    let mut found = vec![(directory(uid, xdg_runtime_dir), uid)];
    if uid != 0 {
        found.push((directory(0, None), 0));
    } else if let Some(caller) = sudo_uid.filter(|caller| *caller != 0) {
        found.push((PathBuf::from(format!("/run/user/{caller}/drover")), caller));
        found.push((directory(caller, None), caller));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_orders_are_signed_alike() {
        let order = TokenOrder { role: "client", node_pool: "ab", datacenter: "c", time: 1, ..TokenOrder::default() };
        assert_ne!(order.message(), TokenOrder { node_pool: "a", datacenter: "bc", ..order.clone() }.message());
        assert_ne!(order.message(), TokenOrder { uses: Some(1), ..order.clone() }.message());
    }

    fn file() -> HostFile {
        HostFile {
            version: HOST_FILE_VERSION,
            region: "global".to_owned(),
            fingerprint: "ab".repeat(32),
            secret: "cd".repeat(32),
            rpc: "127.0.0.1:4647".to_owned(),
            http: "127.0.0.1:4646".to_owned(),
            pid: 7,
            gossip: "127.0.0.1:4648".to_owned(),
            bootstrap_expect: 1,
            joins: Vec::new(),
        }
    }

    #[test]
    fn a_file_reads_back_and_hides_its_secret() {
        let read = HostFile::parse(file().to_json().as_bytes()).unwrap();
        assert_eq!(read, file());
        assert!(!format!("{read:?}").contains("cdcd"));
    }

    #[test]
    fn other_texts_are_refused() {
        let check = |change: &dyn Fn(&mut HostFile), expected: &str| {
            let mut changed = file();
            change(&mut changed);
            assert_eq!(HostFile::parse(changed.to_json().as_bytes()).unwrap_err().to_string(), expected);
        };
        check(&|file| file.version = 2, "has version 2, this is version 1");
        check(&|file| file.secret = "xy".to_owned(), "its secret makes no sense");
        check(&|file| file.fingerprint.clear(), "its fingerprint makes no sense");
        check(&|file| file.rpc.clear(), "its rpc makes no sense");
        assert!(HostFile::parse(b"{").is_err());
        assert!(HostFile::parse(&vec![b' '; BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn names_and_places() {
        assert_eq!(parse_file_name(&file_name(4647, 4026531840)), Some((4647, 4026531840)));
        assert_eq!(parse_file_name("4647.json"), None);
        assert_eq!(parse_file_name(&waiting_file_name(4647, 1)), None);
        assert_eq!(parse_waiting_file_name(&waiting_file_name(4647, 1)), Some((4647, 1)));
        assert_eq!(directory(0, Some(Path::new("/run/user/0"))), PathBuf::from("/run/drover"));
        assert_eq!(directory(5, Some(Path::new("/run/user/5"))), PathBuf::from("/run/user/5/drover"));
        assert_eq!(directory(5, Some(Path::new("relative"))), PathBuf::from("/tmp/drover-5"));
        let owners = |uid, sudo| directories(uid, sudo, None).into_iter().map(|(_, owner)| owner).collect::<Vec<_>>();
        assert_eq!(owners(0, None), [0]);
        assert_eq!(owners(0, Some(5)), [0, 5, 5]);
        assert_eq!(owners(5, Some(6)), [5, 0]);
    }
}
