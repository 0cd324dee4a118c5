//! Messages to the kernel: how they are laid out, sent and answered. Knows nothing of what they say.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{
    Timeout, set_socket_recv_buffer_size, set_socket_send_buffer_size_force, set_socket_timeout,
};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

/// The kernel answers at once; who waits longer waits for nothing.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// One read of answers.
const READ_BYTES: usize = 64 << 10;
/// Room for messages on their way; the kernel cuts it to what the system allows.
const BUFFER_BYTES: usize = 4 << 20;
/// The most answers of one question that are read.
const ANSWERS_MAX: usize = 100_000;
/// How often a list is asked for that changes while the kernel tells it.
const LISTS_MAX: usize = 20;
/// The pause before it is asked for again, from the second time on: what changes it may be done by then.
const LIST_PAUSE: Duration = Duration::from_millis(5);

const HEADER_LEN: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NESTED: u16 = 0x8000;
/// Among the flags of an answer: what is listed has changed since the list was begun, so that some may stand there twice or not at all.
const INTERRUPTED: u16 = 0x10;

/// It is a question.
pub(crate) const REQUEST: u16 = 1;
const ACK: u16 = 4;
/// All that there are.
pub(crate) const DUMP: u16 = 0x300;
/// Only if it is not there.
pub(crate) const EXCLUSIVE: u16 = 0x200;
/// If it is not there.
pub(crate) const CREATE: u16 = 0x400;
/// Behind the others.
pub(crate) const APPEND: u16 = 0x800;

/// One message in the making.
#[derive(Clone, Debug)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// Of that type and with these flags, and with a fixed part after the header.
    pub(crate) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Message {
        let mut bytes = vec![0; HEADER_LEN];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes.extend_from_slice(fixed);
        Message(bytes)
    }

    /// Only attributes, to be put into a message.
    pub(crate) fn bare() -> Message {
        Message(Vec::new())
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn attr(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.pad();
        self
    }

    /// In the machine's order, as links and addresses have it.
    pub(crate) fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// In the network's order, as rules have it.
    pub(crate) fn big(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_be_bytes())
    }

    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    /// An attribute that holds others.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.0.len();
        self.attr(kind | NESTED, &[]);
        fill(self);
        let len = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        self
    }

    /// Bytes without a header of their own, inside of [`Message::nest`].
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self.pad();
        self
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn finish(mut self, sequence: u32, is_acknowledged: bool) -> Vec<u8> {
        let len = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[0..4].copy_from_slice(&len.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        if is_acknowledged {
            let flags = u16::from_ne_bytes([self.0[6], self.0[7]]) | ACK;
            self.0[6..8].copy_from_slice(&flags.to_ne_bytes());
        }
        self.0
    }
}

