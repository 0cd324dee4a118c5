//! A network in memory: links that can be cut, are slow, and lose streams, by a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use drover_raft::{FrameReceiver, FrameSender, Link, Peer, PeerError, Peers, RaftNode};
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};

/// How bad the network is.
#[derive(Clone, Copy, Default)]
pub struct Weather {
    /// Each frame takes up to so long.
    pub delay_max: Duration,
    /// Of a thousand frames so many break their stream.
    pub breaks_per_mille: u64,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<u64, RaftNode>,
    /// Calls that each node answers.
    calls: BTreeMap<u64, Vec<AbortHandle>>,
    /// One-way: from, to.
    cut: BTreeSet<(u64, u64)>,
    weather: Weather,
    seed: u64,
}

/// The network. A clone is the same one.
#[derive(Clone)]
pub struct Net {
    state: Arc<Mutex<State>>,
    /// Rises whenever something changes.
    changes: watch::Sender<u64>,
    /// Streams that each node has tried to open.
    opened: watch::Sender<BTreeMap<u64, u64>>,
}

impl Net {
    pub fn new(seed: u64) -> Self {
        let state = State { seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, ..State::default() };
        Self {
            state: Arc::new(Mutex::new(state)),
            changes: watch::Sender::new(0),
            opened: watch::Sender::new(BTreeMap::new()),
        }
    }

    fn change<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let value = f(&mut self.state.lock().unwrap());
        self.changes.send_modify(|changes| *changes += 1);
        value
    }

    /// A number below `below`.
    pub fn chance(&self, below: u64) -> u64 {
        let mut state = self.state.lock().unwrap();
        state.seed ^= state.seed << 13;
        state.seed ^= state.seed >> 7;
        state.seed ^= state.seed << 17;
        (state.seed >> 11) % below
    }

    pub fn peers_of(&self, own: u64) -> Arc<dyn Peers> {
        Arc::new(NetPeers { net: self.clone(), own })
    }

    pub fn attach(&self, number: u64, node: RaftNode) {
        self.change(|state| state.nodes.insert(number, node));
    }

    pub fn detach(&self, number: u64) {
        let calls = self.change(|state| {
            state.nodes.remove(&number);
            state.calls.remove(&number).unwrap_or_default()
        });
        calls.iter().for_each(AbortHandle::abort);
    }

    pub fn cut_one_way(&self, from: u64, to: u64) {
        self.change(|state| state.cut.insert((from, to)));
    }

    /// Nothing passes between these two groups.
    pub fn cut(&self, one: &[u64], other: &[u64]) {
        for a in one {
            for b in other {
                self.cut_one_way(*a, *b);
                self.cut_one_way(*b, *a);
            }
        }
    }

    pub fn heal(&self) {
        self.change(|state| state.cut.clear());
    }

    pub fn set_weather(&self, weather: Weather) {
        self.change(|state| state.weather = weather);
    }

    /// Waits until this node has tried to open so many streams more.
    pub async fn tries(&self, number: u64, more: u64) {
        let mut opened = self.opened.subscribe();
        let count = |opened: &BTreeMap<u64, u64>| opened.get(&number).copied().unwrap_or(0);
        let target = count(&opened.borrow_and_update()) + more;
        opened.wait_for(|opened| count(opened) >= target).await.unwrap();
    }

    async fn until_open(&self, from: u64, to: u64) {
        let mut changes = self.changes.subscribe();
        while self.state.lock().unwrap().cut.contains(&(from, to)) {
            changes.changed().await.unwrap();
        }
    }

    fn pair(&self, from: u64, to: u64) -> (Sender, Receiver) {
        let (sender, receiver) = mpsc::channel(16);
        let sender = Sender { net: self.clone(), sender: Some(sender) };
        (sender, Receiver { net: self.clone(), from, to, receiver, waiting: None })
    }
}

struct NetPeers {
    net: Net,
    own: u64,
}

impl Peers for NetPeers {
    fn open(&self, peer: Peer, deadline: Duration) -> BoxFuture<'static, Result<Link, PeerError>> {
        let (net, own) = (self.net.clone(), self.own);
        Box::pin(async move {
            net.opened.send_modify(|opened| *opened.entry(own).or_default() += 1);
            let unreachable = |reason: &str| PeerError::Unreachable { number: peer.number, reason: reason.to_owned() };
            let both_ways = async {
                net.until_open(own, peer.number).await;
                net.until_open(peer.number, own).await;
            };
            timeout(deadline, both_ways).await.map_err(|_| unreachable("no answer"))?;
            let (sender, there) = net.pair(own, peer.number);
            let (back, receiver) = net.pair(peer.number, own);
            net.change(|state| {
                let Some(node) = state.nodes.get(&peer.number).cloned() else { return Err(unreachable("it is down")) };
                let call = tokio::spawn(async move {
                    // A call that breaks is the caller's to notice.
                    let _ = node.serve(own, Box::new(back), Box::new(there)).await;
                });
                let calls = state.calls.entry(peer.number).or_default();
                calls.retain(|call| !call.is_finished());
                calls.push(call.abort_handle());
                Ok(())
            })?;
            Ok((Box::new(sender) as Box<dyn FrameSender>, Box::new(receiver) as Box<dyn FrameReceiver>))
        })
    }
}

enum Item {
    Frame(Instant, Bytes),
    End,
}

struct Sender {
    net: Net,
    sender: Option<mpsc::Sender<Item>>,
}

fn closed(reason: &str) -> PeerError {
    PeerError::Closed { reason: reason.to_owned() }
}

impl FrameSender for Sender {
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, Result<(), PeerError>> {
        Box::pin(async move {
            let weather = self.net.state.lock().unwrap().weather;
            if weather.breaks_per_mille > 0 && self.net.chance(1000) < weather.breaks_per_mille {
                self.sender = None;
            }
            let delay_us = match weather.delay_max.as_micros() as u64 {
                0 => 0,
                max => self.net.chance(max),
            };
            let at = Instant::now() + Duration::from_micros(delay_us);
            let sender = self.sender.as_ref().ok_or_else(|| closed("broken by the weather"))?;
            sender.send(Item::Frame(at, frame)).await.map_err(|_| closed("nobody listens"))
        })
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<(), PeerError>> {
        Box::pin(async move {
            let sender = self.sender.take().ok_or_else(|| closed("broken by the weather"))?;
            sender.send(Item::End).await.map_err(|_| closed("nobody listens"))
        })
    }
}

struct Receiver {
    net: Net,
    from: u64,
    to: u64,
    receiver: mpsc::Receiver<Item>,
    waiting: Option<(Instant, Bytes)>,
}

impl FrameReceiver for Receiver {
    fn receive(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, PeerError>> {
        Box::pin(async move {
            if self.waiting.is_none() {
                match self.receiver.recv().await {
                    Some(Item::Frame(at, frame)) => self.waiting = Some((at, frame)),
                    Some(Item::End) => return Ok(None),
                    None => return Err(closed("reset")),
                }
            }
            if let Some((at, _)) = &self.waiting {
                sleep_until(*at).await;
                self.net.until_open(self.from, self.to).await;
            }
            Ok(self.waiting.take().map(|(_, frame)| frame))
        })
    }
}
