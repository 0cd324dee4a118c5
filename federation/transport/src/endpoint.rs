//! One UDP port that dials and, where asked to, accepts.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use drover_certs::identity::role_name;
use drover_certs::{Anchors, Credentials, Fingerprint, Holder, Identity, NodeKey, OwnCertificate, RegionName};
use rustls::crypto::CryptoProvider;
use tokio::sync::{Mutex, mpsc};
use tokio::task::AbortHandle;

use crate::accept::{ACCEPT_QUEUE_MAX, WELCOME, accept_all};
use crate::clock::Clock;
use crate::close::{CloseCode, Closed, reason_bytes};
use crate::connection::{Connection, End, Seats};
use crate::introduction::{introduce, read_introduction};
use crate::peer::{Accepted, Certificate, Enrolment, Judged, Peer, Refusal, Shown, Wanted, chain_of, judge};
use crate::protocol::Protocol;
use crate::settings;
use crate::short_ids::ShortIds;
use crate::tls::{self, TlsError};
use crate::trust::{Caller, Shows, TrustCell, TrustError};
use crate::verify::{Believed, RegionServer};

/// How long [`Endpoint::shutdown`] waits for the other sides to hear of it.
const SHUTDOWN_TIME_MAX: Duration = Duration::from_millis(500);

/// How long a handshake may take when nothing else is said.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// How an endpoint behaves.
#[derive(Debug, Clone)]
pub struct EndpointOptions {
    /// The local address; port 0 takes a free one.
    pub bind: SocketAddr,
    /// The protocols that are accepted. With none, the endpoint only dials and answers nobody.
    pub accepts: Vec<Protocol>,
    /// The clock against which certificates are leaf.
    pub clock: Clock,
    /// How long after its end a certificate still counts for enrolment.
    pub renew_max: Duration,
    /// The most connections at a time, dialled ones included; more callers are refused.
    pub connections_max: usize,
    /// The most connections of edges and joiners that come from one address. Servers among themselves are not counted.
    pub connections_per_address_max: Option<usize>,
    /// How long a handshake may take, until somebody has taken the connection; none for as long as it takes.
    pub handshake_time_max: Option<Duration>,
}

impl EndpointOptions {
    /// An endpoint that accepts gossip and nothing else.
    pub fn gossip(bind: SocketAddr) -> EndpointOptions {
        EndpointOptions { accepts: vec![Protocol::Gossip], connections_max: 4096, ..EndpointOptions::listen(bind) }
    }

    /// An endpoint that accepts every protocol of the port for RPC.
    pub fn listen(bind: SocketAddr) -> EndpointOptions {
        EndpointOptions {
            bind,
            accepts: Protocol::RPC.to_vec(),
            clock: Clock::system(),
            renew_max: Duration::from_secs(30 * 24 * 60 * 60),
            connections_max: 16 * 1024,
            connections_per_address_max: None,
            handshake_time_max: Some(HANDSHAKE_TIME_MAX),
        }
    }

    /// An endpoint that only dials.
    pub fn dial_only(bind: SocketAddr) -> EndpointOptions {
        EndpointOptions { accepts: Vec::new(), ..EndpointOptions::listen(bind) }
    }
}

/// A UDP port with what it shows and whom it believes. Copies are the same one; when the last is gone, everything is closed.
#[derive(Clone)]
pub struct Endpoint(Arc<Inner>);

struct Inner {
    quinn: quinn::Endpoint,
    shared: Arc<Shared>,
    accepted: Mutex<mpsc::Receiver<Accepted>>,
    acceptor: AbortHandle,
}

/// What dialling and accepting share.
pub(crate) struct Shared {
    pub(crate) options: EndpointOptions,
    pub(crate) trust: Arc<TrustCell>,
    provider: Arc<CryptoProvider>,
}

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be had.
    #[error("cannot listen on {address}/udp")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The endpoint has no certificate to show yet.
    #[error("this machine has no certificate yet")]
    NoCredentials,
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address cannot be dialled.
    #[error("cannot dial this address")]
    Address(#[from] quinn::ConnectError),
    /// No answer in the time given.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    /// The handshake failed, or the other side closed the connection before it welcomed us.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The other side is not who was wanted.
    #[error("the other side is not who was wanted: {0}")]
    Refused(String),
}

impl Endpoint {
    /// Opens the port. Must be called inside a tokio runtime. Nobody is accepted, and only enrolment can be dialled, before
    /// [`Endpoint::set_credentials`].
    pub fn bind(options: EndpointOptions) -> Result<Endpoint, BindError> {
        let provider = tls::provider();
        let trust = Arc::new(TrustCell::default());
        let listens = !options.accepts.is_empty();
        let config = listens.then(|| tls::listener(&options.accepts, &trust, options.clock, &provider)).transpose()?;
        let address = options.bind;
        let quinn = open(address, config).map_err(|source| BindError::Bind { address, source })?;
        let shared = Arc::new(Shared { options, trust, provider });
        let (sender, accepted) = mpsc::channel(ACCEPT_QUEUE_MAX);
        // Without protocols nothing comes, and the task only waits for the end.
        let acceptor = tokio::spawn(accept_all(quinn.clone(), shared.clone(), sender)).abort_handle();
        Ok(Endpoint(Arc::new(Inner { quinn, shared, accepted: Mutex::new(accepted), acceptor })))
    }

