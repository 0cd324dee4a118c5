//! What a machine can run: the choice among the images of an index.

use std::fmt;

use serde::Deserialize;

/// Operating system, architecture and variant, in the words of registries (`linux/arm64/v8`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// `amd64`, `arm64`, `arm`, `386`, …
    #[serde(default)]
    pub architecture: String,
    /// `v7` and the like; empty where there is none.
    #[serde(default)]
    pub variant: String,
}

impl Platform {
    /// That of this machine.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "x86" => ("386", ""),
            "aarch64" => ("arm64", "v8"),
            "arm" => ("arm", "v7"),
            "powerpc64" => ("ppc64le", ""),
            other => (other, ""),
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: variant.to_owned() }
    }

    /// How well an image for `offered` runs here: `None` not at all, else the higher the better.
    pub(crate) fn fit(&self, offered: &Platform) -> Option<u32> {
        if offered.os != self.os || offered.architecture != self.architecture {
            return None;
        }
        if offered.variant == self.variant {
            return Some(100);
        }
        let number = |variant: &str| variant.strip_prefix('v').and_then(|text| text.parse::<u32>().ok());
        match (number(&offered.variant), number(&self.variant)) {
            // An older variant of ARM runs on a newer one, the newest first; amd64/v3 does not run on a plain amd64.
            (Some(offered), Some(own)) if offered < own => Some(offered),
            (None, _) if offered.variant.is_empty() => Some(50),
            _ => None,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        Platform { os: next(), architecture: next(), variant: next() }
    }

    #[test]
    fn the_best_variant_wins() {
        let check = |own: &str, offered: &[&str], best: Option<&str>| {
            let own = platform(own);
            let fits = offered.iter().filter_map(|text| Some((own.fit(&platform(text))?, *text)));
            assert_eq!(fits.max_by_key(|(fit, _)| *fit).map(|(_, text)| text), best, "{own}");
        };
        check("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"], Some("linux/arm/v6"));
        check("linux/arm/v7", &["linux/arm/v6", "linux/arm/v7"], Some("linux/arm/v7"));
        check("linux/arm64/v8", &["linux/arm64"], Some("linux/arm64"));
        check("linux/amd64", &["linux/amd64/v3", "windows/amd64", "linux/amd64"], Some("linux/amd64"));
        check("linux/amd64", &["linux/amd64/v3", "linux/arm64"], None);
    }
}
