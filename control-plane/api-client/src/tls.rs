//! HTTPS: which authorities are believed, what is shown to the agent, and how files that don't fit are refused.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::error::TlsError;

/// Where systems keep the authorities that everybody believes, the first that is there counts.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// How agents are reached by HTTPS. Empty paths and names are not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// A PEM file with the authorities that are believed; the system's when neither file nor folder is given.
    pub ca_file: PathBuf,
    /// A folder of such files; a file wins.
    pub ca_dir: PathBuf,
    /// The certificate to show, in PEM.
    pub client_cert: PathBuf,
    /// Its key, in PEM.
    pub client_key: PathBuf,
    /// The name that the agent's certificate must have; the address's host when empty.
    pub server_name: String,
    /// Believe any certificate.
    pub skip_verify: bool,
}

impl TlsOptions {
    /// Reads the files that are named. They are read for plain HTTP as well, so that a wrong one is always said;
    /// the system's authorities only for HTTPS.
    pub(crate) fn load(&self, is_https: bool) -> Result<TlsConfig, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = if !self.ca_file.as_os_str().is_empty() {
            certificates(&self.ca_file).map_err(|problem| TlsError::CaFile { problem })?
        } else if !self.ca_dir.as_os_str().is_empty() {
            folder(&self.ca_dir).map_err(|problem| TlsError::CaPath { problem })?
        } else if is_https && !self.skip_verify {
            system_roots()?
        } else {
            Vec::new()
        };
        let roots = roots.iter().map(|root| Certificate::from_der(root).to_owned());
        Ok(TlsConfig::builder()
            .root_certs(RootCerts::from(roots))
            .client_cert(self.client_cert(&provider)?)
            .disable_verification(self.skip_verify)
            .unversioned_rustls_crypto_provider(provider)
            .build())
    }

    /// The same settings for connections that the HTTP library does not make.
    pub(crate) fn plain_config(&self) -> Result<rustls::ClientConfig, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider));
        let no_version = |error: rustls::Error| TlsError::Pair { problem: error.to_string() };
        let builder = builder.with_safe_default_protocol_versions().map_err(no_version)?;
        let builder = if self.skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        } else {
            let roots = if !self.ca_file.as_os_str().is_empty() {
                certificates(&self.ca_file).map_err(|problem| TlsError::CaFile { problem })?
            } else if !self.ca_dir.as_os_str().is_empty() {
                folder(&self.ca_dir).map_err(|problem| TlsError::CaPath { problem })?
            } else {
                system_roots()?
            };
            let mut store = rustls::RootCertStore::empty();
            // One that can't be read is not believed, which is all that can follow from it.
            store.add_parsable_certificates(roots);
            builder.with_root_certificates(store)
        };
        if self.client_cert.as_os_str().is_empty() {
            return Ok(builder.with_no_client_auth());
        }
        let pair = |problem| TlsError::Pair { problem };
        let chain = certificates(&self.client_cert).map_err(pair)?;
        let key = read(&self.client_key).map_err(pair)?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| pair(error.to_string()))?;
        builder.with_client_auth_cert(chain, key).map_err(|error| pair(error.to_string()))
    }

    fn client_cert(&self, provider: &CryptoProvider) -> Result<Option<ClientCert>, TlsError> {
        let (cert, key) = (&self.client_cert, &self.client_key);
        match (cert.as_os_str().is_empty(), key.as_os_str().is_empty()) {
            (true, true) => return Ok(None),
            (false, false) => {}
            _ => return Err(TlsError::HalfPair),
        }
        let pair = |problem| TlsError::Pair { problem };
        let chain = certificates(cert).map_err(pair)?;
        let key_text = read(key).map_err(pair)?;
        let no_key = || pair(format!("no private key in {}", key.display()));
        let key_der = PrivateKeyDer::from_pem_slice(&key_text).map_err(|_| no_key())?;
        // The HTTP library would take a pair that does not fit for granted.
        CertifiedKey::from_der(chain.clone(), key_der, provider).map_err(|error| pair(error.to_string()))?;
        let chain: Vec<_> = chain.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let key = PrivateKey::from_pem(&key_text).map_err(|_| no_key())?;
        Ok(Some(ClientCert::new_with_certs(&chain, key)))
    }
}

/// Believes anybody: for who has asked for that. Signatures are checked all the same.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("open {}: {}", path.display(), reason(&error)))
}

/// The system's words without its number.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(|| format!("Couldn't parse PEM in: {}", path.display()))
}

fn folder(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |error: io::Error| format!("open {}: {}", path.display(), reason(&error));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.is_file() {
            found.extend(certificates(&file)?);
        }
    }
    Ok(found)
}

fn system_roots() -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bundle = SYSTEM_BUNDLES.iter().map(Path::new).find(|path| path.is_file()).ok_or(TlsError::NoAuthorities)?;
    certificates(bundle).map_err(|problem| TlsError::CaFile { problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(options: &TlsOptions) -> String {
        options.load(false).expect_err("it is refused").to_string()
    }

    #[test]
    fn files_that_do_not_fit_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let pair = |name: &str| {
            let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
            let cert = file(&format!("{name}.pem"), &made.cert.pem());
            (cert, file(&format!("{name}-key.pem"), &made.signing_key.serialize_pem()))
        };
        let (cert, key) = pair("a");
        let (_, other_key) = pair("b");
        let empty = file("empty.pem", "");
        let with_ca = |ca_file: &Path| TlsOptions { ca_file: ca_file.to_owned(), ..TlsOptions::default() };
        let with_pair = |cert: &Path, key: &Path| TlsOptions {
            client_cert: cert.to_owned(),
            client_key: key.to_owned(),
            ..TlsOptions::default()
        };
        assert_eq!(
            said(&with_ca(Path::new("nofile"))),
            "Error loading CA File: open nofile: no such file or directory"
        );
        assert_eq!(
            said(&with_ca(&empty)),
            format!("Error loading CA File: Couldn't parse PEM in: {}", empty.display())
        );
        let ca_dir = TlsOptions { ca_dir: "nodir".into(), ..TlsOptions::default() };
        assert_eq!(said(&ca_dir), "Error loading CA Path: open nodir: no such file or directory");
        assert_eq!(said(&with_pair(&cert, Path::new(""))), "both client cert and client key must be provided");
        assert!(said(&with_pair(&cert, &empty)).ends_with(&format!("no private key in {}", empty.display())));
        assert!(said(&with_pair(&cert, &other_key)).starts_with("Error loading client certificate: "));
        assert!(with_ca(&cert).load(true).is_ok() && with_pair(&cert, &key).load(false).is_ok());
    }
}
