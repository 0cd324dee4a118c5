//! TLS settings: version 1.3 only, the ring provider by name, no session resumption (a ticket would carry an old identity over).

use std::sync::Arc;

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};

use crate::clock::Clock;
use crate::protocol::Protocol;
use crate::settings;
use crate::trust::{ShownToCallers, TrustCell};
use crate::verify::{Callers, RegionServer};

/// The TLS library refused the settings.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// They contradict each other.
    #[error("cannot set up TLS")]
    Settings(#[from] rustls::Error),
    /// The provider lacks the cipher that QUIC begins with.
    #[error("cannot set up TLS for QUIC")]
    Quic(#[from] NoInitialCipherSuite),
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(crate) fn listener(
    protocols: &[Protocol],
    trust: &Arc<TrustCell>,
    clock: Clock,
    provider: &Arc<CryptoProvider>,
) -> Result<quinn::ServerConfig, TlsError> {
    let callers = Callers { trust: trust.clone(), algorithms: provider.signature_verification_algorithms };
    let mut tls = ServerConfig::builder_with_details(provider.clone(), Arc::new(clock))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(callers))
        .with_cert_resolver(Arc::new(ShownToCallers(trust.clone())));
    tls.alpn_protocols = protocols.iter().map(|protocol| protocol.alpn().to_vec()).collect();
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    tls.max_early_data_size = 0;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(settings::accepted(protocols));
    config.migration(true);
    Ok(config)
}

/// Settings for one dial; `shown` is what this side shows, if anything.
pub(crate) fn dialler(
    protocol: Protocol,
    judge: RegionServer,
    shown: Option<Arc<dyn ResolvesClientCert>>,
    clock: Clock,
    provider: &Arc<CryptoProvider>,
) -> Result<quinn::ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_details(provider.clone(), Arc::new(clock))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(judge));
    let mut tls = match shown {
        Some(shown) => builder.with_client_cert_resolver(shown),
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![protocol.alpn().to_vec()];
    tls.resumption = Resumption::disabled();
    tls.enable_early_data = false;
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(settings::dialled(protocol));
    Ok(config)
}
