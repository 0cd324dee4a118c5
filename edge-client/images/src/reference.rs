//! What a job calls an image: `redis`, `ghcr.io/team/app:1.2`, `host:5000/a/b@sha256:…`.

use std::fmt;
use std::str::FromStr;

use crate::digest::{Digest, DigestError};

/// The registry of names without one.
const DEFAULT_REGISTRY: &str = "docker.io";
/// The longest name without tag and digest, in bytes.
const NAME_MAX: usize = 255;
/// The longest tag, in bytes.
const TAG_MAX: usize = 128;

/// A text that names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// There is nothing in it.
    #[error("the name of the image is empty")]
    Empty,
    /// The name is longer than registries take.
    #[error("the name of the image is longer than {NAME_MAX} bytes")]
    Long,
    /// A part of it has characters that no registry knows.
    #[error("`{0}` is no name of an image (lower case letters and digits, parted by / . _ or -)")]
    Name(String),
    /// The host is none.
    #[error("`{0}` is no registry's host")]
    Host(String),
    /// The tag is none.
    #[error("`{0}` is no tag of an image")]
    Tag(String),
    /// The digest is none.
    #[error("the image's digest can not be read")]
    Digest(#[from] DigestError),
}

/// A registry, a repository in it, and which of its images.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Host and port of the registry as jobs write it: `docker.io`, `127.0.0.1:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path inside the registry: `library/redis`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag. `latest` where neither tag nor digest was written; none where there is only a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, where one was written: it decides, whatever the tag says.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Whether the image behind it may change at any time by custom: the tag `latest`, and no digest.
    pub fn is_latest(&self) -> bool {
        self.digest.is_none() && self.tag.as_deref() == Some("latest")
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    /// Reads it as Docker does: a first part with a dot, a colon or `localhost` is a registry, otherwise it is `docker.io`
    /// (and `library/` where there is one part only). A leading `https://` or `docker://` is passed over.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let text = text.trim();
        let text = ["https://", "http://", "docker://"].iter().find_map(|it| text.strip_prefix(it)).unwrap_or(text);
        let (text, digest) = match text.split_once('@') {
            Some((text, digest)) => (text, Some(digest.parse()?)),
            None => (text, None),
        };
        let (text, tag) = match text.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (text, None),
        };
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.len() > NAME_MAX {
            return Err(ReferenceError::Long);
        }
        let (registry, path) = match text.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
            _ => (DEFAULT_REGISTRY, text),
        };
        let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
        if !is_host(registry) {
            return Err(ReferenceError::Host(registry.to_owned()));
        }
        if !path.split('/').all(is_path_part) {
            return Err(ReferenceError::Name(text.to_owned()));
        }
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(ReferenceError::Tag(tag.chars().take(TAG_MAX).collect()));
        }
        let is_official = registry == DEFAULT_REGISTRY && !path.contains('/');
        let tag = tag.map(str::to_owned).or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Self {
            registry: registry.to_ascii_lowercase(),
            repository: if is_official { format!("library/{path}") } else { path.to_owned() },
            tag,
            digest,
        })
    }
}

/// A name or an address, with a port or none. What it may not hold is all that means something in a URL.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let is_v6 = name
        .strip_prefix('[')
        .and_then(|it| it.strip_suffix(']'))
        .is_some_and(|it| it.parse::<std::net::Ipv6Addr>().is_ok());
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (is_v6 || name.split('.').all(is_label)) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

/// Lower case letters and digits, parted by one dot, one or two underscores, or dashes.
fn is_path_part(part: &str) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends =
        bytes.first().is_some_and(|it| is_alphanumeric(*it)) && bytes.last().is_some_and(|it| is_alphanumeric(*it));
    let parted = part.split(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit());
    ends && parted.filter(|it| !it.is_empty()).all(|it| matches!(it, "." | "_" | "__") || it.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=TAG_MAX).contains(&tag.len())
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || byte == b'.' || byte == b'-')
}

impl fmt::Display for Reference {
    /// The whole name: `docker.io/library/redis:7`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.as_ref().map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_they_mean_to_docker() {
        let check =
            |text: &str, whole: &str| assert_eq!(text.parse::<Reference>().unwrap().to_string(), whole, "{text}");
        let digest = format!("sha256:{}", "ab".repeat(32));
        check("redis", "docker.io/library/redis:latest");
        check("https://redis:7", "docker.io/library/redis:7");
        check("team/app", "docker.io/team/app:latest");
        check("index.docker.io/team/app:1", "docker.io/team/app:1");
        check("localhost/app", "localhost/app:latest");
        check("127.0.0.1:5000/a/b__c--d.e:V1.2-x", "127.0.0.1:5000/a/b__c--d.e:V1.2-x");
        check("[::1]:5000/a", "[::1]:5000/a:latest");
        check(&format!("a@{digest}"), &format!("docker.io/library/a@{digest}"));
        check(&format!("h.io/a:1@{digest}"), &format!("h.io/a:1@{digest}"));
        assert!("redis".parse::<Reference>().unwrap().is_latest());
        assert!(!format!("a@{digest}").parse::<Reference>().unwrap().is_latest());
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(300);
        for wrong in [
            "",
            ":tag",
            "UPPER",
            "a//b",
            "a/",
            "../etc",
            "a/../b",
            "a b",
            "h.io/",
            "h.io:99999/a",
            "h.io:/a",
            "a:",
            "a:-x",
            "a@sha256:12",
            "-h.io/a",
            "u:p@h.io/a",
            "h.io/a?x=1",
            "h.io/a#b",
            "a._b",
            "a___b",
            "\u{e9}",
            "h..io/a",
            &long,
        ] {
            assert!(wrong.parse::<Reference>().is_err(), "{wrong}");
        }
    }
}
