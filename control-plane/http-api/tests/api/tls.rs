//! HTTPS: what is shown, who is let in, and what a reload changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use drover_http_api::{ServeOptions, Tls, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Running, ask, start, start_with, within};

/// An authority with a folder for what it signs.
struct Authority {
    dir: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { dir: tempfile::tempdir().unwrap(), issuer };
        std::fs::write(authority.path("ca.pem"), authority.issuer.pem()).unwrap();
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a certificate of that name for 127.0.0.1, and its key.
    fn issue(&self, name: &str) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path("cert.pem"), cert.pem()).unwrap();
        std::fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
        cert.der().clone()
    }

    fn files(&self, client_ca: Option<PathBuf>) -> TlsFiles {
        TlsFiles { cert: self.path("cert.pem"), key: self.path("key.pem"), client_ca }
    }

    /// A caller that believes this authority, and shows the certificate in the folder if it shall.
    fn caller(&self, shows: bool) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let config = if shows {
            let chain = vec![CertificateDer::from_pem_file(self.path("cert.pem")).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(self.path("key.pem")).unwrap()).unwrap()
        } else {
            builder.with_no_client_auth()
        };
        TlsConnector::from(Arc::new(config))
    }
}

async fn dial(running: &Running, caller: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(running.address).await?;
    within("a handshake", caller.connect(running.address.ip().into(), stream)).await
}

/// The first line of the answer to a read.
async fn status(mut stream: TlsStream<TcpStream>) -> std::io::Result<String> {
    stream.write_all(b"GET /v1/jobs HTTP/1.1\r\nHost: drover\r\nConnection: close\r\n\r\n").await?;
    let mut text = String::new();
    within("an answer", stream.read_to_string(&mut text)).await?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

async fn secured(tls: &Arc<Tls>) -> Running {
    start_with(ServeOptions { tls: Some(Arc::clone(tls)), ..ServeOptions::default() }).await
}

#[tokio::test]
async fn the_certificate_is_shown_and_a_reload_shows_the_new_one() {
    let authority = Authority::new();
    let first = authority.issue("first");
    let tls = Arc::new(Tls::load(authority.files(None)).unwrap());
    let running = secured(&tls).await;
    let caller = authority.caller(false);
    let shown = |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].clone();

    let old = dial(&running, &caller).await.unwrap();
    assert_eq!(shown(&old), first);
    let second = authority.issue("second");
    tls.reload().unwrap();
    let new = dial(&running, &caller).await.unwrap();
    assert_eq!(shown(&new), second);
    assert_eq!(status(new).await.unwrap(), "HTTP/1.1 200 OK");
    // One that was open goes on.
    assert_eq!(status(old).await.unwrap(), "HTTP/1.1 200 OK");

    std::fs::write(authority.path("cert.pem"), "nothing").unwrap();
    let said = tls.reload().unwrap_err().to_string();
    assert_eq!(said, format!("no certificate in {}", authority.path("cert.pem").display()));
    assert_eq!(shown(&dial(&running, &caller).await.unwrap()), second);
    assert!(
        dial(&running, &Authority::new().caller(false)).await.is_err(),
        "another authority's callers don't believe it"
    );
    running.stop().await;
}

#[tokio::test]
async fn callers_show_a_certificate_where_they_must() {
    let authority = Authority::new();
    authority.issue("both");
    let tls = Arc::new(Tls::load(authority.files(Some(authority.path("ca.pem")))).unwrap());
    let running = secured(&tls).await;
    let known = dial(&running, &authority.caller(true)).await.unwrap();
    assert_eq!(status(known).await.unwrap(), "HTTP/1.1 200 OK");
    // A caller hears of its refusal with the first read.
    let outcome = match dial(&running, &authority.caller(false)).await {
        Ok(stream) => status(stream).await,
        Err(error) => Err(error),
    };
    assert!(outcome.is_err(), "{outcome:?}");
    running.stop().await;
}

