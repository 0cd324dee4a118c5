//! The few URLs that a registry needs: its own, those it redirects to, those of its token service.

use std::fmt;

/// An absolute HTTP URL without user information and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) is_https: bool,
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path and query, beginning with `/`.
    pub(crate) target: String,
}

/// The longest that is followed, in bytes: signed links of object stores have 1 to 3 KB.
const URL_MAX: usize = 16 << 10;

impl Url {
    /// That of a registry: `host[:port]`.
    pub(crate) fn of_host(host: &str, is_https: bool) -> Option<Self> {
        Self::parse(&format!("{}://{host}/", if is_https { "https" } else { "http" }))
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        // A blank or a control character would end the request line.
        let is_plain = text.len() <= URL_MAX && text.bytes().all(|byte| (0x21..0x7f).contains(&byte));
        if !is_plain || authority.contains(['@', '\\']) {
            return None;
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok().filter(|port| *port != 0)?),
            _ => (authority, if is_https { 443 } else { 80 }),
        };
        let host = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        (!host.is_empty()).then(|| Self { is_https, host: host.to_ascii_lowercase(), port, target })
    }

    /// Where a `Location` leads from here.
    pub(crate) fn join(&self, location: &str) -> Option<Self> {
        let scheme = if self.is_https { "https" } else { "http" };
        if location.contains("://") {
            Self::parse(location)
        } else if location.starts_with("//") {
            Self::parse(&format!("{scheme}:{location}"))
        } else {
            let base = format!("{scheme}://{}", self.authority());
            if location.starts_with('/') {
                return Self::parse(&format!("{base}{location}"));
            }
            let path = self.target.split('?').next().unwrap_or_default();
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            Self::parse(&format!("{base}{folder}/{location}"))
        }
    }

    /// The same place with another path.
    pub(crate) fn with_target(&self, target: String) -> Self {
        Self { target, ..self.clone() }
    }

    /// Whether a login for one may be shown to the other.
    pub(crate) fn is_same_origin(&self, other: &Self) -> bool {
        (self.is_https, &self.host, self.port) == (other.is_https, &other.host, other.port)
    }

    /// Host and port as they stand in a `Host` header.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.is_https { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for Url {
    /// Without the query: it may hold a signature.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.target.split('?').next().unwrap_or_default())
    }
}

/// Percent-encodes a value of a query.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_followed() {
        let base = Url::parse("https://Host.io:5000/v2/a/blobs/x?y=1").unwrap();
        assert_eq!((base.host.as_str(), base.port, base.target.as_str()), ("host.io", 5000, "/v2/a/blobs/x?y=1"));
        let check = |location: &str, to: &str| assert_eq!(base.join(location).unwrap().to_string(), to, "{location}");
        check("/b", "https://host.io:5000/b");
        check("b", "https://host.io:5000/v2/a/blobs/b");
        check("//other/b", "https://other/b");
        check("http://[::1]:80/b", "http://[::1]/b");
        check("https://other?x", "https://other/");
        for wrong in
            ["ftp://h/", "https:///a", "https://u@h/", "https://h/a b", "https://h/\r\nX: y", "https://h:0/", "h/a"]
        {
            assert_eq!(Url::parse(wrong), None, "{wrong}");
        }
        assert_eq!(encode("a b/c:d"), "a%20b%2Fc%3Ad");
    }
}
