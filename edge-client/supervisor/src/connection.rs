//! The supervisor's end of one connection: bytes in, bytes out, both bounded, never blocking.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use serde::Serialize;

use crate::protocol::{Purpose, REPLY_BYTES_MAX, REQUEST_BYTES_MAX, encode};

/// What may wait for a slow reader; past it the connection is dropped (a new one gets all unacknowledged exits again).
const OUTPUT_BYTES_MAX: usize = 2 * REPLY_BYTES_MAX;

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    /// Bytes read and not yet understood.
    pub(crate) input: Vec<u8>,
    output: Vec<u8>,
    /// What it is for; none before its greeting.
    pub(crate) purpose: Option<Purpose>,
    /// When it was accepted: one that does not greet is dropped.
    pub(crate) since: Instant,
    /// Whether the loop waits for it to take more.
    pub(crate) waits_to_write: bool,
}

impl Connection {
    pub(crate) fn new(stream: UnixStream, since: Instant) -> io::Result<Connection> {
        stream.set_nonblocking(true)?;
        Ok(Connection { stream, input: Vec::new(), output: Vec::new(), purpose: None, since, waits_to_write: false })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Reads once. False when the connection is over.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> bool {
        match self.stream.read(buffer) {
            Ok(0) => false,
            Ok(length) => {
                self.input.extend_from_slice(buffer.get(..length).unwrap_or(&[]));
                self.input.len() <= REQUEST_BYTES_MAX + 4 + buffer.len()
            }
            Err(err) => matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
    }

    /// Queues a message and sends what the socket takes. False when the connection is over.
    pub(crate) fn send<T: Serialize>(&mut self, message: &T) -> bool {
        let Ok(bytes) = encode(message, REPLY_BYTES_MAX) else {
            return false;
        };
        if self.output.len() + bytes.len() > OUTPUT_BYTES_MAX {
            return false;
        }
        self.output.extend_from_slice(&bytes);
        self.flush()
    }

    /// Sends what the socket takes. False when the connection is over.
    pub(crate) fn flush(&mut self) -> bool {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => return false,
                Ok(length) => drop(self.output.drain(..length)),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return err.kind() == io::ErrorKind::WouldBlock,
            }
        }
        // A burst must not keep its memory.
        self.output.shrink_to(4096);
        true
    }

    /// Whether bytes wait to be sent.
    pub(crate) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }
}