/// A line to one part of the kernel, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// None is the part for links and addresses.
    pub(crate) fn open(protocol: Option<Protocol>) -> io::Result<Socket> {
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        set_socket_timeout(&fd, Timeout::Recv, Some(ANSWER_TIME_MAX))?;
        set_socket_timeout(&fd, Timeout::Send, Some(ANSWER_TIME_MAX))?;
        // The usual size will do for most.
        let _ = set_socket_send_buffer_size_force(&fd, BUFFER_BYTES);
        let _ = set_socket_recv_buffer_size(&fd, BUFFER_BYTES);
        Ok(Socket { fd, sequence: 0 })
    }

    /// Has one thing done.
    pub(crate) fn ask(&mut self, message: Message) -> io::Result<()> {
        self.batch(vec![message], 0)
    }

    /// Has several things done by one send; the answer to the one that is `back` before the last ends the wait.
    pub(crate) fn batch(&mut self, messages: Vec<Message>, back: usize) -> io::Result<()> {
        let count = messages.len();
        let mut bytes = Vec::new();
        let mut last = 0;
        for (place, message) in messages.into_iter().enumerate() {
            self.sequence += 1;
            let is_last = place + 1 + back == count;
            if is_last {
                last = self.sequence;
            }
            bytes.extend(message.finish(self.sequence, is_last));
        }
        self.send(&bytes)?;
        self.answers(last, |_, _| {}).map(drop)
    }

    /// Asks for all there is of something: type and body of each go to `each`, once the list is known to be whole.
    pub(crate) fn dump(&mut self, message: Message, mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        let listed = whole(|found| {
            self.sequence += 1;
            let last = self.sequence;
            self.send(&message.clone().finish(last, false))?;
            self.answers(last, |kind, body| found.push((kind, body.to_vec())))
        })?;
        listed.iter().for_each(|(kind, body)| each(*kind, body));
        Ok(())
    }

    /// The same for what changes all the time and may be long: each goes to `each` as it comes.
    pub(crate) fn dump_as_it_comes(&mut self, message: Message, each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        self.sequence += 1;
        let last = self.sequence;
        self.send(&message.finish(last, false))?;
        self.answers(last, each).map(drop)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let kernel = SocketAddrNetlink::new(0, 0);
        match sendto(&self.fd, bytes, SendFlags::empty(), &kernel)? {
            sent if sent == bytes.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// Reads until the answer to message `last`, or an error to any. False when what was listed has changed meanwhile.
    fn answers(&self, last: u32, mut each: impl FnMut(u16, &[u8])) -> io::Result<bool> {
        let mut buffer = vec![0_u8; READ_BYTES];
        let mut is_whole = true;
        for _ in 0..ANSWERS_MAX {
            let (_, len) = match recv(&self.fd, buffer.as_mut_slice(), RecvFlags::TRUNC) {
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                other => other?,
            };
            let bytes = buffer.get(..len).ok_or(io::ErrorKind::InvalidData)?;
            if take(bytes, last, &mut is_whole, &mut each)? {
                return Ok(is_whole);
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Goes through what came with one read; true when that was the end of the answer to message `last`.
fn take(mut rest: &[u8], last: u32, is_whole: &mut bool, mut each: impl FnMut(u16, &[u8])) -> io::Result<bool> {
    while let Some(Answer { kind, flags, sequence, body, after }) = split_message(rest) {
        rest = after;
        if sequence == last && flags & INTERRUPTED != 0 {
            *is_whole = false;
        }
        match kind {
            NLMSG_ERROR => {
                let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                if code != 0 {
                    return Err(io::Error::from_raw_os_error(-code));
                }
                if sequence == last {
                    return Ok(true);
                }
            }
            NLMSG_DONE if sequence == last => return Ok(true),
            _ if sequence == last => each(kind, body),
            _ => {}
        }
    }
    Ok(false)
}

/// Answers by their type.
type Listed = Vec<(u16, Vec<u8>)>;

/// What `list` has put there, which says by false that it has to be asked again.
fn whole(mut list: impl FnMut(&mut Listed) -> io::Result<bool>) -> io::Result<Listed> {
    for attempt in 0..LISTS_MAX {
        if attempt > 1 {
            std::thread::sleep(LIST_PAUSE);
        }
        let mut found = Vec::new();
        if list(&mut found)? {
            return Ok(found);
        }
    }
    // Something changes it all the time.
    Err(io::ErrorKind::Interrupted.into())
}

/// One message of the kernel, and the bytes behind it.
struct Answer<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
    after: &'a [u8],
}

/// The first message.
fn split_message(bytes: &[u8]) -> Option<Answer<'_>> {
    let len = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let two = |at: usize| Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    let (kind, flags) = (two(4)?, two(6)?);
    let sequence = u32::from_ne_bytes(*bytes.get(8..)?.first_chunk()?);
    let body = bytes.get(HEADER_LEN..len)?;
    let after = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    Some(Answer { kind, flags, sequence, body, after })
}

/// The attributes after a fixed part of `skip` bytes: type and value of each.
pub(crate) fn attributes(body: &[u8], skip: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = body.get(skip..).unwrap_or_default();
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes([*rest.get(2)?, *rest.get(3)?]) & !NESTED;
        let value = rest.get(4..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A text attribute without its NUL.
pub(crate) fn text_of(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut message = Message::new(16, CREATE, &[1, 2, 3, 4]);
        message.text(3, "eth0").nest(18, |inner| {
            inner.number(1, 7);
        });
        let bytes = message.finish(9, true);
        let Answer { kind, sequence, body, after, .. } = split_message(&bytes).unwrap();
        assert_eq!((kind, sequence, after.len()), (16, 9, 0));
        let found: Vec<(u16, Vec<u8>)> = attributes(body, 4).map(|(kind, value)| (kind, value.to_vec())).collect();
        assert_eq!(text_of(&found[0].1), "eth0");
        assert_eq!(attributes(&found[1].1, 0).next(), Some((1, 7_u32.to_ne_bytes().as_slice())));
    }

    #[test]
    fn a_list_that_changed_meanwhile_is_asked_for_again() {
        let answer = |kind: u16, flags: u16, body: &[u8]| {
            let mut message = Message::new(kind, 0, body);
            message.0[6..8].copy_from_slice(&flags.to_ne_bytes());
            message.finish(7, false)
        };
        // As the kernel marks it: from the message on before which the change was noticed, the last one included.
        let of_attempt = |attempt: usize| {
            let marked = if attempt < 2 { INTERRUPTED } else { 0 };
            let number = u8::try_from(attempt).unwrap();
            [answer(16, 0, &[number; 4]), answer(16, marked, &[number; 4]), answer(NLMSG_DONE, marked, &[0; 4])]
                .concat()
        };
        let mut attempts = 0;
        let mut list = |found: &mut Listed| -> io::Result<bool> {
            let mut is_whole = true;
            let ends = take(&of_attempt(attempts), 7, &mut is_whole, |kind, body| found.push((kind, body.to_vec())))?;
            assert!(ends);
            attempts += 1;
            Ok(is_whole)
        };
        assert_eq!(whole(&mut list).unwrap(), vec![(16, vec![2; 4]); 2], "nothing of the earlier ones is left");
        assert_eq!(attempts, 3);
        assert_eq!(whole(|_| Ok(false)).unwrap_err().kind(), io::ErrorKind::Interrupted);
        // What belongs to another question says nothing of this one.
        let mut is_whole = true;
        assert!(!take(&of_attempt(0), 8, &mut is_whole, |_, _| panic!("not asked for")).unwrap() && is_whole);
    }

    #[test]
    fn broken_bytes_end_the_reading() {
        for bytes in [&[][..], &[1, 2, 3], &[0; 16], &[255; 64], &[20, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]] {
            let _ = split_message(bytes);
            assert!(attributes(bytes, 2).count() < 10);
        }
    }
}
