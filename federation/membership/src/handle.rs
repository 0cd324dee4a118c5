//! The handle that the rest of a server holds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use drover_certs::Secret;
use drover_gossip::{Core, Directory, Member, MemberError, Settings};
use drover_transport::{Candidate, Endpoint};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use crate::actor::{Actor, PACKETS_MAX, WISHES_MAX, Wish};
use crate::join::{JoinError, Joined, RetryJoin, RetryJoinError, Unanswered, resolve};
use crate::pool::{self, Pool};

/// How long one that was dialled may take to answer a join.
const JOIN_TIME_MAX: Duration = Duration::from_secs(5);
/// The most addresses that are asked at a time; more are left out.
pub const ADDRESSES_MAX: usize = 256;

/// What a member begins with.
pub struct Options {
    /// What this server says of itself. Its `gossip` address is where others reach the endpoint; its status is ignored.
    pub own: Member,
    /// The endpoint on the gossip port ([`drover_transport::EndpointOptions::gossip`]). It has credentials or will get them.
    pub endpoint: Endpoint,
    /// A key that others must know too, where the configuration has one: [`crate::gossip_key`].
    pub key: Option<Secret>,
    /// The seed of every random choice.
    pub seed: u64,
    /// Takes those who come to the gossip port for a certificate, where the endpoint accepts them; without it they are turned away.
    pub candidates: Option<mpsc::Sender<Candidate>>,
}

/// This server's part in the gossip. Copies are the same one; when the last is gone, the part ends without a goodbye.
#[derive(Clone)]
pub struct Membership {
    own: SocketAddr,
    endpoint: Endpoint,
    key: Option<Secret>,
    wishes: mpsc::Sender<Wish>,
    directory: watch::Receiver<Arc<Directory>>,
}

/// Why a member was not made to leave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForceLeaveError {
    /// There is no such member, or a bare name fits several.
    #[error("no member is named {0:?}")]
    Unknown(String),
    /// It is this server.
    #[error("{0:?} is this server")]
    Own(String),
    /// This server has left or was shut down.
    #[error("this server takes part in gossip no more")]
    Stopped,
}

impl Membership {
    /// Begins to take part. Must be called inside a tokio runtime. Nobody is known yet: [`Membership::join`].
    pub fn start(options: Options) -> Result<Membership, MemberError> {
        let Options { own, endpoint, key, seed, candidates } = options;
        let address = own.gossip;
        let core = Core::new(own, Settings::new(seed), Duration::ZERO)?;
        let (directory, seen) = watch::channel(Arc::new(core.directory()));
        let (packets_in, packets) = mpsc::channel(PACKETS_MAX);
        let (wishes_in, wishes) = mpsc::channel(WISHES_MAX);
        let actor = Actor {
            core,
            pool: Pool::new(endpoint.clone(), key.clone(), packets_in),
            endpoint: endpoint.clone(),
            packets,
            wishes,
            directory,
            began: Instant::now(),
            joins: Default::default(),
            leaving: Vec::new(),
            complained_at: None,
            candidates,
        };
        tokio::spawn(actor.run());
        Ok(Membership { own: address, endpoint, key, wishes: wishes_in, directory: seen })
    }

    /// Everybody who is known now, this server included.
    pub fn members(&self) -> Vec<Member> {
        self.directory().members().to_vec()
    }

    /// The same, with routes.
    pub fn directory(&self) -> Arc<Directory> {
        self.directory.borrow().clone()
    }

    /// Wakes with every change. Its end says that this server takes part no more.
    pub fn watch(&self) -> watch::Receiver<Arc<Directory>> {
        self.directory.clone()
    }

    /// Asks the servers at these addresses to take this one in, all at once. An answer from one is enough. This server's own address
    /// is left out.
    pub async fn join(&self, addresses: &[SocketAddr]) -> Result<Joined, JoinError> {
        let mut asked: Vec<SocketAddr> = Vec::new();
        for address in addresses.iter().copied().filter(|address| *address != self.own).take(ADDRESSES_MAX) {
            if !asked.contains(&address) {
                asked.push(address);
            }
        }
        if asked.is_empty() {
            return Err(JoinError::NoAddress);
        }
        let answers = asked.iter().map(|address| {
            let (membership, address) = (self.clone(), *address);
            (address, tokio::spawn(async move { membership.join_one(address).await }))
        });
        let mut joined = Joined { answered: 0, unanswered: Vec::new() };
        for (address, answer) in answers.collect::<Vec<_>>() {
            match answer.await.unwrap_or(Err(None)) {
                Ok(()) => joined.answered += 1,
                Err(Some(reason)) => joined.unanswered.push(Unanswered { address, reason }),
                Err(None) => return Err(JoinError::Stopped),
            }
        }
        if joined.answered == 0 { Err(JoinError::NobodyAnswered(joined.unanswered)) } else { Ok(joined) }
    }

