//! Takes connections and serves them, within bounds.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;

use crate::api::Api;
use crate::compress::{Coding, compressed};
use crate::options::ServeOptions;
use crate::places::Places;
use crate::problem::{HTTPS_ONLY, TOO_MANY_CONNECTIONS};
use crate::router::router;
use crate::tls::Tls;

/// The most connections open at a time. Each may hold one request, so it bounds the blocked reads as well.
pub const CONNECTIONS_MAX: usize = 4096;
/// A request head that is longer is refused, in bytes; what came with the same read is still taken.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
/// The most headers of a request.
pub const HEADERS_MAX: usize = 128;
/// How long a request head may take to come, and how long a connection may idle.
pub const HEAD_TIME_MAX: Duration = Duration::from_secs(120);
/// How long requests under way may go on after a stop was asked for.
pub const STOP_GRACE: Duration = Duration::from_millis(500);
/// The most callers that are told at a time that there are too many; more are only cut off.
const REFUSALS_MAX: usize = 64;
/// How long a caller that was refused may take to hang up.
const REFUSAL_TIME_MAX: Duration = Duration::from_millis(500);
/// The wait after a connection could not be taken (no file descriptors are left).
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Serves the API until `shutdown` is done, and then lets requests under way go on for [`STOP_GRACE`].
///
/// # Errors
/// The listener can't be used.
pub async fn serve(
    listener: TcpListener,
    api: Api,
    options: ServeOptions,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    serve_router(listener, router(api), options, shutdown).await
}

/// Serves anything that answers requests, within the same bounds.
pub(crate) async fn serve_router(
    listener: TcpListener,
    service: axum::Router,
    options: ServeOptions,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.local_addr()?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let client_places = Places::new(options.connections_per_client_max);
    let options = Arc::new(options);
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "connection not taken");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        match (places.clone().try_acquire_owned(), client_places.take(peer.ip())) {
            (Ok(place), Some(client_place)) => {
                let connection = Connection { peer, service: service.clone(), options: Arc::clone(&options) };
                let stopping = stopping.clone();
                connections.spawn(async move {
                    connection.serve(stream, stopping).await;
                    drop((place, client_place));
                });
            }
            _ => {
                if let Ok(refusal) = refusals.clone().try_acquire_owned() {
                    connections.spawn(async move {
                        refuse(stream, TOO_MANY_CONNECTIONS).await;
                        drop(refusal);
                    });
                }
            }
        }
    }
    drop(listener);
    stop.send_replace(true);
    let all_done = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_GRACE, all_done).await.is_err() {
        connections.shutdown().await;
    }
    Ok(())
}

/// Says why there is nothing here, in plain text on any port. What the caller sends is read until it hangs up: closed
/// on unread bytes, the connection would be reset, and the text lost.
async fn refuse(mut stream: TcpStream, text: &[u8]) {
    let told = async {
        stream.write_all(text).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut (&mut stream).take(HEAD_BYTES_MAX as u64), &mut tokio::io::sink()).await
    };
    // A caller that is gone, or that goes on, has had its answer.
    let _ = tokio::time::timeout(REFUSAL_TIME_MAX, told).await;
}

struct Connection {
    peer: SocketAddr,
    service: axum::Router,
    options: Arc<ServeOptions>,
}

impl Connection {
    async fn serve(self, stream: TcpStream, stopping: watch::Receiver<bool>) {
        // Without it a small answer may wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let Some(tls) = self.options.tls.clone() else {
            return self.serve_http(stream, stopping).await;
        };
        let time_max = self.options.handshake_time_max.unwrap_or(HEAD_TIME_MAX);
        match tokio::time::timeout(time_max, secured(stream, &tls)).await {
            Ok(Ok(Some(stream))) => self.serve_http(stream, stopping).await,
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::debug!(peer = %self.peer, %error, "connection not secured"),
            Err(_) => tracing::debug!(peer = %self.peer, "connection not secured in time"),
        }
    }

    async fn serve_http(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        mut stopping: watch::Receiver<bool>,
    ) {
        let Connection { peer, service, options } = self;
        let handle = hyper::service::service_fn(move |request: Request<Incoming>| {
            let (mut service, options) = (service.clone(), Arc::clone(&options));
            async move {
                let coding = Coding::of(request.headers());
                let mut request = request.map(axum::body::Body::new);
                request.extensions_mut().insert(ConnectInfo(peer));
                let answered = tower_service::Service::call(&mut service, request).await;
                let mut reply = compressed(answered.unwrap_or_else(|never| match never {}), coding).await;
                options.complete(reply.headers_mut());
                Ok::<_, Infallible>(reply)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(stream), handle)
            .with_upgrades();
        tokio::pin!(connection);
        let stop_asked = async {
            // An error means that nobody can ask any more, which is a stop as well.
            let _ = stopping.wait_for(|stop| *stop).await.is_ok();
        };
        let result = tokio::select! {
            result = &mut connection => result,
            () = stop_asked => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }
}

/// The connection inside TLS; none when the caller speaks plain HTTP, which it is told.
async fn secured(stream: TcpStream, tls: &Tls) -> io::Result<Option<TlsStream<TcpStream>>> {
    let mut first = [0];
    let read = stream.peek(&mut first).await?;
    // A method begins with a letter, a handshake with 22.
    if read == 1 && first[0].is_ascii_uppercase() {
        refuse(stream, HTTPS_ONLY).await;
        return Ok(None);
    }
    tls.acceptor().accept(stream).await.map(Some)
}
