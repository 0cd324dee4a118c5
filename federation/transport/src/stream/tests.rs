//! Frames: sizes at the edges, both directions, and ends of every kind.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::fixture::*;

const MIB: usize = 1024 * 1024;

/// Answers each stream's first frame with the same bytes.
async fn echo(connection: Connection) {
    while let Ok(mut stream) = connection.accept_stream().await {
        tokio::spawn(async move {
            if let Ok(Some(frame)) = stream.recv_frame(8 * MIB).await {
                let _ = stream.send_frame(&frame).await;
            }
        });
    }
}

#[tokio::test]
async fn calls_of_all_sizes_run_side_by_side() {
    let pair = pair().await;
    tokio::spawn(echo(pair.edge.connection));
    let edge = pair.server.connection;
    let sizes = [0, 1, 100, JOINED_MAX, JOINED_MAX + 1, CHUNK_MAX, CHUNK_MAX + 1, 3 * MIB];
    // More calls than there may be streams at a time.
    let calls: Vec<_> = (0..200)
        .map(|n| {
            let edge = edge.clone();
            let request = vec![n as u8; if n < sizes.len() { sizes[n] } else { n }];
            tokio::spawn(async move { assert_eq!(edge.call(&request, 3 * MIB).await.unwrap(), request) })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn the_server_opens_streams_on_the_edges_connection() {
    let pair = pair().await;
    let (edge, server) = (pair.server.connection, pair.edge.connection);
    let pusher = async {
        let mut stream = server.open_stream().await.unwrap();
        stream.set_priority(1);
        for n in 0..100u32 {
            stream.send_frame(&n.to_be_bytes()).await.unwrap();
        }
        stream.finish();
        assert_eq!(stream.recv_frame(10).await.unwrap().unwrap(), "thanks");
        assert_eq!(stream.recv_frame(10).await.unwrap(), None);
    };
    let reader = async {
        let (mut sender, mut receiver) = edge.accept_stream().await.unwrap().split();
        let mut seen = 0u32;
        while let Some(frame) = receiver.recv_frame(4).await.unwrap() {
            assert_eq!(frame, seen.to_be_bytes().as_slice());
            seen += 1;
        }
        assert_eq!(seen, 100);
        sender.send_frame(b"thanks").await.unwrap();
        sender.finish();
        sender.reader_gone().await.unwrap();
    };
    tokio::join!(pusher, reader);
}

#[tokio::test]
async fn a_frame_beyond_the_readers_maximum_is_an_error_and_stops_the_sender() {
    let pair = pair().await;
    let (edge, server) = (pair.server.connection, pair.edge.connection);
    let mut sending = edge.open_stream().await.unwrap();
    sending.send_frame(&[0; 101]).await.unwrap();
    let mut receiving = server.accept_stream().await.unwrap();
    assert_eq!(receiving.recv_frame(100).await, Err(StreamError::TooLarge { len: 101, max: 100 }));
    let (mut sender, _receiver) = sending.split();
    assert_eq!(sender.reader_gone().await, Err(StreamError::Stopped(CloseCode::FRAME_TOO_LARGE)));
    assert_eq!(sender.send_frame(b"more").await, Err(StreamError::Stopped(CloseCode::FRAME_TOO_LARGE)));
    // The connection is none the worse, and the same goes for an answer.
    tokio::spawn(echo(server));
    assert_eq!(edge.call(&[0; 11], 10).await, Err(StreamError::TooLarge { len: 11, max: 10 }));
    assert_eq!(edge.call(&[0; 10], 10).await.unwrap().len(), 10);
}

#[tokio::test]
async fn ends_are_told_apart() {
    let pair = pair().await;
    let (edge, server) = (pair.server.connection, pair.edge.connection);
    let answer = async |what: &[u8], finish: bool| {
        let mut stream = server.accept_stream().await.unwrap();
        if finish {
            let mut writer = stream.split().0.into_writer();
            writer.write_all(what).await.unwrap();
            writer.shutdown().await.unwrap();
        } else {
            stream.abort(CloseCode(500));
        }
    };
    let huge = u32::MAX.to_be_bytes();
    let cases: [(&[u8], bool, StreamError); 6] = [
        (b"", true, StreamError::NoAnswer),
        (&[0, 0], true, StreamError::Truncated),
        (&[0, 0, 0, 5], true, StreamError::Truncated),
        (&[0, 0, 0, 5, 1, 2, 3, 4], true, StreamError::Truncated),
        (&huge, true, StreamError::TooLarge { len: u32::MAX as usize, max: 10 }),
        (b"", false, StreamError::Reset(CloseCode(500))),
    ];
    for (bytes, finish, expected) in cases {
        let (called, ()) = tokio::join!(edge.call(b"?", 10), answer(bytes, finish));
        assert_eq!(called, Err(expected), "{bytes:?}");
    }
}

#[tokio::test]
async fn a_dropped_read_loses_nothing() {
    let pair = pair().await;
    let (edge, server) = (pair.server.connection, pair.edge.connection);
    let (sender, _keep) = edge.open_stream().await.unwrap().split();
    let mut writer = sender.into_writer();
    let mut wire = Vec::new();
    for frame in [&b"first"[..], b"", b"second"] {
        wire.extend_from_slice(&(frame.len() as u32).to_be_bytes());
        wire.extend_from_slice(frame);
    }
    // Every byte comes alone, and the reader gives up and begins again between them.
    writer.write_all(&wire[..1]).await.unwrap();
    let (_sender, mut receiver) = server.accept_stream().await.unwrap().split();
    let mut frames = Vec::new();
    for byte in &wire[1..] {
        tokio::select! {
            biased;
            frame = receiver.recv_frame(10) => frames.push(frame.unwrap().unwrap()),
            () = tokio::task::yield_now() => {}
        }
        writer.write_all(&[*byte]).await.unwrap();
    }
    writer.shutdown().await.unwrap();
    while let Some(frame) = receiver.recv_frame(10).await.unwrap() {
        frames.push(frame);
    }
    assert_eq!(frames, [&b"first"[..], b"", b"second"]);
}

#[tokio::test]
async fn a_stream_can_turn_to_bytes_after_its_first_frame() {
    let pair = pair().await;
    let (edge, server) = (pair.server.connection, pair.edge.connection);
    let body = vec![7; 2 * MIB];
    let writer = async {
        let (mut sender, _receiver) = edge.open_stream().await.unwrap().split();
        sender.send_frame(b"bytes follow").await.unwrap();
        let mut writer = sender.into_writer();
        writer.write_all(&body).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let reader = async {
        let (_sender, mut receiver) = server.accept_stream().await.unwrap().split();
        assert_eq!(receiver.recv_frame(100).await.unwrap().unwrap(), "bytes follow");
        let mut read = Vec::new();
        receiver.into_reader().read_to_end(&mut read).await.unwrap();
        assert!(read == body);
    };
    tokio::join!(writer, reader);
}
