//! Requests for another region: handed to one of its servers, and answered for those who hand them here.
//!
//! The caller's own token alone counts there. Whether a request was done is known when its head is back; until something was sent
//! another server of the region is tried.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use drover_certs::RegionName;
use drover_membership::RouteError;
use drover_protocol::codec;
use drover_protocol::edge::{HttpHead, HttpRequest, RpcError};
use drover_protocol::server::{FromPeer, SERVER_BYTES_MAX, ToPeer};
use drover_transport::{CloseCode, FrameReceiver, FrameSender, Protocol, Stream, StreamError};
use tokio::sync::mpsc;

use crate::error::Error;
use crate::forward::BODY_FRAME_BYTES_MAX;
use crate::links::{Addresses, Links, number_of_text};
use crate::server::Server;

/// Servers of a region that are tried.
const TRIES_MAX: usize = 3;
/// How long it may take until a stream to one of them is open.
const OPEN_TIME_MAX: Duration = Duration::from_secs(3);
/// Parts of an answer under way. A slow reader holds the other region's server up.
const PARTS_MAX: usize = 4;

/// Why another region gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegionError {
    /// No server of it was ever seen.
    #[error("no region {0:?} is known")]
    Unknown(String),
    /// None of its servers is reached. Nothing was sent.
    #[error("region {region:?} can't be reached: {reason}")]
    Unreachable {
        /// Which.
        region: String,
        /// Why not.
        reason: String,
    },
    /// It was sent, and no answer came: it may have been done or not.
    #[error("region {region:?} gave no answer, the request may have been done or not: {reason}")]
    Lost {
        /// Which.
        region: String,
        /// Why not.
        reason: String,
    },
    /// A server of the region has no answer to give.
    #[error("region {region:?} refused the request: {reason}")]
    Refused {
        /// Which.
        region: String,
        /// Why.
        reason: String,
    },
}

/// An answer as it comes: its head, then its body in parts. A part that is an error says that the rest is lost.
pub struct RegionAnswer {
    /// Status and headers.
    pub head: HttpHead,
    /// The body; the other region waits while nobody takes it.
    pub body: mpsc::Receiver<io::Result<Bytes>>,
}

/// The connections to servers of other regions.
#[derive(Default)]
pub(crate) struct RegionLinks {
    /// By region. Only regions in the directory are here.
    links: Mutex<BTreeMap<String, Links>>,
    /// Grows with every request, so that equal servers are asked by turns.
    turn: AtomicUsize,
}

impl Server {
    /// Hands a request to a server of another region.
    ///
    /// # Errors
    /// The region is not known, none of its servers is reached, or the answer was lost.
    pub async fn forward_to_region(&self, region: &str, request: HttpRequest) -> Result<RegionAnswer, RegionError> {
        let (is_read, request) = (request.method == "GET", codec::encode(&ToPeer::Http(Box::new(request))));
        let unreachable = |reason: String| RegionError::Unreachable { region: region.to_owned(), reason };
        let directory = self.inner.membership.directory();
        let turn = self.inner.region_links.turn.fetch_add(1, Ordering::Relaxed);
        let servers = directory.route(region, turn).map_err(|error| match error {
            RouteError::UnknownRegion(region) => RegionError::Unknown(region),
            RouteError::Unreachable(_) => unreachable("none of its servers answers".to_owned()),
        })?;
        let links = self.links_to(region, &directory.regions()).map_err(unreachable)?;
        let mut last = unreachable("its servers have no id".to_owned());
        for server in servers.into_iter().take(TRIES_MAX) {
            let Some(number) = number_of_text(&server.id) else { continue };
            let mut stream = match links.open(number, &server.rpc.to_string(), OPEN_TIME_MAX).await {
                Ok(stream) => stream,
                Err(error) => {
                    last = unreachable(error.to_string());
                    continue;
                }
            };
            match ask(&mut stream, &request).await {
                Ok(FromPeer::Http(head)) => return Ok(RegionAnswer { head, body: parts(stream) }),
                Ok(FromPeer::Refused(error)) => {
                    last = RegionError::Refused { region: region.to_owned(), reason: error.to_string() };
                }
                Ok(_) => {
                    let reason = "it answered another question".to_owned();
                    last = RegionError::Refused { region: region.to_owned(), reason };
                }
                Err(error) => last = RegionError::Lost { region: region.to_owned(), reason: error.to_string() },
            }
            // What changes something is not sent twice.
            if !is_read {
                break;
            }
        }
        Err(last)
    }

