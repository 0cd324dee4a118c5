//! HTTP requests that a client-only agent got and hands on over its edge's connection.
//!
//! The HTTP API stands above this crate, so it hands in what answers; the caller's ACL token alone counts there, not
//! the edge that carried the request.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use drover_protocol::codec;
use drover_protocol::edge::{FromServer, HttpHead, HttpRequest, RpcError};
use drover_transport::Stream;
use tokio::sync::mpsc;

use crate::server::Server;

/// The longest part of a body sent in one frame, in bytes.
pub(crate) const BODY_FRAME_BYTES_MAX: usize = 64 << 10;

/// An answer as it comes: its head, then its body in parts.
pub struct ForwardedAnswer {
    /// Status and headers.
    pub head: HttpHead,
    /// The body; the sender waits while nobody takes it.
    pub body: mpsc::Receiver<Bytes>,
}

/// What answers forwarded requests.
pub type ForwardHandler =
    Box<dyn Fn(HttpRequest) -> Pin<Box<dyn Future<Output = ForwardedAnswer> + Send>> + Send + Sync>;

impl Server {
    /// Sets what answers forwarded requests; the first one stays.
    pub fn set_forward_handler(&self, handler: ForwardHandler) {
        // A second one is a mistake of the caller that changes nothing.
        let _ = self.inner.forward_handler.set(handler);
    }
}

/// Answers one forwarded request on the stream it came on.
pub(crate) async fn serve(server: &Server, request: HttpRequest, mut stream: Stream) {
    let Some(handler) = server.inner.forward_handler.get() else {
        let refused = RpcError::Unavailable { message: "this server has no HTTP API".to_owned() };
        // An edge that is gone wants no answer.
        let _ = stream.send_frame(&codec::encode(&FromServer::Refused(refused))).await;
        return;
    };
    let mut answer = handler(request).await;
    if stream.send_frame(&codec::encode(&FromServer::Forwarded(answer.head))).await.is_err() {
        return;
    }
    while let Some(part) = answer.body.recv().await {
        for piece in part.chunks(BODY_FRAME_BYTES_MAX) {
            if stream.send_frame(piece).await.is_err() {
                return;
            }
        }
    }
    stream.finish();
}
