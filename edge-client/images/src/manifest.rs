//! The documents of an image: index, manifest and configuration, of OCI and of Docker (schema 2).

use serde::Deserialize;

use crate::digest::Digest;
use crate::image::{ImageConfig, nullable};
use crate::platform::Platform;

/// The largest manifest or index, in bytes: what registries take themselves.
pub(crate) const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// The largest configuration, in bytes.
pub(crate) const CONFIG_BYTES_MAX: usize = 8 << 20;

/// What a registry is told that is understood here.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// A thing in a registry, by its digest and size.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Descriptor {
    #[serde(rename = "mediaType", default, deserialize_with = "nullable")]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) platform: Option<Platform>,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) annotations: std::collections::BTreeMap<String, String>,
}

impl Descriptor {
    /// A manifest of which only the digest is known.
    pub(crate) fn of_manifest(digest: Digest) -> Self {
        Self {
            media_type: String::new(),
            digest,
            size: 0,
            platform: None,
            annotations: std::collections::BTreeMap::new(),
        }
    }
}

/// What a manifest request gives.
#[derive(Debug)]
pub(crate) enum Document {
    /// Several images, for several platforms.
    Index(Vec<Descriptor>),
    /// One image.
    Manifest(Manifest),
}

#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    /// The lowest first.
    pub(crate) layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    schema_version: u32,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

/// Reads an index or a manifest.
pub(crate) fn parse(bytes: &[u8]) -> Result<Document, String> {
    let raw: Raw = serde_json::from_slice(bytes).map_err(|err| err.to_string())?;
    match raw {
        Raw { schema_version: 1, .. } => Err("it has Docker's schema 1, which is no longer in use".to_owned()),
        // Two readers must never see two images in one document.
        Raw { manifests: Some(_), layers: Some(_), .. } => Err("it is an index and a manifest in one".to_owned()),
        Raw { manifests: Some(manifests), .. } => Ok(Document::Index(manifests)),
        Raw { config: Some(config), layers: Some(layers), .. } => {
            match layers.iter().find(|layer| !is_tar(&layer.media_type)) {
                Some(layer) => Err(format!("it is no image: it holds {}", shorten(&layer.media_type))),
                None => Ok(Document::Manifest(Manifest { config, layers })),
            }
        }
        _ => Err("it is neither an index nor a manifest".to_owned()),
    }
}

/// Layers are told apart by their first bytes; the type only has to say that they are layers.
fn is_tar(media_type: &str) -> bool {
    media_type.is_empty()
        || media_type.starts_with("application/vnd.oci.image.layer.v1.tar")
        || media_type.starts_with("application/vnd.oci.image.layer.nondistributable.v1.tar")
        || media_type.starts_with("application/vnd.docker.image.rootfs.diff.tar")
        || media_type.starts_with("application/vnd.docker.image.rootfs.foreign.diff.tar")
}

fn shorten(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(100).collect()
}

/// The image of an index that runs on `wanted` best, or a list of what there is.
pub(crate) fn choose<'a>(index: &'a [Descriptor], wanted: &Platform) -> Result<&'a Descriptor, String> {
    let fit = |descriptor: &Descriptor| match &descriptor.platform {
        Some(platform) => wanted.fit(platform),
        // Without a platform it can only be hoped for.
        None => Some(0),
    };
    let best = index.iter().filter_map(|descriptor| Some((fit(descriptor)?, descriptor)));
    // Of equals the first.
    let best = best.rev().max_by_key(|(fit, _)| *fit);
    best.map(|(_, descriptor)| descriptor).ok_or_else(|| {
        let named = index.iter().filter_map(|descriptor| descriptor.platform.as_ref());
        let known: Vec<_> = named.filter(|it| it.os != "unknown").take(20).map(|it| shorten(&it.to_string())).collect();
        if known.is_empty() { "nothing".to_owned() } else { known.join(", ") }
    })
}

/// The configuration of an image.
#[derive(Debug, Deserialize)]
pub(crate) struct Configuration {
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) config: ImageConfig,
    #[serde(default)]
    pub(crate) rootfs: RootFs,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct RootFs {
    #[serde(default)]
    pub(crate) diff_ids: Vec<Digest>,
}

/// Reads a configuration for an image with that many layers.
pub(crate) fn parse_config(bytes: &[u8], layers: usize) -> Result<Configuration, String> {
    let config: Configuration = serde_json::from_slice(bytes).map_err(|err| err.to_string())?;
    if config.rootfs.diff_ids.len() == layers {
        Ok(config)
    } else {
        Err(format!("it tells of {} layers, the manifest of {layers}", config.rootfs.diff_ids.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(64))
    }

    #[test]
    fn documents_are_told_apart() {
        let one = format!(
            r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{}","size":3}}"#,
            digest('a')
        );
        let manifest = format!(r#"{{"schemaVersion":2,"config":{one},"layers":[{one}]}}"#);
        assert!(matches!(parse(manifest.as_bytes()), Ok(Document::Manifest(it)) if it.layers.len() == 1));
        assert!(matches!(parse(format!(r#"{{"manifests":[{one}]}}"#).as_bytes()), Ok(Document::Index(_))));
        let chart = one.replace("oci.image.layer.v1.tar+gzip", "cncf.helm.chart");
        for (text, reason) in [
            (format!(r#"{{"manifests":[],"config":{one},"layers":[]}}"#), "in one"),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(), "schema 1"),
            (format!(r#"{{"config":{one},"layers":[{chart}]}}"#), "helm"),
            (manifest.replace(":3", ":-1"), "invalid value"),
            (manifest.replace("sha256", "md5"), "no digest"),
            ("{}".to_owned(), "neither"),
            (format!(r#"{{"x":{}"#, "[".repeat(100_000)), "EOF"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn the_platform_is_chosen() {
        let entry = |letter: char, platform: &str| -> Descriptor {
            let text = format!(r#"{{"digest":"{}","size":1,"platform":{platform}}}"#, digest(letter));
            serde_json::from_str(&text).unwrap()
        };
        let index = [
            entry('a', r#"{"os":"unknown","architecture":"unknown"}"#),
            entry('b', r#"{"os":"linux","architecture":"arm64","variant":"v8"}"#),
            entry('c', r#"{"os":"linux","architecture":"amd64"}"#),
        ];
        let wanted = |architecture: &str| Platform {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: String::new(),
        };
        assert_eq!(choose(&index, &wanted("amd64")).unwrap().digest.as_str(), digest('c'));
        assert_eq!(choose(&index, &wanted("riscv64")).unwrap_err(), "linux/arm64/v8, linux/amd64");
    }
}