    /// Hands a request to a server of this region, by its id: it is about that server itself.
    ///
    /// # Errors
    /// There is no such server, it is not reached, or the answer was lost.
    pub async fn forward_to_server(&self, id: &str, request: HttpRequest) -> Result<RegionAnswer, Error> {
        let directory = self.inner.membership.directory();
        let unknown = || Error::Invalid(format!("unknown server {id}"));
        let member = directory.find_id(&self.info().region, id).ok_or_else(unknown)?;
        let number = number_of_text(&member.id).ok_or_else(unknown)?;
        let unavailable =
            |reason: String| Error::Unavailable(format!("server {} gives no answer: {reason}", member.name));
        let opened = self.inner.peer_links.open(number, &member.rpc.to_string(), OPEN_TIME_MAX).await;
        let mut stream = opened.map_err(|error| unavailable(error.to_string()))?;
        match ask(&mut stream, &codec::encode(&ToPeer::Http(Box::new(request)))).await {
            Ok(FromPeer::Http(head)) => Ok(RegionAnswer { head, body: parts(stream) }),
            Ok(FromPeer::Refused(error)) => Err(unavailable(error.to_string())),
            Ok(_) => Err(unavailable("it answered another question".to_owned())),
            Err(reason) => Err(unavailable(reason)),
        }
    }

    pub(crate) fn links_to(&self, region: &str, known: &[String]) -> Result<Links, String> {
        let name = RegionName::new(region).map_err(|error| error.to_string())?;
        let mut links = self.inner.region_links.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|region, _| known.contains(region));
        let made = || Links::new(self.inner.endpoint.clone(), name, Protocol::Server, Addresses::default());
        Ok(links.entry(region.to_owned()).or_insert_with(made).clone())
    }
}

/// A blocking read may take minutes to its head: a server that dies meanwhile is noticed by the connection.
pub(crate) async fn ask(stream: &mut Stream, request: &[u8]) -> Result<FromPeer, String> {
    stream.send_frame(request).await.map_err(|error| error.to_string())?;
    stream.finish();
    let frame = stream.recv_frame(SERVER_BYTES_MAX).await.map_err(|error| error.to_string())?;
    codec::decode(&frame.ok_or_else(|| StreamError::NoAnswer.to_string())?).map_err(|error| error.to_string())
}

fn parts(stream: Stream) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(PARTS_MAX);
    let (_, mut body) = stream.split();
    tokio::spawn(async move {
        loop {
            let part = tokio::select! {
                part = body.recv_frame(BODY_FRAME_BYTES_MAX) => part,
                // Nobody reads any more; the other side hears of it when the stream goes.
                () = sender.closed() => return,
            };
            let part = match part {
                Ok(Some(part)) => Ok(part),
                Ok(None) => return,
                Err(error) => Err(io::Error::other(error)),
            };
            let is_last = part.is_err();
            if sender.send(part).await.is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

/// Answers a request that a server of another region, or of this one, has handed on.
pub(crate) async fn serve(server: &Server, request: HttpRequest, stream: Stream) {
    let (mut sender, receiver) = stream.split();
    let Some(handler) = server.inner.forward_handler.get() else {
        let refused = RpcError::Unavailable { message: "this server has no HTTP API".to_owned() };
        // One that is gone wants no answer.
        let _ = sender.send_frame(&codec::encode(&FromPeer::Refused(refused))).await;
        return;
    };
    let mut answer = tokio::select! {
        answer = handler(request) => answer,
        _ = sender.reader_gone() => return,
    };
    if sender.send_frame(&codec::encode(&FromPeer::Http(answer.head))).await.is_err() {
        return;
    }
    if pass_body(&mut sender, &mut answer.body).await {
        sender.finish()
    } else {
        sender.reset(CloseCode::DONE)
    }
    drop::<FrameReceiver>(receiver);
}

/// Whether all of it was sent.
async fn pass_body(sender: &mut FrameSender, body: &mut mpsc::Receiver<Bytes>) -> bool {
    loop {
        let part = tokio::select! {
            part = body.recv() => part,
            _ = sender.reader_gone() => return false,
        };
        let Some(part) = part else { return true };
        for piece in part.chunks(BODY_FRAME_BYTES_MAX) {
            if sender.send_frame(piece).await.is_err() {
                return false;
            }
        }
    }
}
