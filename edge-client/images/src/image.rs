//! An image that is there: what a driver runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::Digest;
use crate::leases::Held;
use crate::records::ImageRecord;

/// An unpacked image. As long as a copy of this value lives, or a lease that was made of it, its layers stay.
#[derive(Debug, Clone)]
pub struct Image {
    /// What it was asked for by: `docker.io/library/redis:7`.
    pub name: String,
    /// The digest of its manifest. What a job writes after `@` to have this very image.
    pub digest: Digest,
    /// The digest of its configuration: what Docker calls the image's id.
    pub id: Digest,
    /// How it wants to be run.
    pub config: ImageConfig,
    /// Directories with the layers in the form of overlayfs, the lowest first. All have one parent directory, [`Image::layers_dir`], and
    /// names below it of 29 bytes: a `lowerdir` of many layers fits into a mount's page when it is relative to that.
    /// overlayfs wants the highest first. Mount with `nodev,nosuid` as the container's rights demand.
    pub layers: Vec<PathBuf>,
    /// The directory that all layers are in.
    pub layers_dir: PathBuf,
    /// Bytes of the layers on disk.
    pub bytes: u64,
    /// Keeps the layers.
    #[expect(dead_code, reason = "it acts when it is dropped")]
    pub(crate) held: Arc<Held>,
    /// What is written down about it.
    pub(crate) record: Arc<ImageRecord>,
}

/// How an image wants to be run. Empty texts and lists mean that the image says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// `NAME=value`, in the image's order.
    #[serde(rename = "Env", deserialize_with = "nullable")]
    pub env: Vec<String>,
    /// What is run, before `command`.
    #[serde(rename = "Entrypoint", deserialize_with = "nullable")]
    pub entrypoint: Vec<String>,
    /// Arguments of `entrypoint`, or what is run where there is none.
    #[serde(rename = "Cmd", deserialize_with = "nullable")]
    pub command: Vec<String>,
    /// `user`, `uid`, `user:group` or `uid:gid`, to be looked up in the image's own files.
    #[serde(rename = "User", deserialize_with = "nullable")]
    pub user: String,
    /// The working directory.
    #[serde(rename = "WorkingDir", deserialize_with = "nullable")]
    pub working_dir: String,
    /// The signal that stops it: `SIGQUIT` or a number.
    #[serde(rename = "StopSignal", deserialize_with = "nullable")]
    pub stop_signal: String,
    /// `80/tcp` and the like.
    #[serde(rename = "ExposedPorts", deserialize_with = "keys", serialize_with = "as_keys")]
    pub exposed_ports: Vec<String>,
    /// Paths that hold data, by the image's opinion.
    #[serde(rename = "Volumes", deserialize_with = "keys", serialize_with = "as_keys")]
    pub volumes: Vec<String>,
    /// Words about it.
    #[serde(rename = "Labels", deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
}

/// Builders write `null` for what is empty.
pub(crate) fn nullable<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Sets are written as objects with empty values.
fn keys<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let map: Option<BTreeMap<String, serde::de::IgnoredAny>> = Option::deserialize(from)?;
    Ok(map.unwrap_or_default().into_keys().collect())
}

fn as_keys<S: serde::Serializer>(keys: &[String], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(keys.iter().map(|key| (key, BTreeMap::<(), ()>::new())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read_as_builders_write_it() {
        let text = r#"{"Env":["A=b"],"Entrypoint":null,"Cmd":["sh"],"User":"1000:100","WorkingDir":"/w","StopSignal":"SIGQUIT",
            "ExposedPorts":{"80/tcp":{},"53/udp":{}},"Volumes":{"/data":{}},"Labels":{"a":"b"},"Healthcheck":{"Test":["NONE"]}}"#;
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.env, ["A=b"]);
        assert_eq!((config.entrypoint.len(), config.command.as_slice()), (0, &["sh".to_owned()][..]));
        assert_eq!(config.exposed_ports, ["53/udp", "80/tcp"]);
        assert_eq!(config.volumes, ["/data"]);
        let again = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<ImageConfig>(&again).unwrap(), config);
        assert_eq!(serde_json::from_str::<ImageConfig>("{}").unwrap(), ImageConfig::default());
    }
}
