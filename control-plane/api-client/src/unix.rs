//! HTTP over a Unix socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use ureq::Timeout;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport};

/// Connects to one socket, whatever host the URL names.
#[derive(Debug)]
pub(crate) struct ToSocket(pub(crate) PathBuf);

impl Connector<()> for ToSocket {
    type Out = OverSocket;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<OverSocket>, ureq::Error> {
        let stream = UnixStream::connect(&self.0)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(OverSocket { stream, buffers }))
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct OverSocket {
    stream: UnixStream,
    buffers: LazyBuffers,
}

/// None is for ever; the system takes no zero.
fn patience(timeout: NextTimeout) -> Option<Duration> {
    timeout.not_zero().map(|left| (*left).max(Duration::from_millis(1)))
}

fn or_timeout<T>(result: io::Result<T>, reason: Timeout) -> Result<T, ureq::Error> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ureq::Error::Timeout(reason),
        _ => ureq::Error::Io(error),
    })
}

impl Transport for OverSocket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.set_write_timeout(patience(timeout))?;
        or_timeout(self.stream.write_all(&self.buffers.output()[..amount]), timeout.reason)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.set_read_timeout(patience(timeout))?;
        let read = or_timeout(self.stream.read(self.buffers.input_append_buf()), timeout.reason)?;
        self.buffers.input_appended(read);
        Ok(read > 0)
    }

    fn is_open(&mut self) -> bool {
        // A connection is never taken up again: opening one costs next to nothing, and a closed one is hard to tell.
        false
    }
}
