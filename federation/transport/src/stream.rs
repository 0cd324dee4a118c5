//! Streams of frames: a length of four bytes, big-endian, and that many bytes.
//!
//! Every reader says how large a frame it takes. Nothing is set aside for bytes that were announced but have not come.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use quinn::{ReadError, WriteError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::close::{CloseCode, Closed};
use crate::connection::Connection;

/// Bytes of the length before each frame.
const HEADER_LEN: usize = 4;
/// A frame up to this size is sent in one piece with its header.
const JOINED_MAX: usize = 8 * 1024;
/// The most bytes that are taken from the connection at a time.
const CHUNK_MAX: usize = 64 * 1024;

/// A stream in both directions. Either side may finish its direction while the other goes on.
#[derive(Debug)]
pub struct Stream {
    sender: FrameSender,
    receiver: FrameReceiver,
}

/// The sending half of a stream. Dropping it finishes it.
#[derive(Debug)]
pub struct FrameSender {
    quinn: quinn::SendStream,
    connection: Connection,
}

/// The receiving half of a stream. Dropping it tells the other side that nobody reads any more.
#[derive(Debug)]
pub struct FrameReceiver {
    quinn: quinn::RecvStream,
    /// What has come of the next frame, header included.
    partial: BytesMut,
    connection: Connection,
}

/// What went wrong on one stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The connection has ended.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The other side reads no more.
    #[error("the other side reads no more: {0}")]
    Stopped(CloseCode),
    /// The other side broke off what it was sending.
    #[error("the other side broke off: {0}")]
    Reset(CloseCode),
    /// The half was finished, stopped or reset by this side before.
    #[error("this side of the stream has ended")]
    Ended,
    /// A frame is larger than its reader, or the form itself, allows.
    #[error("a frame of {len} bytes is more than the {max} allowed")]
    TooLarge {
        /// Bytes of the frame.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Truncated,
    /// The other side ended the stream without an answer.
    #[error("the other side gave no answer")]
    NoAnswer,
}

impl Stream {
    pub(crate) fn new(sender: quinn::SendStream, receiver: quinn::RecvStream, connection: Connection) -> Stream {
        Stream {
            sender: FrameSender { quinn: sender, connection: connection.clone() },
            receiver: FrameReceiver { quinn: receiver, partial: BytesMut::new(), connection },
        }
    }

    /// Sends one frame: [`FrameSender::send_frame`].
    pub async fn send_frame(&mut self, frame: &[u8]) -> Result<(), StreamError> {
        self.sender.send_frame(frame).await
    }

    /// The next frame: [`FrameReceiver::recv_frame`].
    pub async fn recv_frame(&mut self, frame_max: usize) -> Result<Option<Bytes>, StreamError> {
        self.receiver.recv_frame(frame_max).await
    }

    /// Says that nothing more comes from this side: [`FrameSender::finish`].
    pub fn finish(&mut self) {
        self.sender.finish();
    }

    /// How urgent this stream is: [`FrameSender::set_priority`].
    pub fn set_priority(&self, priority: i32) {
        self.sender.set_priority(priority);
    }

    /// Breaks both directions off.
    pub fn abort(&mut self, code: CloseCode) {
        self.sender.reset(code);
        self.receiver.stop(code);
    }

    /// The halves, for two tasks.
    pub fn split(self) -> (FrameSender, FrameReceiver) {
        (self.sender, self.receiver)
    }
}

impl FrameSender {
    /// Sends one frame; waits while the other side takes no more. When the future is dropped half-way the stream is of no more
    /// use: reset it.
    pub async fn send_frame(&mut self, frame: &[u8]) -> Result<(), StreamError> {
        let max = u32::MAX as usize;
        let len = u32::try_from(frame.len()).map_err(|_| StreamError::TooLarge { len: frame.len(), max })?;
        if frame.len() <= JOINED_MAX {
            let mut joined = Vec::with_capacity(HEADER_LEN + frame.len());
            joined.extend_from_slice(&len.to_be_bytes());
            joined.extend_from_slice(frame);
            self.quinn.write_all(&joined).await?;
        } else {
            self.quinn.write_all(&len.to_be_bytes()).await?;
            self.quinn.write_all(frame).await?;
        }
        Ok(())
    }

