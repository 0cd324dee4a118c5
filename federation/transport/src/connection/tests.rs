//! Proofs of a secret, and the end of connections.

use super::*;
use crate::fixture::*;

#[tokio::test]
async fn proofs_count_for_one_secret_one_side_and_one_connection() {
    let (one, other) = tokio::join!(pair(), pair());
    let (edge, server) = (&one.server.connection, &one.edge.connection);
    let (secret, wrong) = (Secret::generate().unwrap(), Secret::generate().unwrap());
    let by_edge = edge.prove(&secret).unwrap();
    let by_server = server.prove(&secret).unwrap();
    assert!(server.check_proof(&secret, &by_edge));
    assert!(edge.check_proof(&secret, &by_server));
    assert!(!server.check_proof(&wrong, &by_edge), "another secret");
    assert!(!edge.check_proof(&secret, &by_edge), "sent back to its maker");
    assert!(!server.check_proof(&secret, &by_server), "sent back to its maker");
    assert!(!other.edge.connection.check_proof(&secret, &by_edge), "relayed to another connection");
    assert!(!server.check_proof(&secret, &by_edge[..31]), "cut");
    assert!(!server.check_proof(&secret, &[]), "empty");
}

#[tokio::test]
async fn a_close_is_reported_to_both_sides_and_to_calls_under_way() {
    let pair = pair().await;
    let (edge, server) = (pair.server.connection, pair.edge.connection);
    let call = tokio::spawn({
        let edge = edge.clone();
        async move { edge.call(b"never answered", 10).await }
    });
    let _stream = server.accept_stream().await.unwrap();
    server.close(CloseCode(400), "bad\nwords");
    let expected = Closed::ByPeer { code: CloseCode(400), reason: "bad words".into() };
    assert_eq!(edge.closed().await, expected);
    assert_eq!(call.await.unwrap(), Err(StreamError::Closed(expected.clone())));
    assert_eq!(edge.close_reason(), Some(expected.clone()));
    assert_eq!(edge.open_stream().await.unwrap_err(), expected);
    assert_eq!(server.close_reason(), Some(Closed::Here));
}

#[tokio::test]
async fn the_last_copy_closes_and_a_stream_holds_it_open() {
    let pair = pair().await;
    let (edge, server) = (pair.server.connection, pair.edge.connection);
    let mut stream = edge.open_stream().await.unwrap();
    drop(edge);
    stream.send_frame(b"still here").await.unwrap();
    let mut accepted = server.accept_stream().await.unwrap();
    assert_eq!(accepted.recv_frame(100).await.unwrap().unwrap(), "still here");
    assert_eq!(server.close_reason(), None);
    drop(stream);
    assert!(matches!(server.closed().await, Closed::ByPeer { code: CloseCode::DONE, .. }));
}
