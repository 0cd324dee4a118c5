//! The accepting side of an endpoint: a bounded number of handshakes at a time, each judged before anybody sees it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::close::{CloseCode, Closed, reason_bytes};
use crate::connection::{Connection, End};
use crate::endpoint::Shared;
use crate::peer::{Accepted, Candidate, Judged, Peer, Presented, Refusal, Shown, Wanted, judge};
use crate::protocol::Protocol;
use crate::settings;

/// Handshakes under way at a time; more are refused and come back.
const HANDSHAKES_MAX: usize = 512;
/// From so many on, a caller must first show that it receives at the address it claims.
const UNPROVED_HANDSHAKES_MAX: usize = 128;
/// How long a handshake may take, until somebody has taken the connection.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// Connections that are judged and wait to be taken.
pub(crate) const ACCEPT_QUEUE_MAX: usize = 64;
/// Enrolments under way at a time: strangers may open them.
const ENROLMENTS_MAX: usize = 128;
/// How long an enrolment's connection may last.
const ENROLMENT_TIME_MAX: Duration = Duration::from_secs(60);

/// What the listener sends first, on a stream of its own: the dialler knows by it that it was judged and may stay. (TLS 1.3 lets a
/// dialler finish its handshake before the listener has looked at its certificate.)
pub(crate) const WELCOME: [u8; 1] = [1];

struct Seats {
    handshakes: Arc<Semaphore>,
    enrolments: Arc<Semaphore>,
}

pub(crate) async fn accept_all(endpoint: quinn::Endpoint, shared: Arc<Shared>, accepted: mpsc::Sender<Accepted>) {
    let seats = Seats {
        handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
        enrolments: Arc::new(Semaphore::new(ENROLMENTS_MAX)),
    };
    while let Some(incoming) = endpoint.accept().await {
        let busy = HANDSHAKES_MAX - seats.handshakes.available_permits();
        let full = endpoint.open_connections() >= shared.options.connections_max;
        let Ok(seat) = seats.handshakes.clone().try_acquire_owned() else {
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
        let (shared, accepted, enrolments) = (shared.clone(), accepted.clone(), seats.enrolments.clone());
        tokio::spawn(async move {
            let address = incoming.remote_address();
            let handshake = welcome_one(incoming, &shared, &accepted, enrolments);
            match tokio::time::timeout(HANDSHAKE_TIME_MAX, handshake).await {
                Ok(Ok(())) => {}
                Ok(Err(why)) => tracing::debug!(%address, %why, "connection not accepted"),
                Err(_) => tracing::debug!(%address, "connection not accepted: it took too long"),
            }
            drop(seat);
        });
    }
}

async fn welcome_one(
    incoming: quinn::Incoming,
    shared: &Shared,
    accepted: &mpsc::Sender<Accepted>,
    enrolments: Arc<Semaphore>,
) -> Result<(), Closed> {
    let connection = incoming.accept()?.await?;
    let (judged, seat) = match decide(&connection, shared, enrolments) {
        Ok(decided) => decided,
        Err(Refusal { code, reason }) => {
            connection.close(code.into(), &reason_bytes(&reason));
            return Err(Closed::Failed(reason));
        }
    };
    settings::widen_for(judged.protocol, &connection);
    let Ok(place) = accepted.reserve().await else {
        connection.close(CloseCode::SHUTDOWN.into(), b"");
        return Err(Closed::Here);
    };
    let mut welcome = connection.open_uni().await?;
    // A lost connection is noticed by whoever takes it.
    let _ = welcome.write_all(&WELCOME).await;
    let _ = welcome.finish();
    place.send(into_accepted(connection, judged, seat, shared));
    Ok(())
}

fn decide(
    connection: &quinn::Connection,
    shared: &Shared,
    enrolments: Arc<Semaphore>,
) -> Result<(Judged, Option<OwnedSemaphorePermit>), Refusal> {
    let busy = || Refusal::new(CloseCode::BUSY, "this server has no certificate or no place");
    let trust = shared.trust.current().ok_or_else(busy)?;
    let wanted = Wanted::Caller { region: &trust.identity.region, renew_max: shared.options.renew_max };
    let judged = judge(Shown::of(connection)?, &wanted, shared.options.clock.now())?;
    let seat = match judged.protocol {
        Protocol::Enrol => Some(enrolments.try_acquire_owned().map_err(|_| busy())?),
        _ => None,
    };
    Ok((judged, seat))
}

fn into_accepted(
    connection: quinn::Connection,
    judged: Judged,
    seat: Option<OwnedSemaphorePermit>,
    shared: &Shared,
) -> Accepted {
    let Judged { protocol, leaf } = judged;
    match leaf {
        Some(leaf) if protocol != Protocol::Enrol => {
            let not_after = leaf.not_after();
            let end = End::Certificate { not_after, clock: shared.options.clock };
            let connection = Connection::new(connection, protocol, end, None);
            Accepted::Peer(Peer { identity: leaf.identity().clone(), protocol, not_after, connection })
        }
        leaf => {
            let connection = Connection::new(connection, protocol, End::After(ENROLMENT_TIME_MAX), seat);
            Accepted::Candidate(Candidate { presented: leaf.as_ref().map(Presented::from), connection })
        }
    }
}
