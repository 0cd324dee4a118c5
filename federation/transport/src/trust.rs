//! What an endpoint shows and whom it believes; exchanged as a whole while connections come and go.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use drover_certs::{Anchors, Credentials, Identity, NodeKey, OwnCertificate};
use rustls::RootCertStore;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::protocol::Protocol;

/// Why credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// None of the anchors signed the chain: everyone who believes the same anchors would refuse it.
    #[error("the certificate's chain does not end at any of the roots")]
    Issuer,
    /// The TLS library refuses a root or the key.
    #[error("cannot use these certificates")]
    Tls(#[from] rustls::Error),
    /// The TLS library cannot judge callers by these roots.
    #[error("cannot judge callers by these roots")]
    Verifier(#[from] VerifierBuilderError),
}

/// What a dialler shows; nothing by default.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    pub(crate) shown: Option<Arc<dyn ResolvesClientCert>>,
    /// What it introduces itself with where its certificate is one that people made.
    pub(crate) node_key: Option<NodeKey>,
}

/// One state of the matter. Never changed, only replaced.
pub(crate) struct Trust {
    pub(crate) identity: Identity,
    pub(crate) anchors: Anchors,
    /// With certificates of an own authority: what this node introduces itself with.
    pub(crate) node_key: Option<NodeKey>,
    pub(crate) roots: Arc<RootCertStore>,
    /// Judges callers by the roots.
    pub(crate) callers: Arc<dyn ClientCertVerifier>,
    shown: Arc<CertifiedKey>,
    /// The same chain with the root behind it, for joiners who know the root by its fingerprint only.
    shown_with_root: Arc<CertifiedKey>,
}

/// What an endpoint shows: a certificate with what belongs to it.
#[derive(Debug, Clone)]
pub(crate) enum Shows {
    /// One of drover's own making, which names the node.
    Issued(Credentials),
    /// One that people made, which states a role, and the key that says which node this is.
    Own(OwnCertificate, NodeKey),
}

impl Shows {
    fn identity(&self) -> Identity {
        match self {
            Shows::Issued(credentials) => credentials.leaf().identity().clone(),
            Shows::Own(certificate, key) => {
                let holder = certificate.holder().clone();
                let node = holder.node.unwrap_or_else(|| key.node());
                Identity { region: holder.region, role: holder.role, node }
            }
        }
    }

    fn chain(&self) -> &[CertificateDer<'static>] {
        match self {
            Shows::Issued(credentials) => credentials.leaf().chain(),
            Shows::Own(certificate, _) => certificate.chain(),
        }
    }

    fn certified(&self) -> Result<Arc<CertifiedKey>, rustls::Error> {
        match self {
            Shows::Issued(credentials) => credentials.certified_key(None),
            Shows::Own(certificate, _) => Ok(certificate.certified_key()),
        }
    }
}

impl Trust {
    fn new(shows: &Shows, anchors: &Anchors, provider: &Arc<CryptoProvider>) -> Result<Trust, TrustError> {
        let root = anchors.issuer_of_chain(shows.chain()).ok_or(TrustError::Issuer)?;
        let roots = Arc::new(anchors.root_store()?);
        let callers = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?;
        let shown = shows.certified()?;
        let with_root = shown.cert.iter().chain([root]).cloned().collect();
        let shown_with_root = Arc::new(CertifiedKey::new(with_root, shown.key.clone()));
        let node_key = match shows {
            Shows::Issued(_) => None,
            Shows::Own(_, key) => Some(key.clone()),
        };
        let (identity, anchors) = (shows.identity(), anchors.clone());
        Ok(Trust { identity, anchors, node_key, roots, callers, shown, shown_with_root })
    }

    /// The certificates of this federation are people's own: they state a role, and nodes introduce themselves.
    pub(crate) fn is_own(&self) -> bool {
        self.node_key.is_some()
    }

    /// What this side shows when it dials.
    pub(crate) fn as_caller(&self) -> Caller {
        let shown = Arc::new(SingleCertAndKey::from(self.shown.clone()));
        Caller { shown: Some(shown), node_key: self.node_key.clone() }
    }
}

/// The place where the present state is found. Empty until there are credentials.
#[derive(Default)]
pub(crate) struct TrustCell(RwLock<Option<Arc<Trust>>>);

impl TrustCell {
    pub(crate) fn current(&self) -> Option<Arc<Trust>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn replace(
        &self,
        shows: &Shows,
        anchors: &Anchors,
        provider: &Arc<CryptoProvider>,
    ) -> Result<(), TrustError> {
        let trust = Trust::new(shows, anchors, provider)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(trust));
        Ok(())
    }
}

impl fmt::Debug for TrustCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TrustCell").field(&self.current().map(|trust| trust.identity.clone())).finish()
    }
}

/// Picks what an accepting endpoint shows.
#[derive(Debug)]
pub(crate) struct ShownToCallers(pub(crate) Arc<TrustCell>);

impl ResolvesServerCert for ShownToCallers {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let trust = self.0.current()?;
        let is_joiner = hello.alpn().is_some_and(|mut names| names.any(|name| name == Protocol::Enrol.alpn()));
        Some(if is_joiner { trust.shown_with_root.clone() } else { trust.shown.clone() })
    }
}
