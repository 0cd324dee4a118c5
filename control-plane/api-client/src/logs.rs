//! The output of a task, as it comes: JSON frames one after the other.

use std::io::{self, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::client::Client;
use crate::error::Error;
use crate::query::{QueryOptions, escape};

/// Which output, and from where on.
#[derive(Clone, Debug)]
pub struct LogOrder {
    /// The task.
    pub task: String,
    /// `stdout` or `stderr`.
    pub stream: &'static str,
    /// Go on when the end is reached.
    pub follow: bool,
    /// Count `offset` back from the end.
    pub from_end: bool,
    /// Bytes.
    pub offset: u64,
}

/// A piece of output. An empty one says only that the connection lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Frame {
    /// The bytes, base64 on the wire.
    #[serde(rename = "Data", deserialize_with = "bytes")]
    pub data: Vec<u8>,
    /// The file they are from.
    #[serde(rename = "File")]
    pub file: String,
    /// `file deleted` or `file truncated`.
    #[serde(rename = "FileEvent")]
    pub event: String,
    /// Where in the file they end.
    #[serde(rename = "Offset")]
    pub offset: i64,
}

fn bytes<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
    let text = Option::<String>::deserialize(d)?.unwrap_or_default();
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

/// The frames of an answer. Ends when the answer ends; bytes that are no frame (an error text that the agent appended) come out as an error.
pub struct Frames {
    stream: serde_json::StreamDeserializer<'static, serde_json::de::IoRead<Box<dyn Read + Send>>, Frame>,
}

impl Frames {
    /// Frames out of any reader.
    pub fn new(reader: Box<dyn Read + Send>) -> Self {
        let reader: Box<dyn Read + Send> = Box::new(io::BufReader::new(reader));
        Self { stream: serde_json::Deserializer::from_reader(reader).into_iter() }
    }
}

impl Iterator for Frames {
    type Item = io::Result<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        self.stream.next().map(|frame| frame.map_err(io::Error::from))
    }
}

impl Client {
    /// GET /v1/client/fs/logs/:alloc
    pub fn logs(&self, alloc_id: &str, order: &LogOrder) -> Result<Frames, Error> {
        let options = QueryOptions::default()
            .with("task", order.task.as_str())
            .with("type", order.stream)
            .with("follow", order.follow.to_string())
            .with("origin", if order.from_end { "end" } else { "start" })
            .with("offset", order.offset.to_string());
        Ok(Frames::new(self.stream(&format!("/v1/client/fs/logs/{}", escape(alloc_id)), &options)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_follow_each_other_without_separators() {
        let text = r#"{"Data":"bGluZSAwCg==","File":"alloc/logs/loop.stdout.0","Offset":7}{}{"Data":"bGluZSA3Cg==","File":"alloc/logs/loop.stdout.0","Offset":14}{}"#;
        let frames: Vec<Frame> = Frames::new(Box::new(text.as_bytes())).map(Result::unwrap).collect();
        let data: Vec<&[u8]> = frames.iter().map(|frame| frame.data.as_slice()).collect();
        assert_eq!(data, [b"line 0\n".as_slice(), b"", b"line 7\n", b""]);
        assert_eq!(frames[2].offset, 14);
    }

    #[test]
    fn a_text_behind_the_frames_is_an_error() {
        let mut frames = Frames::new(Box::new(r#"{}Unknown allocation "x""#.as_bytes()));
        assert!(frames.next().unwrap().is_ok());
        assert!(frames.next().unwrap().is_err());
    }
}
