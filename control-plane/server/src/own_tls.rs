//! Certificates of the operator's own for RPC (`tls { rpc = true }`) in place of the region's automatic authority.
//!
//! They state role and region; which server this is says the key in its data directory. Nothing is handed over, issued or renewed
//! then: whoever has a certificate of that authority takes part.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use drover_certs::{Anchors, NodeKey, OwnCertificate, RegionName, Role};
use drover_protocol::host_file::{NO_FINGERPRINT, OWN_CERTIFICATES};
use drover_transport::Endpoint;

use crate::authority::{self, Home};
use crate::server::Server;
use crate::settings::StartError;

/// From so long before its end on, a certificate's end is spoken of.
const WARN_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often.
const WARN_EVERY: Duration = Duration::from_secs(24 * 3600);

/// PEM files of the operator's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnTls {
    /// The authorities that are believed.
    pub ca: PathBuf,
    /// The server's certificate with its chain.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OwnTlsError {
    /// A file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Certificate or key are none.
    #[error("use certificate {} with key {}", cert.display(), key.display())]
    Certificate {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        #[source]
        source: drover_certs::own::OwnError,
    },
    /// The authorities are none.
    #[error("use the authorities in {}", path.display())]
    Authorities {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: drover_certs::anchors::AnchorsError,
    },
    /// It is for something else.
    #[error("{} is a certificate for {found}, this is server.{region}: make one with `drover tls cert create -server -region {region}`", path.display())]
    Other {
        /// Which file.
        path: PathBuf,
        /// What it is for.
        found: String,
        /// This server's region.
        region: RegionName,
    },
    /// It names a node, and that is another one.
    #[error("{} is the certificate of {found}, this is server {own}: use it where it belongs, or one that names no node", path.display())]
    OtherNode {
        /// Which file.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// This server's id.
        own: String,
    },
    /// The endpoints refuse it.
    #[error("use {}", path.display())]
    Trust {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: drover_transport::TrustError,
    },
    /// The server's id was made before there were keys for it.
    #[error("{} has an id without a key (node-key.pem): a server with certificates of its own needs an empty data_dir", dir.display())]
    NoNodeKey {
        /// The data directory.
        dir: PathBuf,
    },
}

/// What the files hold, and the key that says which server this is.
pub struct OwnTrust {
    certificate: OwnCertificate,
    anchors: Anchors,
    key: NodeKey,
    cert_path: PathBuf,
}

impl OwnTls {
    /// Reads the files of a server of that region with that home.
    ///
    /// # Errors
    /// One can't be read, or they are for another role or region.
    pub fn load(&self, region: &RegionName, home: &Home, data_dir: &Path) -> Result<OwnTrust, OwnTlsError> {
        let read = |path: &Path| {
            let unreadable = |source| OwnTlsError::Read { path: path.to_owned(), source };
            std::fs::read_to_string(path).map_err(unreadable)
        };
        let (cert, key) = (read(&self.cert)?, read(&self.key)?);
        let certificate = OwnCertificate::from_pem(&cert, &key).map_err(|source| OwnTlsError::Certificate {
            cert: self.cert.clone(),
            key: self.key.clone(),
            source,
        })?;
        let holder = certificate.holder();
        if holder.role != Role::Server || holder.region != *region {
            let (path, found) = (self.cert.clone(), holder.to_string());
            return Err(OwnTlsError::Other { path, found, region: region.clone() });
        }
        if holder.node.as_ref().is_some_and(|node| *node != home.id) {
            let (path, found) = (self.cert.clone(), holder.to_string());
            return Err(OwnTlsError::OtherNode { path, found, own: home.id.clone() });
        }
        let anchors = Anchors::from_pem(&read(&self.ca)?)
            .map_err(|source| OwnTlsError::Authorities { path: self.ca.clone(), source })?;
        let key = home.key.clone().ok_or_else(|| OwnTlsError::NoNodeKey { dir: data_dir.to_owned() })?;
        Ok(OwnTrust { certificate, anchors, key, cert_path: self.cert.clone() })
    }
}

impl OwnTrust {
    /// From now on that endpoint shows it.
    pub(crate) fn show_on(&self, endpoint: &Endpoint) -> Result<(), StartError> {
        let set = endpoint.set_own_credentials(&self.certificate, &self.anchors, &self.key);
        Ok(set.map_err(|source| Box::new(OwnTlsError::Trust { path: self.cert_path.clone(), source }))?)
    }
}

impl Server {
    /// This region's certificates are of the operator's own authority.
    pub fn has_own_certificates(&self) -> bool {
        self.inner.settings.own_tls.is_some()
    }

    /// Reads own certificates again and shows them from now on; connections that exist go on as they are. Nothing to do where the
    /// certificates are drover's.
    ///
    /// # Errors
    /// They can't be used; then those from before stay.
    pub fn reload_certificates(&self) -> Result<(), StartError> {
        let Some(files) = &self.inner.settings.own_tls else { return Ok(()) };
        let home = authority::open_home(&self.inner.data_dir)?;
        let trust = files.load(self.region_name(), &home, &self.inner.data_dir).map_err(Box::new)?;
        self.show_own(&trust)?;
        tracing::info!("rpc: certificate reloaded");
        self.speak_of_the_end();
        Ok(())
    }

    /// From now on this server shows that certificate, and says to its host where it is.
    pub(crate) fn begin_own(&self, trust: &OwnTrust) -> Result<(), StartError> {
        self.show_own(trust)?;
        self.inner.host_file.write(&self.own_host_file(), self.inner.rpc_bound.port());
        tokio::spawn(speak_of_the_end(self.clone()));
        Ok(())
    }

    fn show_own(&self, trust: &OwnTrust) -> Result<(), StartError> {
        for endpoint in [&self.inner.endpoint, &self.inner.gossip_endpoint] {
            trust.show_on(endpoint)?;
        }
        *self.inner.own_end.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            Some(trust.certificate.not_after());
        Ok(())
    }

    fn speak_of_the_end(&self) {
        let end = *self.inner.own_end.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let left = end.and_then(|end| end.duration_since(SystemTime::now()).ok()).unwrap_or_default();
        if left < WARN_BEFORE {
            let days = left.as_secs() / WARN_EVERY.as_secs();
            tracing::warn!(days, "tls.cert_file ends soon: put a new one in its place and reload (SIGHUP)");
        }
    }

    /// What the host's other agents are told to expect.
    pub(crate) fn host_fingerprint(&self) -> String {
        if self.has_own_certificates() {
            return OWN_CERTIFICATES.to_owned();
        }
        self.authority().map_or_else(|| NO_FINGERPRINT.to_owned(), |authority| authority.fingerprint().to_string())
    }
}

/// Nobody renews these: who runs the servers is told in time.
async fn speak_of_the_end(server: Server) {
    loop {
        server.speak_of_the_end();
        tokio::time::sleep(WARN_EVERY).await;
    }
}
