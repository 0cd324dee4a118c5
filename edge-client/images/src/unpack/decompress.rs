//! A layer's bytes as the archive that is in them. What they are is told by how they begin: media types lie.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Bytes read at a time.
const PIECE: usize = 64 << 10;

/// What is in `blob`, decompressed.
pub(crate) fn open(blob: File) -> io::Result<Box<dyn Read>> {
    let mut source = BufReader::with_capacity(PIECE, blob);
    let begin = source.fill_buf()?;
    match begin {
        [0x1f, 0x8b, ..] => Ok(Box::new(MultiGzDecoder::new(source))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Box::new(Frames::new(source))),
        [b'B', b'Z', b'h', ..] => Err(unknown("bzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Err(unknown("xz")),
        _ => Ok(Box::new(source)),
    }
}

fn unknown(kind: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it is compressed with {kind}; gzip and zstd are known"))
}

/// zstd's frames, one after the other: a decoder of the library reads one only.
struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
    /// Within a frame.
    is_open: bool,
}

impl<R: BufRead> Frames<R> {
    fn new(source: R) -> Self {
        Self { source, decoder: FrameDecoder::new(), is_open: false }
    }

    /// Reads the head of the next frame. Gives false at the end.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let skipped = io::copy(&mut (&mut self.source).take(u64::from(length)), &mut io::sink())?;
                    if skipped < u64::from(length) {
                        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
                    }
                }
                Err(err) => return Err(io::Error::new(io::ErrorKind::InvalidData, err)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.is_open {
                if !self.next_frame()? {
                    return Ok(0);
                }
                self.is_open = true;
            }
            let count = self.decoder.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            if self.decoder.is_finished() {
                self.is_open = false;
                continue;
            }
            self.decoder
                .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBytes(PIECE))
                .map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))?;
        }
    }
}