#[tokio::test]
async fn plain_http_is_told_so() {
    let authority = Authority::new();
    authority.issue("server");
    let running = secured(&Arc::new(Tls::load(authority.files(None)).unwrap())).await;
    let answer = running.get("/v1/jobs").await;
    assert_eq!((answer.status, answer.body.as_str()), (400, "this port takes HTTPS only"));
    running.stop().await;
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_ended() {
    let authority = Authority::new();
    authority.issue("server");
    let tls = Some(Arc::new(Tls::load(authority.files(None)).unwrap()));
    let handshake_time_max = Some(std::time::Duration::from_millis(50));
    let running = start_with(ServeOptions { tls, handshake_time_max, ..ServeOptions::default() }).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let read = tokio::time::timeout(crate::support::PATIENCE, stream.read(&mut [0])).await.expect("it is closed");
    assert_eq!(read.unwrap(), 0);
    running.stop().await;
}

#[test]
fn files_that_can_not_be_used_are_named() {
    let authority = Authority::new();
    authority.issue("a");
    let other = Authority::new();
    other.issue("b");
    let good = authority.files(None);
    let check = |files: TlsFiles, path: &Path| {
        let said = Tls::load(files).err().expect("it is refused").to_string();
        assert!(said.contains(&path.display().to_string()), "{said}");
    };
    let missing = authority.path("missing.pem");
    let ca = authority.path("ca.pem");
    check(TlsFiles { cert: missing.clone(), ..good.clone() }, &missing);
    check(TlsFiles { key: missing.clone(), ..good.clone() }, &missing);
    check(TlsFiles { client_ca: Some(missing.clone()), ..good.clone() }, &missing);
    check(TlsFiles { key: ca.clone(), ..good.clone() }, &ca);
    check(TlsFiles { cert: good.key.clone(), ..good.clone() }, &good.key);
    check(TlsFiles { key: other.path("key.pem"), ..good }, &other.path("key.pem"));
}

#[tokio::test]
async fn an_address_has_only_so_many_connections() {
    let options = ServeOptions { connections_per_client_max: Some(2), ..ServeOptions::default() };
    let running = start_with(options).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(b"GET /v1/jobs HTTP/1.1\r\nHost: drover\r\n\r\n").await.unwrap();
        // Answered, so it has its place.
        assert_eq!(within("an answer", stream.read_u8()).await.unwrap(), b'H');
        held.push(stream);
    }
    let refused = running.get("/v1/jobs").await;
    assert_eq!((refused.status, refused.body.as_str()), (429, "too many connections"));
    drop(held);
    // The server sees the end of the others in its own time.
    let deadline = tokio::time::Instant::now() + crate::support::PATIENCE;
    while running.get("/v1/jobs").await.status != 200 {
        assert!(tokio::time::Instant::now() < deadline, "the places are not given back");
    }
    running.stop().await;
}

#[tokio::test]
async fn the_operators_headers_are_on_every_answer() {
    let headers = [("X-Frame-Options", "DENY"), ("Content-Type", "text/strange")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let running = start_with(ServeOptions::default().with_headers(&headers).unwrap()).await;
    let check = async |method: &str, path: &str, status: u16, content_type: &str| {
        let answer = ask(running.address, method, path, &[], "").await;
        assert_eq!((answer.status, answer.header("x-frame-options")), (status, "DENY"), "{method} {path}");
        assert_eq!(answer.header("content-type"), content_type, "{method} {path}");
    };
    check("GET", "/v1/jobs", 200, "application/json").await;
    check("GET", "/v1/nosuch", 404, "text/plain; charset=utf-8").await;
    check("DELETE", "/v1/jobs", 405, "text/plain; charset=utf-8").await;
    check("OPTIONS", "/v1/jobs", 204, "text/strange").await;
    running.stop().await;
    let plain = start().await;
    assert_eq!(plain.get("/v1/jobs").await.header("x-frame-options"), "");
    plain.stop().await;
}