    /// What this endpoint shows and whom it believes, from now on. Connections that exist go on as they are.
    pub fn set_credentials(&self, credentials: &Credentials, anchors: &Anchors) -> Result<(), TrustError> {
        self.0.shared.trust.replace(&Shows::Issued(credentials.clone()), anchors, &self.0.shared.provider)
    }

    /// The same with a certificate that people made. It states a role; `key` says which node this is.
    pub fn set_own_credentials(
        &self,
        certificate: &OwnCertificate,
        anchors: &Anchors,
        key: &NodeKey,
    ) -> Result<(), TrustError> {
        let shows = Shows::Own(certificate.clone(), key.clone());
        self.0.shared.trust.replace(&shows, anchors, &self.0.shared.provider)
    }

    /// Who this endpoint says it is; `None` before it has credentials.
    pub fn identity(&self) -> Option<Identity> {
        self.0.shared.trust.current().map(|trust| trust.identity.clone())
    }

    /// The address it is bound to, with the real port.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.quinn.local_addr()
    }

    /// Connections that exist now.
    pub fn open_connections(&self) -> usize {
        self.0.quinn.open_connections()
    }

    /// The next caller, leaf and welcomed; `None` after [`Endpoint::shutdown`]. Safe to drop and call again.
    pub async fn accept(&self) -> Option<Accepted> {
        self.0.accepted.lock().await.recv().await
    }

    /// Dials a server of `region` and waits, for at most `deadline`, until it has welcomed us. For enrolment there is
    /// [`Endpoint::enrol`].
    pub async fn dial(
        &self,
        address: SocketAddr,
        region: &RegionName,
        protocol: Protocol,
        deadline: Duration,
    ) -> Result<Peer, DialError> {
        self.dial_server(address, Some(region), protocol, deadline).await
    }

    /// Dials a server of whatever region of the federation: the answer says who it is. The same as [`Endpoint::dial`] else.
    pub async fn dial_any_region(
        &self,
        address: SocketAddr,
        protocol: Protocol,
        deadline: Duration,
    ) -> Result<Peer, DialError> {
        self.dial_server(address, None, protocol, deadline).await
    }

    async fn dial_server(
        &self,
        address: SocketAddr,
        region: Option<&RegionName>,
        protocol: Protocol,
        deadline: Duration,
    ) -> Result<Peer, DialError> {
        let trust = self.0.shared.trust.current().ok_or(DialError::NoCredentials)?;
        let believed = Believed::Roots(trust.roots.clone());
        let (connection, shown) =
            self.connect(address, region, protocol, believed, trust.as_caller(), deadline).await?;
        let not_after = shown.not_after;
        let end = End::Certificate { not_after, clock: self.0.shared.options.clock };
        let connection = Connection::new(connection, protocol, end, Seats::default());
        Ok(Peer { identity: shown.identity, protocol, not_after, connection })
    }

    /// Dials a server of `region` to get a certificate, knowing nothing but the fingerprint of its root. A certificate of that
    /// root, expired or not, is shown if there is one.
    pub async fn enrol(
        &self,
        address: SocketAddr,
        region: &RegionName,
        fingerprint: &Fingerprint,
        deadline: Duration,
    ) -> Result<Enrolment, DialError> {
        let trust = self.0.shared.trust.current();
        let trust = trust.filter(|trust| trust.anchors.find(fingerprint).is_some());
        let caller = trust.map(|trust| trust.as_caller()).unwrap_or_default();
        let believed = Believed::Fingerprint(*fingerprint);
        let protocol = Protocol::Enrol;
        let (connection, shown) = self.connect(address, Some(region), protocol, believed, caller, deadline).await?;
        let chain = chain_of(&connection).unwrap_or_default();
        let root = chain.into_iter().find(|certificate| Fingerprint::of(certificate) == *fingerprint);
        let root = root.ok_or_else(|| DialError::Refused("the root was not shown".into()))?;
        let end = End::Certificate { not_after: shown.not_after, clock: self.0.shared.options.clock };
        let connection = Connection::new(connection, protocol, end, Seats::default());
        Ok(Enrolment { server: shown.identity, root, connection })
    }

    /// Dials a server of `region` under that root without showing anything, whatever the protocol: for tests of listeners.
    #[doc(hidden)]
    pub async fn dial_without_certificate(
        &self,
        address: SocketAddr,
        region: &RegionName,
        fingerprint: &Fingerprint,
        protocol: Protocol,
        deadline: Duration,
    ) -> Result<Connection, DialError> {
        let believed = Believed::Fingerprint(*fingerprint);
        let (connection, _) =
            self.connect(address, Some(region), protocol, believed, Caller::default(), deadline).await?;
        Ok(Connection::new(connection, protocol, End::After(deadline), Seats::default()))
    }

    async fn connect(
        &self,
        address: SocketAddr,
        region: Option<&RegionName>,
        protocol: Protocol,
        believed: Believed,
        caller: Caller,
        deadline: Duration,
    ) -> Result<(quinn::Connection, DialledServer), DialError> {
        let Shared { options, provider, .. } = &*self.0.shared;
        let Caller { shown, node_key } = caller;
        let is_own = node_key.is_some();
        let server = RegionServer::new(region, believed, is_own, provider.signature_verification_algorithms);
        let config = tls::dialler(protocol, server, shown, options.clock, provider)?;
        // Listeners do not look at the name that is asked for; it only has to be one.
        let name = match region {
            Some(region) => role_name(drover_certs::Role::Server, region, "drover"),
            None => "server.drover".to_owned(),
        };
        let connecting = self.0.quinn.connect_with(config, address, &name)?;
        let handshake = async {
            let connection = connecting.await.map_err(Closed::from)?;
            let judged = Shown::of(&connection, is_own)
                .and_then(|shown| judge(shown, &Wanted::Server { region }, options.clock.now()));
            let welcomed = match judged {
                Ok(Judged { certificate: Some(shown), .. }) => {
                    if let Some(key) = &node_key {
                        introduce(&connection, key).await?;
                    }
                    await_welcome(&connection, shown).await
                }
                Ok(Judged { certificate: None, .. }) => {
                    return Err(DialError::Refused("no certificate was shown".into()));
                }
                Err(refusal) => Err(Unwelcome::Refused(refusal)),
            };
            match welcomed {
                Ok(server) => Ok((connection, server)),
                Err(Unwelcome::Dial(error)) => Err(error),
                Err(Unwelcome::Refused(Refusal { code, reason })) => {
                    connection.close(code.into(), &reason_bytes(&reason));
                    Err(DialError::Refused(reason))
                }
            }
        };
        tokio::time::timeout(deadline, handshake).await.map_err(|_| DialError::Deadline(deadline))?
    }

    /// Closes every connection with this code and reason, accepts nobody any more, and waits until the other sides have heard of it,
    /// for at most half a second: who is gone hears nothing, and who missed it finds out by the silence.
    pub async fn shutdown(&self, code: CloseCode, reason: &str) {
        self.0.quinn.close(code.into(), &reason_bytes(reason));
        let _ = tokio::time::timeout(SHUTDOWN_TIME_MAX, self.0.quinn.wait_idle()).await;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.acceptor.abort();
        self.quinn.close(CloseCode::SHUTDOWN.into(), b"");
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({:?}, {:?})", self.local_address().ok(), self.identity())
    }
}

