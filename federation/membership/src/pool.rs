//! All connections: who has one, who is being dialled, who is not to be dialled yet.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use drover_certs::{RegionName, Secret};
use drover_gossip::{Contact, Sender};
use drover_transport::{Accepted, CloseCode, DialError, Endpoint, Peer, Protocol};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::link::{HelloError, Link, answer, greet, read_all, sender};

/// How long a server may take until it has welcomed us.
pub(crate) const DIAL_TIME_MAX: Duration = Duration::from_secs(3);
/// Servers that are dialled at a time because something is to be sent to them.
const DIALS_MAX: usize = 64;
/// Connections that were accepted and exchange their first words.
const HELLOS_MAX: usize = 64;
/// Packets that wait for a dial, per server.
const WAITING_MAX: usize = 8;
/// Servers to which there are connections, and servers that could not be reached, remembered at a time.
const LINKS_MAX: usize = 2048;
/// Time until a server that could not be dialled is dialled again.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Why there is no connection to somebody.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoWay {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Hello(#[from] HelloError),
    #[error("another server lives there")]
    Other,
}

/// What became of something under way.
pub(crate) enum Ended {
    /// A dial for packets that wait.
    Dialled { to: Sender, peer: Result<Peer, NoWay> },
    /// A caller.
    Answered(Option<Peer>),
    /// A connection was read to its end.
    Read,
}

struct Backoff {
    until: Instant,
    time: Duration,
}

pub(crate) struct Pool {
    endpoint: Endpoint,
    key: Option<Secret>,
    links: BTreeMap<Sender, Link>,
    waiting: BTreeMap<Sender, Vec<Bytes>>,
    backoff: BTreeMap<Sender, Backoff>,
    packets: mpsc::Sender<(Sender, Bytes)>,
    hellos: usize,
    tasks: JoinSet<Ended>,
}

impl Pool {
    /// What comes in goes to `packets`.
    pub(crate) fn new(endpoint: Endpoint, key: Option<Secret>, packets: mpsc::Sender<(Sender, Bytes)>) -> Pool {
        let (links, waiting, backoff) = Default::default();
        Pool { endpoint, key, links, waiting, backoff, packets, hellos: 0, tasks: JoinSet::new() }
    }

    /// Sends by a connection that exists, or dials. May lose the packet, as a network does.
    pub(crate) fn send(&mut self, to: Contact, packet: Bytes) {
        let name = Sender { region: to.region, id: to.id };
        let packet = match self.links.get_mut(&name).map_or(Err(packet.clone()), |link| link.send(packet)) {
            Ok(()) => return,
            Err(packet) => packet,
        };
        self.links.remove(&name);
        if let Some(waiting) = self.waiting.get_mut(&name) {
            if waiting.len() < WAITING_MAX {
                waiting.push(packet);
            }
            return;
        }
        let is_too_soon = self.backoff.get(&name).is_some_and(|backoff| Instant::now() < backoff.until);
        if is_too_soon || self.waiting.len() >= DIALS_MAX {
            return;
        }
        self.waiting.insert(name.clone(), vec![packet]);
        let (endpoint, key) = (self.endpoint.clone(), self.key.clone());
        self.tasks.spawn(async move {
            let peer = dial_known(&endpoint, key.as_ref(), to.address, &name).await;
            Ended::Dialled { to: name, peer }
        });
    }

    /// Somebody calls.
    pub(crate) fn accept(&mut self, accepted: Accepted) {
        let Accepted::Peer(peer) = accepted else { return };
        if self.hellos >= HELLOS_MAX {
            peer.connection.close(CloseCode::BUSY, "");
            return;
        }
        self.hellos += 1;
        let key = self.key.clone();
        self.tasks.spawn(async move {
            let said = answer(&peer.connection, key.as_ref()).await;
            if let Err(why) = &said {
                tracing::warn!(server = %peer.identity, %why, "a server was refused in gossip");
                peer.connection.close(CloseCode::DONE, "");
            }
            Ended::Answered(said.is_ok().then_some(peer))
        });
    }

    /// Waits for the end of something under way, for ever if there is nothing. Safe to drop and call again.
    pub(crate) async fn ended(&mut self) -> Ended {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(ended)) => return ended,
                // Cancelled, or a panic that has been reported.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Takes note of it.
    pub(crate) fn settle(&mut self, ended: Ended) {
        match ended {
            Ended::Read => {}
            Ended::Answered(peer) => {
                self.hellos -= 1;
                if let Some(peer) = peer {
                    self.put(&peer, false);
                }
            }
            Ended::Dialled { to, peer: Ok(peer) } => {
                self.put(&peer, true);
                let waiting = self.waiting.remove(&to).unwrap_or_default();
                if let Some(link) = self.links.get_mut(&to) {
                    waiting.into_iter().for_each(|packet| drop(link.send(packet)));
                }
            }
            Ended::Dialled { to, peer: Err(why) } => {
                tracing::debug!(server = %to.id, region = %to.region, %why, "no connection for gossip");
                self.waiting.remove(&to);
                let time = self.backoff.get(&to).map_or(BACKOFF_MIN, |last| (last.time * 2).min(BACKOFF_MAX));
                let now = Instant::now();
                if self.backoff.len() >= LINKS_MAX {
                    self.backoff.retain(|_, backoff| backoff.until > now);
                }
                if self.backoff.len() < LINKS_MAX {
                    self.backoff.insert(to, Backoff { until: now + time, time });
                }
            }
        }
    }

    /// Takes a connection whose first words were right.
    pub(crate) fn put(&mut self, peer: &Peer, was_dialled: bool) {
        let from = sender(peer);
        self.backoff.remove(&from);
        if self.links.len() >= LINKS_MAX && !self.links.contains_key(&from) {
            peer.connection.close(CloseCode::BUSY, "");
            return;
        }
        self.links.entry(from.clone()).or_default().put(peer.connection.clone(), was_dialled);
        let read = read_all(peer.connection.clone(), from, self.packets.clone());
        self.tasks.spawn(async move {
            read.await;
            Ended::Read
        });
    }

    /// Forgets the connections to one that does not answer, so that the next packet dials.
    pub(crate) fn forget(&mut self, who: &Sender) {
        self.links.remove(who);
    }
}

/// Dials whoever lives at an address.
pub(crate) async fn dial(endpoint: &Endpoint, key: Option<&Secret>, address: SocketAddr) -> Result<Peer, NoWay> {
    let peer = endpoint.dial_any_region(address, Protocol::Gossip, DIAL_TIME_MAX).await?;
    greet(&peer.connection, key).await?;
    Ok(peer)
}

async fn dial_known(
    endpoint: &Endpoint,
    key: Option<&Secret>,
    address: SocketAddr,
    to: &Sender,
) -> Result<Peer, NoWay> {
    let region = RegionName::new(&to.region).map_err(|_| NoWay::Other)?;
    let peer = endpoint.dial(address, &region, Protocol::Gossip, DIAL_TIME_MAX).await?;
    if sender(&peer) != *to {
        peer.connection.close(CloseCode::DONE, "");
        return Err(NoWay::Other);
    }
    greet(&peer.connection, key).await?;
    Ok(peer)
}
