//! Connections to the other servers: one per server and protocol, made when it is needed and kept.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use drover_certs::RegionName;
use drover_model::NodeId;
use drover_transport::{CloseCode, Connection, Endpoint, Protocol, Stream};
use tokio::time::{Instant, timeout_at};

/// A server's number in raft: the first eight bytes of its id.
pub fn number_of(id: NodeId) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&id.as_bytes()[..8]);
    u64::from_be_bytes(number)
}

/// The same of an id as text; none for a text that is no id.
pub fn number_of_text(id: &str) -> Option<u64> {
    id.parse().ok().map(number_of)
}

/// Why there is no stream to a server. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Nobody knows where it is.
    #[error("{0:?} is no address of a server")]
    Address(String),
    /// It does not answer.
    #[error("{address} does not answer: {reason}")]
    Dial {
        /// Where.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// Somebody else answers there.
    #[error("{address} is another server, {found}")]
    Another {
        /// Where.
        address: SocketAddr,
        /// Who.
        found: String,
    },
    /// It took too long.
    #[error("no answer in time")]
    Deadline,
}

/// Addresses of servers that are newer than those in the log. A copy is the same one.
#[derive(Clone, Default)]
pub struct Addresses(Arc<RwLock<BTreeMap<u64, SocketAddr>>>);

impl Addresses {
    /// What is known from now on.
    pub fn replace(&self, known: BTreeMap<u64, SocketAddr>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// The newest address of a server, else the one that is given.
    pub fn of(&self, number: u64, otherwise: &str) -> Result<SocketAddr, LinkError> {
        match self.0.read().unwrap_or_else(PoisonError::into_inner).get(&number) {
            Some(address) => Ok(*address),
            None => otherwise.parse().map_err(|_| LinkError::Address(otherwise.to_owned())),
        }
    }
}

/// The connections of one protocol. A copy is the same one.
#[derive(Clone)]
pub struct Links(Arc<Inner>);

struct Inner {
    endpoint: Endpoint,
    region: RegionName,
    protocol: Protocol,
    addresses: Addresses,
    slots: Mutex<BTreeMap<u64, Arc<Slot>>>,
}

/// A connection ends with the certificates it was made with, in the middle of whatever is said on it. One that is older than
/// this takes no new streams; every certificate lives longer from when it is renewed.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(12 * 3600);

/// The connection to one server and when it was made; who holds the lock dials.
#[derive(Default)]
struct Slot(tokio::sync::Mutex<Option<(Connection, Instant)>>);

impl Links {
    /// Links of that protocol from this endpoint.
    pub fn new(endpoint: Endpoint, region: RegionName, protocol: Protocol, addresses: Addresses) -> Self {
        Self(Arc::new(Inner { endpoint, region, protocol, addresses, slots: Mutex::default() }))
    }

    /// Opens a stream to a server, over the connection that is there or a new one. `address` is where it was last known.
    ///
    /// # Errors
    /// It is not reached in time, or somebody else answers there.
    pub async fn open(&self, number: u64, address: &str, deadline: Duration) -> Result<Stream, LinkError> {
        let address = self.0.addresses.of(number, address)?;
        let slot = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner).entry(number).or_default().clone();
        let end = Instant::now() + deadline;
        let opened = async {
            let mut held = slot.0.lock().await;
            let is_usable = |(connection, made): &&(Connection, Instant)| {
                connection.remote_address() == address && made.elapsed() < CONNECTION_AGE_MAX
            };
            if let Some((connection, _)) = held.as_ref().filter(is_usable)
                && let Ok(stream) = connection.open_stream().await
            {
                return Ok(stream);
            }
            *held = None;
            let connection = self.dial(number, address, end.saturating_duration_since(Instant::now())).await?;
            let opening = connection.clone();
            *held = Some((connection, Instant::now()));
            drop(held);
            opening.open_stream().await.map_err(|closed| LinkError::Dial { address, reason: closed.to_string() })
        };
        timeout_at(end, opened).await.map_err(|_| LinkError::Deadline)?
    }

    /// Forgets the servers that are not among these.
    pub fn retain(&self, numbers: impl Fn(u64) -> bool) {
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner).retain(|number, _| numbers(*number));
    }

    async fn dial(&self, number: u64, address: SocketAddr, deadline: Duration) -> Result<Connection, LinkError> {
        let Inner { endpoint, region, protocol, .. } = &*self.0;
        let peer = endpoint
            .dial(address, region, *protocol, deadline)
            .await
            .map_err(|error| LinkError::Dial { address, reason: error.to_string() })?;
        if number_of_text(&peer.identity.node) != Some(number) {
            peer.connection.close(CloseCode::DONE, "another server was wanted");
            return Err(LinkError::Another { address, found: peer.identity.node });
        }
        Ok(peer.connection)
    }
}
