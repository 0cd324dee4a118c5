//! Compression of answers, for callers that take it. Streams are left alone: who follows one wants each part at once.

use std::io::{self, Write};

use axum::body::{Body, HttpBody, to_bytes};
use axum::http::{HeaderMap, HeaderValue, Response, header};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

/// A shorter body is not worth it, in bytes.
const BODY_BYTES_MIN: u64 = 256;
/// A longer body is compressed where nobody else waits, in bytes.
const HERE_BYTES_MAX: u64 = 64 << 10;

/// A way to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `gzip`.
    Gzip,
    /// `deflate`, which is zlib's form of it.
    Deflate,
}

impl Coding {
    /// The coding that a request takes; gzip where it takes both alike.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let mut best: Option<(f32, Coding)> = None;
        for part in values.flat_map(|value| value.split(',')) {
            let (name, parameters) = part.split_once(';').unwrap_or((part, ""));
            let coding = match name.trim().to_ascii_lowercase().as_str() {
                "gzip" | "x-gzip" => Coding::Gzip,
                "deflate" => Coding::Deflate,
                _ => continue,
            };
            let quality = parameters.trim().strip_prefix("q=").map_or(1.0, |q| q.trim().parse().unwrap_or(0.0));
            let is_better = best.is_none_or(|(other, of)| quality > other || (quality == other && of != Coding::Gzip));
            if quality > 0.0 && is_better {
                best = Some((quality, coding));
            }
        }
        best.map(|(_, coding)| coding)
    }

    fn name(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Coding::Gzip => "gzip",
            Coding::Deflate => "deflate",
        })
    }

    fn encode(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Coding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Coding::Deflate => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(bytes)?;
                encoder.finish()
            }
        }
    }
}

/// The answer, compressed if that is asked for and worth it.
pub async fn compressed(reply: Response<Body>, coding: Option<Coding>) -> Response<Body> {
    let (mut head, body) = reply.into_parts();
    head.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    let size = body.size_hint().exact();
    let (Some(coding), Some(size)) = (coding, size.filter(|size| *size >= BODY_BYTES_MIN)) else {
        return Response::from_parts(head, body);
    };
    if head.headers.contains_key(header::CONTENT_ENCODING) {
        return Response::from_parts(head, body);
    }
    let Ok(bytes) = to_bytes(body, usize::try_from(size).unwrap_or(usize::MAX)).await else {
        // A body in memory does not break off; if it did, there would be nothing left to send.
        return Response::from_parts(head, Body::empty());
    };
    let encoded = if size > HERE_BYTES_MAX {
        let bytes = bytes.clone();
        tokio::task::spawn_blocking(move || coding.encode(&bytes)).await.map_err(io::Error::other).flatten()
    } else {
        coding.encode(&bytes)
    };
    match encoded {
        Ok(encoded) => {
            head.headers.insert(header::CONTENT_ENCODING, coding.name());
            head.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(head, Body::from(encoded))
        }
        Err(error) => {
            tracing::warn!(%error, "answer not compressed");
            Response::from_parts(head, Body::from(bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_a_request_takes() {
        let check = |value: &'static str, expected: Option<Coding>| {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            assert_eq!(Coding::of(&headers), expected, "{value}");
        };
        check("gzip", Some(Coding::Gzip));
        check("deflate, gzip, br", Some(Coding::Gzip));
        check("GZIP;q=0.5, deflate;q=0.8", Some(Coding::Deflate));
        check("deflate", Some(Coding::Deflate));
        check("gzip;q=0", None);
        check("gzip;q=zz", None);
        check("identity, br", None);
        check("", None);
        assert_eq!(Coding::of(&HeaderMap::new()), None);
    }

    async fn answer(text: &str, coding: Option<Coding>) -> (HeaderMap, Vec<u8>) {
        let reply = compressed(Response::new(Body::from(text.to_owned())), coding).await;
        let (head, body) = reply.into_parts();
        (head.headers, to_bytes(body, usize::MAX).await.unwrap().to_vec())
    }

    #[tokio::test]
    async fn long_answers_shrink_and_come_back_whole() {
        for len in [300, 100_000] {
            let text = "drover ".repeat(len);
            let (headers, body) = answer(&text, Some(Coding::Gzip)).await;
            assert_eq!(
                (&headers["content-encoding"], &headers["vary"]),
                (&"gzip".parse().unwrap(), &"Accept-Encoding".parse().unwrap())
            );
            let mut read = String::new();
            flate2::read::GzDecoder::new(body.as_slice()).read_to_string(&mut read).unwrap();
            assert!(body.len() < text.len() / 4 && read == text);
            let (_, body) = answer(&text, Some(Coding::Deflate)).await;
            read.clear();
            flate2::read::ZlibDecoder::new(body.as_slice()).read_to_string(&mut read).unwrap();
            assert_eq!(read, text);
        }
    }

    #[tokio::test]
    async fn short_answers_streams_and_the_unasked_stay_as_they_are() {
        let (headers, body) = answer("short", Some(Coding::Gzip)).await;
        assert_eq!((headers.get("content-encoding"), body.as_slice()), (None, b"short".as_slice()));
        let long = "x".repeat(1000);
        assert_eq!(answer(&long, None).await.1, long.as_bytes());
        let parts = futures_util::stream::iter([Ok::<_, io::Error>(long.clone())]);
        let reply = compressed(Response::new(Body::from_stream(parts)), Some(Coding::Gzip)).await;
        assert_eq!(reply.headers().get("content-encoding"), None);
        assert_eq!(to_bytes(reply.into_body(), usize::MAX).await.unwrap(), long.as_bytes());
    }
}
