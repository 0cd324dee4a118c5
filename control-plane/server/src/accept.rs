//! Who comes to this server's ports, and what serves them.

use drover_transport::{Accepted, Candidate, CloseCode, Protocol};
use tokio::sync::mpsc;

use crate::links::number_of_text;
use crate::server::Server;
use crate::{edge_service, enrol_service, peer_service, raft_links};

/// Told to whoever speaks a protocol that is for the gossip port.
const NOT_SERVED: CloseCode = CloseCode(256);

/// Serves whoever comes to the RPC port.
pub async fn accept_connections(server: Server) {
    while let Some(accepted) = server.endpoint().accept().await {
        let server = server.clone();
        match accepted {
            Accepted::Peer(peer) => match peer.protocol {
                Protocol::Edge => drop(tokio::spawn(edge_service::serve(server, peer))),
                Protocol::Server => drop(tokio::spawn(peer_service::serve(server, peer))),
                Protocol::Raft => drop(tokio::spawn(serve_raft(server, peer))),
                Protocol::Gossip | Protocol::Enrol => peer.connection.close(NOT_SERVED, "this is not the gossip port"),
            },
            Accepted::Candidate(candidate) => {
                tokio::spawn(enrol_service::serve(server, candidate));
            }
        }
    }
}

/// Serves those who come to the gossip port with a token: it is the only port that they know.
pub async fn accept_candidates(server: Server, mut candidates: mpsc::Receiver<Candidate>) {
    while let Some(candidate) = candidates.recv().await {
        tokio::spawn(enrol_service::serve(server.clone(), candidate));
    }
}

/// Hands the streams of another server to raft.
async fn serve_raft(server: Server, peer: drover_transport::Peer) {
    let Some(from) = number_of_text(&peer.identity.node) else {
        peer.connection.close(CloseCode::CERTIFICATE_REFUSED, "the certificate names no server");
        return;
    };
    while let Ok(stream) = peer.connection.accept_stream().await {
        let raft = server.inner.raft.clone();
        let (sender, receiver) = raft_links::halves(stream);
        tokio::spawn(async move {
            if let Err(error) = raft.serve(from, sender, receiver).await {
                tracing::debug!(from, %error, "raft's stream ended");
            }
        });
    }
}
