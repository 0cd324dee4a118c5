//! WebSocket (RFC 6455) as far as drover speaks it: messages as bytes, bytes as messages, no I/O.
//!
//! Both ends use it: the HTTP API for `alloc exec`, and the CLI as its client. It is small because all else is left out:
//! extensions, subprotocols, streaming of single messages. A message has a bound, and so has everything that is kept.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The longest message that is taken, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// The longest payload of a control frame, in bytes.
const CONTROL_BYTES_MAX: usize = 125;
/// What the answer to a handshake is made with, the same for everybody.
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// To be answered with [`Message::Pong`] of the same bytes.
    Ping(Vec<u8>),
    /// The answer.
    Pong(Vec<u8>),
    /// The other end says no more: a code and a text.
    Close(u16, String),
}

/// What the other end sent is no WebSocket, or too much.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A message is longer than [`MESSAGE_BYTES_MAX`].
    #[error("message is longer than {MESSAGE_BYTES_MAX} bytes")]
    TooLong,
    /// Against the rules.
    #[error("not a websocket frame: {0}")]
    Malformed(&'static str),
}

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`.
pub fn accept_key(key: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{MAGIC}").as_bytes());
    STANDARD.encode(digest.as_ref())
}

/// Randomness for keys and masks; none when the system has none.
pub fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes).ok()?;
    Some(bytes)
}

/// A message as one frame. A client must mask with fresh randomness; a server must not mask.
pub fn encode(message: &Message, mask: Option<[u8; 4]>) -> Vec<u8> {
    let close;
    let (opcode, payload): (u8, &[u8]) = match message {
        Message::Text(text) => (1, text.as_bytes()),
        Message::Binary(bytes) => (2, bytes),
        Message::Ping(bytes) => (9, cut(bytes)),
        Message::Pong(bytes) => (10, cut(bytes)),
        Message::Close(code, text) => {
            let mut end = text.len().min(CONTROL_BYTES_MAX - 2);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            close = [&code.to_be_bytes(), text.get(..end).unwrap_or_default().as_bytes()].concat();
            (8, &close)
        }
    };
    let mut frame = vec![0x80 | opcode];
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..=125), _) => frame.push(masked | length),
        (_, Ok(length)) => {
            frame.push(masked | 126);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(masked | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(mask.iter().flatten());
    let mask = mask.unwrap_or_default();
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn cut(bytes: &[u8]) -> &[u8] {
    bytes.get(..bytes.len().min(CONTROL_BYTES_MAX)).unwrap_or_default()
}

/// Bytes to messages.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// The other end is a client, whose frames are masked.
    from_client: bool,
    buffer: Vec<u8>,
    /// What has come of a message in several frames.
    partial: Option<(u8, Vec<u8>)>,
}

impl Decoder {
    /// For what a client sends.
    pub fn of_client() -> Decoder {
        Decoder { from_client: true, buffer: Vec::new(), partial: None }
    }

    /// For what a server sends.
    pub fn of_server() -> Decoder {
        Decoder { from_client: false, buffer: Vec::new(), partial: None }
    }

    /// Takes bytes as they come. Take all messages out before the next ones are put in.
    pub fn put(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message; none when more bytes are needed.
    ///
    /// # Errors
    /// The other end does not keep to the rules; nothing after that means anything.
    pub fn next_message(&mut self) -> Result<Option<Message>, FrameError> {
        loop {
            let Some(frame) = self.frame()? else { return Ok(None) };
            let (opcode, payload) = match (frame.opcode, self.partial.take()) {
                (0, Some((opcode, mut begun))) => {
                    if begun.len() + frame.payload.len() > MESSAGE_BYTES_MAX {
                        return Err(FrameError::TooLong);
                    }
                    begun.extend(frame.payload);
                    (opcode, begun)
                }
                (0, None) => return Err(FrameError::Malformed("goes on with nothing")),
                (1 | 2, Some(_)) => return Err(FrameError::Malformed("a message inside another")),
                (opcode, partial) => {
                    self.partial = partial;
                    (opcode, frame.payload)
                }
            };
            if !frame.is_last {
                self.partial = Some((opcode, payload));
                continue;
            }
            return message(opcode, payload).map(Some);
        }
    }

    fn frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(&[first, second]) = self.buffer.first_chunk::<2>() else { return Ok(None) };
        let (is_last, opcode, is_masked) = (first & 0x80 != 0, first & 0x0f, second & 0x80 != 0);
        if first & 0x70 != 0 {
            return Err(FrameError::Malformed("an extension that was not agreed on"));
        }
        if is_masked != self.from_client {
            return Err(FrameError::Malformed("masked by the wrong end"));
        }
        let is_control = opcode & 8 != 0;
        if is_control && (!is_last || second & 0x7f > 125) {
            return Err(FrameError::Malformed("a control frame that is long or in pieces"));
        }
        let rest = self.buffer.get(2..).unwrap_or_default();
        let (length, taken) = match second & 0x7f {
            126 => match rest.first_chunk::<2>() {
                Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 4),
                None => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(bytes) => (u64::from_be_bytes(*bytes), 10),
                None => return Ok(None),
            },
            length => (u64::from(length), 2),
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MESSAGE_BYTES_MAX {
            return Err(FrameError::TooLong);
        }
        let begin = taken + if is_masked { 4 } else { 0 };
        let Some(bytes) = self.buffer.get(taken..begin + length) else { return Ok(None) };
        let payload = if is_masked {
            let (mask, masked) = bytes.split_at(4);
            masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
        } else {
            bytes.to_vec()
        };
        self.buffer.drain(..begin + length);
        Ok(Some(Frame { is_last, opcode, payload }))
    }
}

struct Frame {
    is_last: bool,
    opcode: u8,
    payload: Vec<u8>,
}

fn message(opcode: u8, payload: Vec<u8>) -> Result<Message, FrameError> {
    Ok(match opcode {
        1 => Message::Text(String::from_utf8(payload).map_err(|_| FrameError::Malformed("text is not UTF-8"))?),
        2 => Message::Binary(payload),
        8 => match payload.split_first_chunk::<2>() {
            Some((code, text)) => Message::Close(u16::from_be_bytes(*code), String::from_utf8_lossy(text).into_owned()),
            None => Message::Close(1005, String::new()),
        },
        9 => Message::Ping(payload),
        10 => Message::Pong(payload),
        _ => return Err(FrameError::Malformed("unknown kind")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(decoder: &mut Decoder, bytes: &[u8]) -> Result<Vec<Message>, FrameError> {
        decoder.put(bytes);
        let mut found = Vec::new();
        while let Some(message) = decoder.next_message()? {
            found.push(message);
        }
        Ok(found)
    }

    #[test]
    fn the_handshake_is_that_of_the_standard() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn messages_survive_any_cut() {
        let messages = [
            Message::Text("{}".to_owned()),
            Message::Binary(vec![7; 126]),
            Message::Text("é".repeat(40_000)),
            Message::Ping(vec![1]),
            Message::Close(1008, "command is not present".to_owned()),
        ];
        for mask in [None, Some([1, 2, 3, 4])] {
            let decoder = || if mask.is_some() { Decoder::of_client() } else { Decoder::of_server() };
            let bytes: Vec<u8> = messages.iter().flat_map(|message| encode(message, mask)).collect();
            assert_eq!(all(&mut decoder(), &bytes).unwrap(), messages);
            let mut slow = decoder();
            let found: Vec<Message> = bytes.chunks(7).flat_map(|chunk| all(&mut slow, chunk).unwrap()).collect();
            assert_eq!(found, messages);
        }
        // In two frames, with a ping in between.
        let pieces = [0x01, 2, b'a', b'b', 0x89, 0, 0x80, 1, b'c'];
        let found = all(&mut Decoder::of_server(), &pieces).unwrap();
        assert_eq!(found, [Message::Ping(vec![]), Message::Text("abc".to_owned())]);
        let long = encode(&Message::Close(1011, "é".repeat(100)), None);
        assert!(long.len() <= 127 && all(&mut Decoder::of_server(), &long).is_ok());
    }

    #[test]
    fn what_breaks_the_rules_is_refused() {
        let check = |bytes: &[u8]| assert!(all(&mut Decoder::of_server(), bytes).is_err(), "{bytes:?}");
        check(&[0x81, 0x81, 0, 0, 0, 0, 1]);
        check(&[0xf1, 0]);
        check(&[0x80, 0]);
        check(&[0x01, 0, 0x01, 0]);
        check(&[0x09, 0]);
        check(&[0x89, 126, 0, 200]);
        check(&[0x83, 0]);
        check(&[0x81, 1, 0xff]);
        check(&[0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert!(all(&mut Decoder::of_client(), &[0x81, 1, b'x']).is_err());
        // Many pieces are bounded as well.
        let mut decoder = Decoder::of_server();
        let mut first = true;
        let grown = (0..10).try_for_each(|_| {
            let mut piece = encode(&Message::Text("x".repeat(60_000)), None);
            piece[0] = if first { 0x01 } else { 0x00 };
            first = false;
            all(&mut decoder, &piece).map(drop)
        });
        assert_eq!(grown, Err(FrameError::TooLong));
    }
}
