//! The address of an agent: what is accepted, and how a bad one is refused.

use std::path::PathBuf;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::error::AddressError;

/// Where an agent answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Scheme, host and port, without a slash at the end.
    pub base: String,
    /// `host:port`, for messages.
    pub host_port: String,
    /// By HTTPS.
    pub is_https: bool,
    /// Over this Unix socket.
    pub socket: Option<PathBuf>,
}

impl Address {
    /// Reads `http://host:port`, `https://host:port` or `unix:///path`. The scheme is required; a missing port is that of
    /// any URL.
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
        let (is_https, port) = match scheme {
            "http" => (false, 80),
            "https" => (true, 443),
            "unix" if rest.starts_with('/') => return Ok(Self::over_socket(rest)),
            "unix" => return Err(refuse("a socket needs an absolute path, as in unix:///run/drover.sock".to_owned())),
            _ => return Err(refuse(format!("scheme {scheme:?} is not supported, only http, https and unix"))),
        };
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
            None => format!("{host}:{port}"),
        };
        Ok(Self { base: format!("{scheme}://{host}"), host_port, is_https, socket: None })
    }

    fn over_socket(path: &str) -> Self {
        let host = "127.0.0.1".to_owned();
        Self { base: format!("http://{host}"), host_port: host, is_https: false, socket: Some(PathBuf::from(path)) }
    }

    /// The base with another host and the same port.
    pub(crate) fn base_of(&self, host: &str) -> String {
        let scheme = if self.is_https { "https" } else { "http" };
        let port = self.host_port.rsplit_once(':').map_or("", |(_, port)| port);
        format!("{scheme}://{host}:{port}")
    }
}

/// Finds one agent, whatever name it is asked by.
#[derive(Debug)]
pub(crate) struct At(Uri);

impl At {
    /// The agent at that address.
    pub(crate) fn new(base: &str) -> Result<Self, AddressError> {
        let refuse = |problem: ureq::http::uri::InvalidUri| AddressError {
            address: base.to_owned(),
            problem: format!("parse {base:?}: {problem}"),
        };
        base.parse().map(At).map_err(refuse)
    }
}

impl Resolver for At {
    fn resolve(&self, _: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        DefaultResolver::default().resolve(&self.0, config, timeout)
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
        check("https://box", "https://box", "box:443");
        check("https://box:4646/", "https://box:4646", "box:4646");
        check("unix:///run/api.sock", "http://127.0.0.1", "127.0.0.1");
        assert_eq!(
            Address::parse("https://[::1]:4646").unwrap().base_of("server.global"),
            "https://server.global:4646"
        );
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
        check("ftp://x:1", "invalid address 'ftp://x:1': scheme \"ftp\" is not supported, only http, https and unix");
        check(
            "unix://api.sock",
            "invalid address 'unix://api.sock': a socket needs an absolute path, as in unix:///run/drover.sock",
        );
        check(
            "http://x:99999",
            "invalid address 'http://x:99999': parse \"http://x:99999\": invalid port \":99999\" after host",
        );
    }
}