/// A server that was dialled, as it is known after its welcome.
#[derive(Debug)]
struct DialledServer {
    identity: Identity,
    not_after: SystemTime,
}

/// Why there was no welcome.
enum Unwelcome {
    /// The other side's doing.
    Dial(DialError),
    /// This side closes.
    Refused(Refusal),
}

/// The listener's first word, and which node it is where its certificate does not say; a refusal comes as the connection's end.
async fn await_welcome(connection: &quinn::Connection, shown: Certificate) -> Result<DialledServer, Unwelcome> {
    let lost = |error| Unwelcome::Dial(DialError::Closed(Closed::from(error)));
    let mut welcome = connection.accept_uni().await.map_err(lost)?;
    let mut word = [0; WELCOME.len()];
    match welcome.read_exact(&mut word).await {
        Ok(()) if word == WELCOME => {}
        _ => {
            return Err(Unwelcome::Dial(match connection.close_reason() {
                Some(closed) => DialError::Closed(closed.into()),
                None => DialError::Refused("it does not welcome us in a form we know".into()),
            }));
        }
    }
    let Certificate { holder: Holder { region, role, node }, not_after, .. } = shown;
    let node = match node {
        Some(node) => node,
        None => read_introduction(connection, &mut welcome).await.map_err(Unwelcome::Refused)?,
    };
    Ok(DialledServer { identity: Identity { region, role, node }, not_after })
}

fn open(address: SocketAddr, config: Option<quinn::ServerConfig>) -> io::Result<quinn::Endpoint> {
    let socket = UdpSocket::bind(address)?;
    // Bursts of handshakes overrun the usual 208 KiB. Where the system allows less, less it is.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, settings::SOCKET_BUFFER);
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(&socket, settings::SOCKET_BUFFER);
    let mut endpoint = quinn::EndpointConfig::default();
    // A listener keeps its ids of eight bytes, by which it tells strangers' packets from its callers' at no cost.
    if config.is_none() {
        endpoint.cid_generator(|| Box::new(ShortIds::new()));
    }
    quinn::Endpoint::new(endpoint, config, socket, Arc::new(quinn::TokioRuntime))
}

#[cfg(test)]
mod bounds_tests;
#[cfg(test)]
mod own_tests;
#[cfg(test)]
mod tests;
