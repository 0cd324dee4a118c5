//! The connections to one other server: the first words on each, what is sent, what comes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use drover_certs::Secret;
use drover_gossip::{PACKET_MAX, Sender};
use drover_transport::{CloseCode, Connection, Peer, StreamError};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

/// The first byte on every connection: another form of gossip would begin with another.
const FORM: u8 = 1;
/// The most bytes of the first words: the form, whether there is a key, the proof.
const HELLO_MAX: usize = 34;
/// How long the first words, or one packet on a stream, may take.
const STREAM_TIME_MAX: Duration = Duration::from_secs(5);
/// Packets on streams that are being sent at a time over one connection. More are dropped, as datagrams would be.
const STREAMS_OUT_MAX: usize = 4;
/// The gossip keys differ.
const KEY_DIFFERS: CloseCode = CloseCode(256);
/// The other side speaks another form.
const FORM_DIFFERS: CloseCode = CloseCode(257);

/// Why the first words failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HelloError {
    #[error("the gossip keys differ: `encrypt` in `server` must be the same on all servers, or unset on all")]
    KeyDiffers,
    #[error("the other side speaks another form of gossip")]
    FormDiffers,
    #[error("the other side was silent")]
    Silent,
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// Who a connection has proved to lead to.
pub(crate) fn sender(peer: &Peer) -> Sender {
    Sender { region: peer.identity.region.to_string(), id: peer.identity.node.clone() }
}

/// The dialler speaks first. Both prove that they know the key, if there is one, on this connection.
pub(crate) async fn greet(connection: &Connection, key: Option<&Secret>) -> Result<(), HelloError> {
    let words = async {
        let mut stream = connection.open_stream().await.map_err(StreamError::from)?;
        stream.send_frame(&hello(connection, key)).await?;
        stream.finish();
        let answer = stream.recv_frame(HELLO_MAX).await;
        check(connection, key, &answer?.ok_or(StreamError::NoAnswer)?)
    };
    let said = timeout(STREAM_TIME_MAX, words).await.map_err(|_| HelloError::Silent).flatten();
    said.map_err(|error| closed_for(connection).unwrap_or(error))
}

/// The listener's side of [`greet`].
pub(crate) async fn answer(connection: &Connection, key: Option<&Secret>) -> Result<(), HelloError> {
    let words = async {
        let mut stream = connection.accept_stream().await.map_err(StreamError::from)?;
        let said = stream.recv_frame(HELLO_MAX).await?.ok_or(StreamError::NoAnswer)?;
        check(connection, key, &said)?;
        stream.send_frame(&hello(connection, key)).await?;
        stream.finish();
        Ok(())
    };
    timeout(STREAM_TIME_MAX, words).await.map_err(|_| HelloError::Silent).flatten()
}

fn hello(connection: &Connection, key: Option<&Secret>) -> Vec<u8> {
    let mut words = vec![FORM, u8::from(key.is_some())];
    // Without keying material the proof is missing, and the other side refuses.
    words.extend(key.and_then(|key| connection.prove(key).ok()).into_iter().flatten());
    words
}

fn check(connection: &Connection, key: Option<&Secret>, said: &[u8]) -> Result<(), HelloError> {
    let error = match (said, key) {
        ([FORM, 0], None) => return Ok(()),
        ([FORM, 1, proof @ ..], Some(key)) if connection.check_proof(key, proof) => return Ok(()),
        ([FORM, ..], _) => HelloError::KeyDiffers,
        _ => HelloError::FormDiffers,
    };
    let code = if error == HelloError::KeyDiffers { KEY_DIFFERS } else { FORM_DIFFERS };
    connection.close(code, &error.to_string());
    Err(error)
}

/// What the other side had against our words, if that is why the connection ended.
fn closed_for(connection: &Connection) -> Option<HelloError> {
    match connection.close_reason()? {
        drover_transport::Closed::ByPeer { code: KEY_DIFFERS, .. } => Some(HelloError::KeyDiffers),
        drover_transport::Closed::ByPeer { code: FORM_DIFFERS, .. } => Some(HelloError::FormDiffers),
        _ => None,
    }
}

/// The ways to one server: at most one that was dialled and one that was accepted. Two servers that dial each other at the same
/// moment have both, and neither closes what the other one uses.
#[derive(Debug, Default)]
pub(crate) struct Link {
    dialled: Option<Way>,
    accepted: Option<Way>,
    dialled_is_newest: bool,
}

#[derive(Debug)]
struct Way {
    connection: Connection,
    streams: Arc<Semaphore>,
}

impl Drop for Way {
    fn drop(&mut self) {
        self.connection.close(CloseCode::DONE, "");
    }
}

impl Link {
    /// Takes a new connection in the place of an older one of the same direction.
    pub(crate) fn put(&mut self, connection: Connection, was_dialled: bool) {
        let way = Way { connection, streams: Arc::new(Semaphore::new(STREAMS_OUT_MAX)) };
        *(if was_dialled { &mut self.dialled } else { &mut self.accepted }) = Some(way);
        self.dialled_is_newest = was_dialled;
    }

    /// Sends over the newest connection that lasts. Gives the packet back where there is none.
    pub(crate) fn send(&mut self, packet: Bytes) -> Result<(), Bytes> {
        let ways = if self.dialled_is_newest {
            [&mut self.dialled, &mut self.accepted]
        } else {
            [&mut self.accepted, &mut self.dialled]
        };
        for way in ways {
            match way {
                Some(Way { connection, streams }) if connection.close_reason().is_none() => {
                    send(connection, streams, packet);
                    return Ok(());
                }
                _ => *way = None,
            }
        }
        Err(packet)
    }
}

fn send(connection: &Connection, streams: &Arc<Semaphore>, packet: Bytes) {
    if connection.datagram_max().is_some_and(|max| packet.len() <= max) {
        // What is lost here is lost as on the way.
        let _ = connection.send_datagram(packet);
        return;
    }
    let Ok(place) = streams.clone().try_acquire_owned() else { return };
    let connection = connection.clone();
    tokio::spawn(async move {
        let send = async {
            let mut stream = connection.open_stream().await.map_err(StreamError::from)?;
            stream.send_frame(&packet).await?;
            stream.finish();
            // Dropping the other half would tell the other side that nobody reads; it sends nothing anyway.
            stream.recv_frame(0).await
        };
        let _ = timeout(STREAM_TIME_MAX, send).await;
        drop(place);
    });
}

/// Reads a connection to its end.
pub(crate) async fn read_all(connection: Connection, from: Sender, packets: mpsc::Sender<(Sender, Bytes)>) {
    let datagrams = async {
        while let Ok(packet) = connection.recv_datagram().await {
            // A full queue loses them, as the network does.
            let _ = packets.try_send((from.clone(), packet));
        }
    };
    let streams = async {
        while let Ok(mut stream) = connection.accept_stream().await {
            // One at a time: who is slow with one waits with the next.
            if let Ok(Ok(Some(packet))) = timeout(STREAM_TIME_MAX, stream.recv_frame(PACKET_MAX)).await
                && packets.send((from.clone(), packet)).await.is_err()
            {
                return;
            }
        }
    };
    tokio::join!(datagrams, streams);
}
