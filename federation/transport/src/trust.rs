//! What an endpoint shows and whom it believes; exchanged as a whole while connections come and go.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use drover_certs::{Anchors, Credentials, Identity};
use rustls::RootCertStore;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
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

/// One state of the matter. Never changed, only replaced.
pub(crate) struct Trust {
    pub(crate) identity: Identity,
    pub(crate) anchors: Anchors,
    pub(crate) roots: Arc<RootCertStore>,
    /// Judges callers by the roots.
    pub(crate) callers: Arc<dyn ClientCertVerifier>,
    shown: Arc<CertifiedKey>,
    /// The same chain with the root behind it, for joiners who know the root by its fingerprint only.
    shown_with_root: Arc<CertifiedKey>,
}

impl Trust {
    fn new(credentials: &Credentials, anchors: &Anchors, provider: &Arc<CryptoProvider>) -> Result<Trust, TrustError> {
        let root = anchors.issuer_of(credentials.leaf()).ok_or(TrustError::Issuer)?;
        let roots = Arc::new(anchors.root_store()?);
        let callers = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?;
        Ok(Trust {
            identity: credentials.leaf().identity().clone(),
            shown: credentials.certified_key(None)?,
            shown_with_root: credentials.certified_key(Some(root))?,
            anchors: anchors.clone(),
            roots,
            callers,
        })
    }

    /// What this side shows when it dials.
    pub(crate) fn as_caller(&self) -> Arc<dyn ResolvesClientCert> {
        Arc::new(SingleCertAndKey::from(self.shown.clone()))
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
        credentials: &Credentials,
        anchors: &Anchors,
        provider: &Arc<CryptoProvider>,
    ) -> Result<(), TrustError> {
        let trust = Trust::new(credentials, anchors, provider)?;
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
