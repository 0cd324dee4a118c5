//! The accepting side of an endpoint: a bounded number of handshakes at a time, each judged before anybody sees it.

use std::sync::Arc;
use std::time::Duration;

use drover_certs::{Holder, Identity, NodeKey};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::addresses::{AddressSeat, Addresses};
use crate::close::{CloseCode, Closed, reason_bytes};
use crate::connection::{Connection, End, Seats};
use crate::endpoint::Shared;
use crate::introduction::{introduction, read_introduction};
use crate::peer::{Accepted, Candidate, Certificate, Judged, Peer, Refusal, Shown, Wanted, judge};
use crate::protocol::Protocol;
use crate::settings;

/// Handshakes under way at a time; more are refused and come back.
const HANDSHAKES_MAX: usize = 512;
/// From so many on, a caller must first show that it receives at the address it claims.
const UNPROVED_HANDSHAKES_MAX: usize = 128;
/// The same from one proved address, where addresses are bounded: whoever begins handshakes and leaves them must not keep the others,
/// servers among them, from theirs.
const HANDSHAKES_PER_ADDRESS_MAX: usize = 128;
/// Connections that are judged and wait to be taken.
pub(crate) const ACCEPT_QUEUE_MAX: usize = 64;
/// Enrolments under way at a time: strangers may open them.
const ENROLMENTS_MAX: usize = 128;
/// How long an enrolment's connection may last.
const ENROLMENT_TIME_MAX: Duration = Duration::from_secs(60);

/// What the listener sends first, on a stream of its own: the dialler knows by it that it was judged and may stay. (TLS 1.3 lets a
/// dialler finish its handshake before the listener has looked at its certificate.)
pub(crate) const WELCOME: [u8; 1] = [1];

/// The places there are.
struct Places {
    handshakes: Arc<Semaphore>,
    enrolments: Arc<Semaphore>,
    /// Handshakes under way, by address.
    shaking: Addresses,
    /// Connections of edges and joiners, by address.
    connected: Addresses,
}

pub(crate) async fn accept_all(endpoint: quinn::Endpoint, shared: Arc<Shared>, accepted: mpsc::Sender<Accepted>) {
    let places = Arc::new(Places {
        handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
        enrolments: Arc::new(Semaphore::new(ENROLMENTS_MAX)),
        shaking: Addresses::default(),
        connected: Addresses::default(),
    });
    let is_bounded = shared.options.connections_per_address_max.is_some();
    while let Some(incoming) = endpoint.accept().await {
        let busy = HANDSHAKES_MAX - places.handshakes.available_permits();
        let full = endpoint.open_connections() >= shared.options.connections_max;
        let Ok(seat) = places.handshakes.clone().try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        if full {
            incoming.refuse();
            continue;
        }
        if busy >= UNPROVED_HANDSHAKES_MAX && !incoming.remote_address_validated() && incoming.may_retry() {
            // An error says that the caller may not be asked again, which was just checked.
            let _ = incoming.retry();
            continue;
        }
        // An address that was not proved may be another's: who only claims it must not use up what that one gets.
        let counts = is_bounded && incoming.remote_address_validated();
        let of_address =
            counts.then(|| places.shaking.take(incoming.remote_address().ip(), HANDSHAKES_PER_ADDRESS_MAX));
        if matches!(of_address, Some(None)) {
            incoming.refuse();
            continue;
        }
        let (shared, accepted, places) = (shared.clone(), accepted.clone(), places.clone());
        tokio::spawn(async move {
            let address = incoming.remote_address();
            if let Err(why) = welcome_one(incoming, &shared, &accepted, &places).await {
                tracing::debug!(%address, %why, "connection not accepted");
            }
            drop((seat, of_address));
        });
    }
}

async fn welcome_one(
    incoming: quinn::Incoming,
    shared: &Shared,
    accepted: &mpsc::Sender<Accepted>,
    places: &Places,
) -> Result<(), Closed> {
    let time_max = shared.options.handshake_time_max;
    let end = time_max.and_then(|time_max| Instant::now().checked_add(time_max));
    let late = || {
        let time_max = time_max.unwrap_or_default();
        let reason = format!("the handshake took longer than limits.rpc_handshake_timeout, {time_max:?}");
        Refusal::new(CloseCode::TOO_SLOW, reason)
    };
    // Before its end there is nobody to whom a reason could be given.
    let connection =
        until(end, async { incoming.accept()?.await }).await.ok_or_else(|| Closed::Failed(late().reason))??;
    let refused = |Refusal { code, reason }: Refusal| {
        connection.close(code.into(), &reason_bytes(&reason));
        Closed::Failed(reason)
    };
    let judged = until(end, decide(&connection, shared, places)).await.unwrap_or_else(|| Err(late()));
    let judged = judged.map_err(refused)?;
    settings::widen_for(judged.protocol, &connection);
    // Before there is a place: one that does not take its welcome, a stranger perhaps, must not keep the others from theirs.
    until(end, welcome(&connection, judged.node_key.as_ref())).await.unwrap_or_else(|| Err(refused(late())))?;
    let Ok(place) = until(end, accepted.reserve()).await.ok_or_else(|| refused(late()))? else {
        connection.close(CloseCode::SHUTDOWN.into(), b"");
        return Err(Closed::Here);
    };
    place.send(judged.into_accepted(connection.clone(), shared));
    Ok(())
}

