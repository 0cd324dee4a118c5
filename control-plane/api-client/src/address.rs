//! The address of an agent: what is accepted, and how a bad one is refused.

use crate::error::AddressError;

/// Where an agent answers. Only plain HTTP today.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Scheme, host and port, without a slash at the end.
    pub base: String,
    /// `host:port`, for messages.
    pub host_port: String,
}

impl Address {
    /// Reads `http://host:port`. The scheme is required; a missing port is 80, as in any URL.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let refuse = |problem: String| AddressError { address: text.to_owned(), problem };
        let parse_problem = |what: &str| refuse(format!("parse {text:?}: {what}"));
        let Some((scheme, rest)) = text.split_once("://") else {
            let scheme_end = text.find(':');
            return Err(match scheme_end {
                Some(0) => parse_problem("missing protocol scheme"),
                Some(end) if !text[..end].starts_with(|c: char| c.is_ascii_alphabetic()) => {
                    parse_problem("first path segment in URL cannot contain colon")
                }
                _ => refuse(format!("a scheme is required, as in http://{text}")),
            });
        };
        if scheme.is_empty() {
            return Err(parse_problem("missing protocol scheme"));
        }
        if scheme != "http" {
            return Err(refuse(format!("scheme {scheme:?} is not supported, only http")));
        }
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if host.starts_with('[') && !host.contains(']') {
            return Err(parse_problem("missing ']' in host"));
        }
        if host.is_empty() {
            return Err(refuse("no host in it".to_owned()));
        }
        let after_brackets = host.rsplit_once(']').map_or(host, |(_, tail)| tail);
        let host_port = match after_brackets.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_err() => {
                return Err(parse_problem(&format!("invalid port {:?} after host", format!(":{port}"))));
            }
            Some(_) => host.to_owned(),
            None => format!("{host}:80"),
        };
        Ok(Self { base: format!("http://{host}"), host_port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_addresses() {
        let check = |text: &str, base: &str, host_port: &str| {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.base.as_str(), address.host_port.as_str()), (base, host_port));
        };
        check("http://127.0.0.1:4646", "http://127.0.0.1:4646", "127.0.0.1:4646");
        check("http://127.0.0.1:4646/", "http://127.0.0.1:4646", "127.0.0.1:4646");
        check("http://box", "http://box", "box:80");
        check("http://[::1]:4646", "http://[::1]:4646", "[::1]:4646");
    }

    #[test]
    fn bad_addresses() {
        let check = |text: &str, expected: &str| assert_eq!(Address::parse(text).unwrap_err().to_string(), expected);
        check(
            "127.0.0.1:24646",
            "invalid address '127.0.0.1:24646': parse \"127.0.0.1:24646\": first path segment in URL cannot contain colon",
        );
        check("::bad", "invalid address '::bad': parse \"::bad\": missing protocol scheme");
        check("http://[bad", "invalid address 'http://[bad': parse \"http://[bad\": missing ']' in host");
        check("https://x:1", "invalid address 'https://x:1': scheme \"https\" is not supported, only http");
        check(
            "http://x:99999",
            "invalid address 'http://x:99999': parse \"http://x:99999\": invalid port \":99999\" after host",
        );
    }
}
