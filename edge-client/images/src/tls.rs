//! Whom a registry's certificate must come from: the host's own list, and what the operator adds.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Where distributions keep their list; the first that is there is read.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Reads the host's list and `extra` files (PEM). A certificate of the host's list that cannot be understood is passed over, as others do;
/// a file of the operator's must be whole.
pub(crate) fn client_config(extra: &[&Path]) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    if let Some(bundle) = BUNDLES.iter().map(Path::new).find(|path| path.is_file()) {
        let read = CertificateDer::pem_file_iter(bundle).map_err(|err| format!("{}: {err}", bundle.display()))?;
        roots.add_parsable_certificates(read.filter_map(Result::ok));
    }
    for path in extra {
        let refuse = |reason: String| format!("ca_file {}: {reason}", path.display());
        let read = CertificateDer::pem_file_iter(path).map_err(|err| refuse(err.to_string()))?;
        let before = roots.len();
        for certificate in read {
            let certificate = certificate.map_err(|err| refuse(err.to_string()))?;
            roots.add(certificate).map_err(|err| refuse(err.to_string()))?;
        }
        if roots.len() == before {
            return Err(refuse("holds no certificate".to_owned()));
        }
    }
    if roots.is_empty() {
        return Err(
            "this host has no list of certificates (package ca-certificates), and there is no ca_file".to_owned()
        );
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|err| err.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
