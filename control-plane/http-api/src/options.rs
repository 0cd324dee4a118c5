//! What an operator says about the API's listeners: TLS, bounds, headers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::tls::Tls;

/// What an operator says about the API's listeners. The default is plain HTTP without bounds per address.
#[derive(Clone, Default)]
pub struct ServeOptions {
    /// Connections are secured with this; plain HTTP without.
    pub tls: Option<Arc<Tls>>,
    /// How long a TLS handshake may take; as long as a request head when not said.
    pub handshake_time_max: Option<Duration>,
    /// The most connections of one address; only the bound on all counts when not said.
    pub connections_per_client_max: Option<u32>,
    /// Headers of every answer that does not have them itself; see [`ServeOptions::with_headers`].
    pub headers: HeaderMap,
}

/// A header that can't be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} with the value {value:?} is no header")]
pub struct HeaderError {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl ServeOptions {
    /// The same, with headers for every answer that does not have them itself.
    ///
    /// # Errors
    /// A name or a value has characters that no header may have.
    pub fn with_headers(mut self, headers: &BTreeMap<String, String>) -> Result<Self, HeaderError> {
        for (name, value) in headers {
            let pair = (HeaderName::try_from(name), HeaderValue::try_from(value));
            let (Ok(name), Ok(value)) = pair else {
                return Err(HeaderError { name: name.clone(), value: value.clone() });
            };
            self.headers.insert(name, value);
        }
        Ok(self)
    }

    /// Completes the headers of an answer.
    pub(crate) fn complete(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            if !headers.contains_key(name) {
                headers.insert(name, value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_checked_and_only_fill_gaps() {
        let with = |name: &str, value: &str| {
            ServeOptions::default().with_headers(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
        };
        assert_eq!(with("a b", "x").err().unwrap().to_string(), "\"a b\" with the value \"x\" is no header");
        assert!(with("A", "x\r\nB: y").is_err());
        let mut headers = HeaderMap::new();
        with("X-A", "1").unwrap().complete(&mut headers);
        with("x-a", "2").unwrap().complete(&mut headers);
        assert_eq!(headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1"]);
    }
}
