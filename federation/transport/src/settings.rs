//! The numbers of every connection: timers, stream counts, windows. Each is a bound on what one peer can make us hold.

use std::sync::Arc;
use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig, VarInt};

use crate::protocol::Protocol;

/// How often the dialling side sends something when nothing else is sent: often enough to keep a NAT's entry. Whoever says something
/// more often, as an edge does with its heartbeats, pays nothing for it.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A connection from which nothing is heard for so long is gone.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(45);
/// The same between servers, which must notice each other's death: a connection to one that was killed and has come back
/// leads nowhere.
pub(crate) const SERVER_KEEP_ALIVE: Duration = Duration::from_secs(1);
/// The same between servers.
pub(crate) const SERVER_IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// The same for gossip, where the other side may be dead and come back within seconds.
const GOSSIP_KEEP_ALIVE: Duration = Duration::from_secs(3);
const GOSSIP_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of datagrams that may wait for their reader, or to be sent. Beyond, the oldest are dropped.
const DATAGRAMS_MAX: usize = 64 * 1024;
/// Bidirectional streams that the other side may have open on an edge's connection. Memory is set aside for each of them, used or not.
const EDGE_STREAMS_MAX: u32 = 64;
/// The same where an edge was accepted, until it needs more: an idle one has two open, and a server may have thousands of those.
const IDLE_STREAMS_MAX: u32 = 8;
/// The same between servers.
const SERVER_STREAMS_MAX: u32 = 1024;
/// Unidirectional streams; one is used, for the welcome.
const UNI_STREAMS_MAX: u32 = 4;
/// Bytes of one stream that may wait for its reader.
const STREAM_WINDOW_MAX: u32 = 256 * 1024;
/// Bytes of all streams of a connection that may wait for their readers, and bytes sent but not yet acknowledged.
const EDGE_WINDOW_MAX: u32 = 1024 * 1024;
/// The same between servers.
const SERVER_WINDOW_MAX: u32 = 8 * 1024 * 1024;
/// Bytes of the ids by which packets find the connections of an endpoint that only dials. Each packet to it carries one, and there
/// are few of those connections, so half of the usual eight bytes will do.
pub(crate) const DIALLED_ID_BYTES: usize = 4;
/// Wanted size of the socket's buffers; the system gives what it allows.
pub(crate) const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// Settings of a connection that this side dials.
pub(crate) fn dialled(protocol: Protocol) -> Arc<TransportConfig> {
    let mut config = bounded(protocol == Protocol::Gossip);
    config.keep_alive_interval(Some(if protocol == Protocol::Gossip { GOSSIP_KEEP_ALIVE } else { KEEP_ALIVE }));
    if protocol.is_between_servers() {
        // The shorter idle timeout of both sides counts, so this one holds for the connection as a whole.
        config.keep_alive_interval(Some(SERVER_KEEP_ALIVE));
        config.max_idle_timeout(Some(idle_timeout(SERVER_IDLE_TIMEOUT)));
        config.max_concurrent_bidi_streams(SERVER_STREAMS_MAX.into());
        config.receive_window(SERVER_WINDOW_MAX.into());
        config.send_window(SERVER_WINDOW_MAX.into());
    }
    Arc::new(config)
}

/// Settings of an accepted connection until its protocol is known: those of gossip where that is taken, else those of an idle edge.
pub(crate) fn accepted(protocols: &[Protocol]) -> Arc<TransportConfig> {
    let is_gossip = protocols.contains(&Protocol::Gossip);
    let mut config = bounded(is_gossip);
    if !is_gossip {
        config.max_concurrent_bidi_streams(IDLE_STREAMS_MAX.into());
        // For batches of ten packets quinn keeps a buffer of 13 KB with every connection that has ever sent something, which is a
        // third of what one takes. Most are edges', who send much (logs, files) and are sent little; what servers send much of, the
        // log and snapshots, goes over connections that they have dialled.
        config.enable_segmentation_offload(false);
    }
    Arc::new(config)
}

/// Raises the number of streams that a busy edge may have open.
pub(crate) fn widen_for_edge(connection: &quinn::Connection) {
    connection.set_max_concurrent_bi_streams(EDGE_STREAMS_MAX.into());
}

/// Raises an accepted connection's bounds once it has turned out to be a server's.
pub(crate) fn widen_for(protocol: Protocol, connection: &quinn::Connection) {
    if protocol.is_between_servers() {
        connection.set_max_concurrent_bi_streams(SERVER_STREAMS_MAX.into());
        connection.set_receive_window(SERVER_WINDOW_MAX.into());
        connection.set_send_window(SERVER_WINDOW_MAX.into());
    }
}

fn idle_timeout(time: Duration) -> IdleTimeout {
    IdleTimeout::from(VarInt::from_u32(u32::try_from(time.as_millis()).expect("an idle timeout is a small constant")))
}

fn bounded(is_gossip: bool) -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(idle_timeout(if is_gossip { GOSSIP_IDLE_TIMEOUT } else { IDLE_TIMEOUT })))
        .max_concurrent_bidi_streams(EDGE_STREAMS_MAX.into())
        .max_concurrent_uni_streams(UNI_STREAMS_MAX.into())
        .stream_receive_window(STREAM_WINDOW_MAX.into())
        .receive_window(EDGE_WINDOW_MAX.into())
        .send_window(EDGE_WINDOW_MAX.into())
        .datagram_send_buffer_size(DATAGRAMS_MAX)
        .datagram_receive_buffer_size(is_gossip.then_some(DATAGRAMS_MAX));
    config
}