async fn welcome(connection: &quinn::Connection, key: Option<&NodeKey>) -> Result<(), Closed> {
    let mut welcome = connection.open_uni().await?;
    // A lost connection is noticed by whoever takes it.
    let _ = welcome.write_all(&WELCOME).await;
    if let Some(key) = key {
        let _ = welcome.write_all(&introduction(connection, key)?).await;
    }
    let _ = welcome.finish();
    Ok(())
}

/// What comes of it until `end`, if that is bounded.
async fn until<T>(end: Option<Instant>, what: impl Future<Output = T>) -> Option<T> {
    match end {
        Some(end) => tokio::time::timeout_at(end, what).await.ok(),
        None => Some(what.await),
    }
}

/// A caller that may stay.
struct Welcome {
    protocol: Protocol,
    certificate: Option<Certificate>,
    /// Where the certificate names none, the node that the caller has proved to be.
    node: Option<String>,
    /// What this side introduces itself with, if it needs to.
    node_key: Option<NodeKey>,
    seats: Seats,
}

async fn decide(connection: &quinn::Connection, shared: &Shared, places: &Places) -> Result<Welcome, Refusal> {
    let busy = || Refusal::new(CloseCode::BUSY, "this server has no certificate or no place");
    let trust = shared.trust.current().ok_or_else(busy)?;
    let wanted = Wanted::Caller { region: &trust.identity.region, renew_max: shared.options.renew_max };
    let shown = Shown::of(connection, trust.is_own())?;
    let Judged { protocol, certificate } = judge(shown, &wanted, shared.options.clock.now())?;
    let address = match shared.options.connections_per_address_max {
        Some(max) if !protocol.is_for_servers() => Some(address_seat(connection, max, places)?),
        _ => None,
    };
    let enrolment = match protocol {
        Protocol::Enrol => Some(places.enrolments.clone().try_acquire_owned().map_err(|_| busy())?),
        _ => None,
    };
    let is_nameless = certificate.as_ref().is_some_and(|shown| shown.holder.node.is_none());
    let node = match is_nameless && protocol != Protocol::Enrol {
        true => Some(read_dialled_introduction(connection).await?),
        false => None,
    };
    let seats = Seats { _enrolment: enrolment, _address: address };
    Ok(Welcome { protocol, certificate, node, node_key: trust.node_key.clone(), seats })
}

fn address_seat(connection: &quinn::Connection, max: usize, places: &Places) -> Result<AddressSeat, Refusal> {
    let address = connection.remote_address().ip();
    places.connected.take(address, max).ok_or_else(|| {
        let reason = format!("too many connections from {address}: limits.rpc_max_conns_per_client is {max}");
        // Said here as well: whoever runs the servers sets the bound.
        tracing::debug!(%reason, "connection not accepted");
        Refusal::new(CloseCode::BUSY, reason)
    })
}

async fn read_dialled_introduction(connection: &quinn::Connection) -> Result<String, Refusal> {
    let lost = |error: quinn::ConnectionError| Refusal::new(CloseCode::CERTIFICATE_REFUSED, error.to_string());
    let mut stream = connection.accept_uni().await.map_err(lost)?;
    read_introduction(connection, &mut stream).await
}

impl Welcome {
    fn into_accepted(self, connection: quinn::Connection, shared: &Shared) -> Accepted {
        let Welcome { protocol, certificate, node, seats, .. } = self;
        match certificate {
            Some(shown) if protocol != Protocol::Enrol => {
                let not_after = shown.not_after;
                let end = End::Certificate { not_after, clock: shared.options.clock };
                let Holder { region, role, node: named } = shown.holder;
                let node = named.or(node).expect("a certificate that names no node came with an introduction");
                let connection = Connection::new(connection, protocol, end, seats);
                Accepted::Peer(Peer { identity: Identity { region, role, node }, protocol, not_after, connection })
            }
            shown => {
                let connection = Connection::new(connection, protocol, End::After(ENROLMENT_TIME_MAX), seats);
                Accepted::Candidate(Candidate { presented: shown.and_then(|shown| shown.as_presented()), connection })
            }
        }
    }
}