    /// The error is the reason, or nothing where this server takes part no more.
    async fn join_one(&self, address: SocketAddr) -> Result<(), Option<String>> {
        let dialled = pool::dial(&self.endpoint, self.key.as_ref(), address).await;
        let peer = dialled.map_err(|why| Some(with_sources(&why)))?;
        if self.endpoint.identity().as_ref() == Some(&peer.identity) {
            return Err(Some("this is the server itself, or one that runs on a copy of its data".to_owned()));
        }
        let (answer, answered) = oneshot::channel();
        self.wishes.send(Wish::Join { peer, answer }).await.map_err(|_| None)?;
        match timeout(JOIN_TIME_MAX, answered).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(why))) => Err(Some(why.to_string())),
            Ok(Err(_)) | Err(_) => Err(Some(format!("no answer within {JOIN_TIME_MAX:?}"))),
        }
    }

    /// Joins until somebody answers: at once, and again after every interval.
    pub async fn retry_join(&self, options: RetryJoin) -> Result<Joined, RetryJoinError> {
        let mut attempts: u32 = 0;
        loop {
            let mut addresses = Vec::new();
            let mut last = String::new();
            for text in options.addresses.iter().take(ADDRESSES_MAX) {
                match resolve(text).await {
                    Ok(found) => addresses.extend(found),
                    Err(error) => last = format!("{text}: {error}"),
                }
            }
            attempts = attempts.saturating_add(1);
            match self.join(&addresses).await {
                Ok(joined) => return Ok(joined),
                Err(JoinError::Stopped) => return Err(RetryJoinError::Stopped),
                Err(JoinError::NoAddress) if !last.is_empty() => {}
                Err(error) => last = error.to_string(),
            }
            if options.attempts_max.is_some_and(|max| attempts >= max) {
                return Err(RetryJoinError::GaveUp { attempts, last });
            }
            tracing::warn!(why = %last, attempts, "nobody to join yet; trying again");
            tokio::select! {
                () = tokio::time::sleep(options.interval) => {}
                () = self.wishes.closed() => return Err(RetryJoinError::Stopped),
            }
        }
    }

    /// Says goodbye to everybody and ends this server's part and all its connections; comes back when that is done. The port is free
    /// when the last handle is gone.
    pub async fn leave(&self) {
        let (done, is_done) = oneshot::channel();
        if self.wishes.send(Wish::Leave { done }).await.is_ok() {
            // An error says that it has ended.
            let _ = is_done.await;
        }
    }

    /// Declares a failed member gone for good. With `prune` it is forgotten at once. A member that is alive takes it back.
    pub async fn force_leave(&self, name: &str, prune: bool) -> Result<(), ForceLeaveError> {
        let (answer, answered) = oneshot::channel();
        let wish = Wish::ForceLeave { name: name.to_owned(), prune, answer };
        self.wishes.send(wish).await.map_err(|_| ForceLeaveError::Stopped)?;
        Ok(answered.await.map_err(|_| ForceLeaveError::Stopped)??)
    }

    /// Changes what this server says of itself and tells the others. Name, region, id and gossip address stay as they are.
    pub async fn update_own(&self, change: impl FnOnce(&mut Member) + Send + 'static) {
        // An error says that this server takes part no more: nobody is there to be told.
        let _ = self.wishes.send(Wish::UpdateOwn(Box::new(change))).await;
    }
}

impl From<drover_gossip::ForceLeaveError> for ForceLeaveError {
    fn from(error: drover_gossip::ForceLeaveError) -> Self {
        match error {
            drover_gossip::ForceLeaveError::Unknown(name) => ForceLeaveError::Unknown(name),
            drover_gossip::ForceLeaveError::Own(name) => ForceLeaveError::Own(name),
        }
    }
}

/// An error and its sources in one line.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
