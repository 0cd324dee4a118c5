//! A connection to an agent that is not HTTP all the way: plain, inside TLS, or over a Unix socket.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::address::Address;
use crate::tls::TlsOptions;

/// One connection.
pub(crate) enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    pub(crate) fn connect(address: &Address, tls: &TlsOptions, timeout: Duration) -> io::Result<Wire> {
        if let Some(path) = &address.socket {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(timeout))?;
            return Ok(Wire::Unix(stream));
        }
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        let mut connected = None;
        for found in address.host_port.to_socket_addrs()? {
            match TcpStream::connect_timeout(&found, timeout) {
                Ok(stream) => {
                    connected = Some(stream);
                    break;
                }
                Err(error) => last = error,
            }
        }
        let stream = connected.ok_or(last)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        if !address.is_https {
            return Ok(Wire::Tcp(stream));
        }
        let host = address.host_port.rsplit_once(':').map_or(address.host_port.as_str(), |(host, _)| host);
        let host = if tls.server_name.is_empty() { host.trim_matches(['[', ']']) } else { &tls.server_name };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let config = tls.plain_config().map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        Ok(Wire::Tls(Box::new(StreamOwned::new(connection, stream))))
    }

    /// From here on reading does not wait; writing does.
    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Wire::Tcp(stream) => stream.set_nonblocking(true),
            Wire::Unix(stream) => stream.set_nonblocking(true),
            Wire::Tls(stream) => stream.sock.set_nonblocking(true),
        }
    }

    /// Sends all of it.
    pub(crate) fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = match self {
                Wire::Tcp(stream) => stream.write(bytes),
                Wire::Unix(stream) => stream.write(bytes),
                Wire::Tls(stream) => stream.write(bytes),
            };
            match sent {
                Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait_to_write()?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        while let Wire::Tls(stream) = self {
            match stream.flush() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait_to_write()?,
                flushed => return flushed,
            }
        }
        Ok(())
    }

    fn wait_to_write(&self) -> io::Result<()> {
        let fd = self.as_fd();
        rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], None)?;
        Ok(())
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Tcp(stream) => stream.read(buffer),
            Wire::Unix(stream) => stream.read(buffer),
            Wire::Tls(stream) => stream.read(buffer),
        }
    }
}

/// Writing waits, also after [`Wire::set_nonblocking`].
impl Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.send(buffer)?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Wire::Tcp(stream) => stream.as_fd(),
            Wire::Unix(stream) => stream.as_fd(),
            Wire::Tls(stream) => stream.sock.as_fd(),
        }
    }
}
