//! The supervisor's end of one connection: bytes in, bytes out, both bounded, never blocking.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::net::RecvFlags;
use serde::Serialize;

use crate::pass_fds::{self, FDS_MAX};
use crate::protocol::{Purpose, REPLY_BYTES_MAX, REQUEST_BYTES_MAX, encode};

/// What may wait for a slow reader; past it the connection is dropped (a new one gets all unacknowledged exits again).
const OUTPUT_BYTES_MAX: usize = 2 * REPLY_BYTES_MAX;

/// What one that keeps copies is to be told.
#[derive(Debug)]
pub(crate) enum ToKeep {
    /// The task of that number runs.
    Task(u64),
    /// The task of that id is gone.
    Gone(String),
    /// Everything that was there at first has been told.
    Last,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    /// Bytes read and not yet understood.
    pub(crate) input: Vec<u8>,
    output: Vec<u8>,
    /// Descriptors that came with what was read.
    pub(crate) fds: Vec<OwnedFd>,
    /// Tasks that are still to be told of, for one that keeps copies.
    pub(crate) to_keep: VecDeque<ToKeep>,
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
        Ok(Connection {
            stream,
            input: Vec::new(),
            output: Vec::new(),
            fds: Vec::new(),
            to_keep: VecDeque::new(),
            purpose: None,
            since,
            waits_to_write: false,
        })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Reads once. False when the connection is over.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> bool {
        match pass_fds::receive(&self.stream, buffer, &mut self.fds, RecvFlags::DONTWAIT) {
            Ok(0) => false,
            Ok(length) => {
                self.input.extend_from_slice(buffer.get(..length).unwrap_or(&[]));
                self.input.len() <= REQUEST_BYTES_MAX + 4 + buffer.len() && self.fds.len() <= FDS_MAX
            }
            Err(err) => matches!(err, rustix::io::Errno::AGAIN | rustix::io::Errno::INTR),
        }
    }

    /// Its socket, for messages with descriptors.
    pub(crate) fn socket(&self) -> &UnixStream {
        &self.stream
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
        !self.output.is_empty() || !self.to_keep.is_empty()
    }
}