    /// Says that nothing more comes. What was sent still arrives while the connection lasts.
    pub fn finish(&mut self) {
        // An error says that the stream has ended already.
        let _ = self.quinn.finish();
    }

    /// Breaks off; what has not arrived yet is dropped.
    pub fn reset(&mut self, code: CloseCode) {
        let _ = self.quinn.reset(code.into());
    }

    /// How urgent this stream is among those of its connection: higher goes first, 0 is usual.
    pub fn set_priority(&self, priority: i32) {
        let _ = self.quinn.set_priority(priority);
    }

    /// Waits until the other side has read all of a finished stream, reads no more, or is gone.
    pub async fn reader_gone(&mut self) -> Result<(), StreamError> {
        match self.quinn.stopped().await {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(StreamError::Stopped(code.into())),
            Err(error) => Err(WriteError::from(error).into()),
        }
    }

    /// The half as bytes without frames, such as after a first frame that says what follows.
    pub fn into_writer(self) -> RawWriter {
        RawWriter(self)
    }

    /// The connection of this stream.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl FrameReceiver {
    /// The next frame, or `None` where the other side has finished. A frame of more than `frame_max` bytes is an error and stops
    /// the stream. Safe to drop and call again: what had come of the frame is kept.
    pub async fn recv_frame(&mut self, frame_max: usize) -> Result<Option<Bytes>, StreamError> {
        loop {
            let wanted = self.next_len(frame_max)?;
            if wanted > 0 && self.partial.len() == wanted {
                let mut frame = std::mem::take(&mut self.partial);
                frame.advance(HEADER_LEN);
                return Ok(Some(frame.freeze()));
            }
            let missing = if wanted == 0 { HEADER_LEN } else { wanted } - self.partial.len();
            match self.quinn.read_chunk(missing.min(CHUNK_MAX), true).await? {
                Some(chunk) => self.partial.extend_from_slice(&chunk.bytes),
                None if self.partial.is_empty() => return Ok(None),
                None => return Err(StreamError::Truncated),
            }
        }
    }

    /// Bytes of the next frame with its header, or 0 while the header is not there.
    fn next_len(&mut self, frame_max: usize) -> Result<usize, StreamError> {
        let Some(header) = self.partial.first_chunk::<HEADER_LEN>() else {
            return Ok(0);
        };
        let len = u32::from_be_bytes(*header) as usize;
        if len > frame_max {
            self.stop(CloseCode::FRAME_TOO_LARGE);
            return Err(StreamError::TooLarge { len, max: frame_max });
        }
        Ok(HEADER_LEN + len)
    }

    /// Tells the other side that nobody reads any more.
    pub fn stop(&mut self, code: CloseCode) {
        let _ = self.quinn.stop(code.into());
    }

    /// The half as bytes without frames, beginning behind the last frame that was read.
    pub fn into_reader(self) -> RawReader {
        RawReader(self)
    }

    /// The connection of this stream.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl From<WriteError> for StreamError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stopped(code) => StreamError::Stopped(code.into()),
            WriteError::ConnectionLost(error) => StreamError::Closed(error.into()),
            WriteError::ClosedStream | WriteError::ZeroRttRejected => StreamError::Ended,
        }
    }
}

impl From<ReadError> for StreamError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(code) => StreamError::Reset(code.into()),
            ReadError::ConnectionLost(error) => StreamError::Closed(error.into()),
            ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => StreamError::Ended,
        }
    }
}

/// A sending half as bytes. Shutting it down finishes the stream.
#[derive(Debug)]
pub struct RawWriter(FrameSender);

/// A receiving half as bytes.
#[derive(Debug)]
pub struct RawReader(FrameReceiver);

impl AsyncWrite for RawWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.0.quinn), cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.0.quinn), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.0.quinn), cx)
    }
}

impl AsyncRead for RawReader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Bytes of a frame that was begun with `recv_frame` and not waited for come first.
        if !self.0.partial.is_empty() {
            let len = into.remaining().min(self.0.partial.len());
            into.put_slice(&self.0.partial.split_to(len));
            return Poll::Ready(Ok(()));
        }
        AsyncRead::poll_read(Pin::new(&mut self.0.quinn), cx, into)
    }
}

#[cfg(test)]
mod tests;
