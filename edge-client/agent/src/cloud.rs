//! What the cloud that this machine was rented from says of it: zone, type, names, addresses, as attributes of the node.
//!
//! Which cloud it is stands in what the machine's firmware says, so other machines ask nobody. A start never waits for an answer: what
//! was heard before is kept on disk, and what is heard anew reaches the servers as a change of the node.

mod aws;
mod azure;
mod digitalocean;
mod gce;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use drover_model::node::Node;
use drover_protocol::codec;
use drover_runner::drivers::ask::{Question, ask};
use serde_json::Value;

use crate::connection::with_jitter;
use crate::own_node::OwnNode;
use crate::store::Store;

/// Under this key of the store stands what was heard last, and of which machine.
const KEY: &str = "cloud";
/// What firmware says of itself.
const FIRMWARE: &str = "/sys/class/dmi/id";
/// How long one question may take.
const WITHIN: Duration = Duration::from_secs(2);
/// The rest after the first answer that did not come; it doubles.
const AGAIN_MIN: Duration = Duration::from_secs(5);
/// The rest between two looks: addresses come and go while a machine runs.
const AGAIN_MAX: Duration = Duration::from_secs(3600);
/// The most attributes of one cloud.
const ATTRIBUTES_MAX: usize = 256;
/// The longest name or value, in bytes: start scripts and keys of logins are of no use to a constraint.
const TEXT_MAX: usize = 1024;
/// The longest of all together, in bytes: the node is registered with them.
const BYTES_MAX: usize = 32 << 10;
/// How the names of all of these attributes begin.
const PREFIXES: [&str; 2] = ["platform.", UNIQUE_PREFIX];
const UNIQUE_PREFIX: &str = "unique.platform.";

/// One cloud: a row of a table.
struct Cloud {
    /// Part of the attributes' names.
    name: &'static str,
    /// What operators call the look at it.
    fingerprint: &'static str,
    /// The variable of the agent's environment that says where to ask instead, whatever the firmware says.
    variable: &'static str,
    /// Where to ask.
    url: &'static str,
    /// Files of the firmware's description and what one of them ends with on such a machine.
    firmware: &'static [(&'static str, &'static str)],
    /// Lines of the head of each question.
    headers: &'static [(&'static str, &'static str)],
    /// The kind of the node's link, and the attributes whose values make it.
    link: (&'static str, &'static [&'static str]),
    /// Asks for everything.
    look: fn(&mut Look) -> Result<()>,
}

const CLOUDS: [&Cloud; 4] = [&aws::CLOUD, &gce::CLOUD, &azure::CLOUD, &digitalocean::CLOUD];

/// The clouds, by what operators call the look at each.
pub fn names() -> impl Iterator<Item = &'static str> {
    CLOUDS.iter().map(|cloud| cloud.fingerprint)
}

/// What a value is: of one machine alone, so that it is no part of the node's class, or shared by many.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Shared,
    Unique,
}
use Kind::{Shared, Unique};

/// One look: what is asked, and what was heard.
struct Look {
    cloud: &'static Cloud,
    /// Ends with a slash.
    url: String,
    headers: Vec<(&'static str, String)>,
    found: BTreeMap<String, String>,
    bytes: usize,
}

impl Look {
    /// Status and text of the answer about a path below the cloud's address. One of its own host begins with a slash.
    fn answer(&self, path: &str, is_put: bool) -> Result<(u16, String)> {
        let url = match path.strip_prefix('/') {
            Some(path) => {
                let host = self.url.find("://").and_then(|at| Some(at + 3 + self.url[at + 3..].find('/')?));
                format!("{}/{path}", &self.url[..host.unwrap_or(self.url.len())])
            }
            None => format!("{}{path}", self.url),
        };
        let headers: Vec<(&str, &str)> = self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let question = Question { url: &url, is_put, headers: &headers, within: WITHIN };
        let (status, text) = ask(&question)?;
        Ok((status, text.trim().to_owned()))
    }

    /// The text at a path; none where there is none. One that is held back for the moment is an error, so that what is known stays.
    fn text(&self, path: &str) -> Result<Option<String>> {
        match self.answer(path, false)? {
            (200, text) => Ok(Some(text).filter(|text| !text.is_empty())),
            (404, _) => Ok(None),
            (status, _) => bail!("status {status} at {path:?}"),
        }
    }

    /// Everything at a path.
    fn json(&self, path: &str) -> Result<Value> {
        let text = self.text(path)?.with_context(|| format!("it has nothing at {path:?}"))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Takes a value under a name that people gave, which may say by itself that it is unique.
    fn set_given(&mut self, above: &str, name: &str, value: &str) {
        match name.strip_prefix("unique.") {
            Some(name) => self.set(Unique, &format!("{above}.{name}"), value),
            None => self.set(Shared, &format!("{above}.{name}"), value),
        }
    }

    /// Takes a value, if it is a fit one.
    fn set(&mut self, kind: Kind, name: &str, value: &str) {
        let prefix = if kind == Unique { UNIQUE_PREFIX } else { PREFIXES[0] };
        let name = format!("{prefix}{}.{name}", self.cloud.name);
        let value = value.trim();
        let is_fit = |text: &str| !text.is_empty() && text.len() <= TEXT_MAX && !text.contains(char::is_control);
        let bytes = self.bytes + name.len() + value.len();
        if is_fit(&name) && is_fit(value) && bytes <= BYTES_MAX && self.found.len() < ATTRIBUTES_MAX {
            self.bytes = bytes;
            self.found.insert(name, value.to_owned());
        }
    }

    /// Texts that have a path each: the attribute's name, where the two differ.
    fn texts(&mut self, table: &[(Kind, &str, &str)]) -> Result<()> {
        for (kind, path, name) in table {
            if let Some(text) = self.text(path)? {
                self.set(*kind, name, &text);
            }
        }
        Ok(())
    }

    /// Values at places of one answer. Of one that is a path the last part counts.
    fn values(&mut self, answer: &Value, table: &[(Kind, &str, &str)]) {
        for (kind, place, name) in table {
            match answer.pointer(place) {
                Some(Value::String(text)) => self.set(*kind, name, last_part(text)),
                Some(Value::Number(number)) => self.set(*kind, name, &number.to_string()),
                _ => {}
            }
        }
    }
}

/// What stands behind the last slash.
fn last_part(text: &str) -> &str {
    text.rsplit('/').next().unwrap_or(text)
}

/// The cloud of this machine, if it is one of these, and where it is asked.
fn here(
    names: &[&str],
    firmware: &Path,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<(&'static Cloud, String)> {
    let mut clouds = CLOUDS.into_iter().filter(|cloud| names.contains(&cloud.fingerprint));
    let said = |cloud: &&Cloud| variable(cloud.variable).is_some_and(|url| !url.is_empty());
    let is_of = |cloud: &&Cloud| {
        cloud
            .firmware
            .iter()
            .any(|(file, end)| fs::read_to_string(firmware.join(file)).is_ok_and(|text| text.trim_end().ends_with(end)))
    };
    let cloud = clouds.clone().find(said).or_else(|| clouds.find(is_of))?;
    let url = variable(cloud.variable).filter(|url| !url.is_empty()).unwrap_or_else(|| cloud.url.to_owned());
    Some((cloud, format!("{}/", url.trim_end_matches('/'))))
}

/// What a cloud says now. Blocks.
fn look(cloud: &'static Cloud, url: String) -> Result<BTreeMap<String, String>> {
    let headers = cloud.headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let mut look = Look { cloud, url, headers, found: BTreeMap::new(), bytes: 0 };
    (cloud.look)(&mut look)?;
    anyhow::ensure!(!look.found.is_empty(), "it says nothing of this machine");
    Ok(look.found)
}

/// Puts what a cloud says into the node's description, in the place of what it said before.
fn put(node: &mut Node, cloud: &Cloud, found: &BTreeMap<String, String>) {
    node.attributes.retain(|name, _| !PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
    node.attributes.extend(found.clone());
    let (kind, names) = cloud.link;
    let parts: Option<Vec<&str>> = names.iter().map(|name| found.get(*name).map(String::as_str)).collect();
    node.links = parts.map(|parts| (kind.to_owned(), parts.join("."))).into_iter().collect();
}

/// Takes over what a cloud has said into a newer description of the node.
pub fn carry_over(now: &mut Node, known: &Node) {
    let of_cloud = known.attributes.iter().filter(|(name, _)| PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
    now.attributes.extend(of_cloud.map(|(name, value)| (name.clone(), value.clone())));
    now.links.clone_from(&known.links);
}

/// The machine that something was heard of: a copy of its disk may be in another.
fn machine_of(node: &Node) -> String {
    node.attributes.get("unique.host_id").cloned().unwrap_or_default()
}

/// What is asked beside the agent's work.
pub struct CloudWatch {
    cloud: &'static Cloud,
    url: String,
    own: Arc<OwnNode>,
    store: Store,
}

/// The cloud of a machine.
pub struct ThisCloud(&'static Cloud, String);

impl ThisCloud {
    /// None on a machine that is in none of these.
    pub fn find(names: &[&str]) -> Option<ThisCloud> {
        here(names, Path::new(FIRMWARE), |name| std::env::var(name).ok()).map(|(cloud, url)| ThisCloud(cloud, url))
    }

    /// Puts in what an earlier life of the agent has heard on this machine.
    pub fn put_known(&self, node: &mut Node, values: &BTreeMap<String, Vec<u8>>) {
        let kept = values.get(KEY).and_then(|value| codec::decode::<(String, BTreeMap<String, String>)>(value).ok());
        if let Some((machine, found)) = kept
            && machine == machine_of(node)
        {
            put(node, self.0, &found);
        }
    }

    /// What asks it from now on.
    pub fn watch(self, own: Arc<OwnNode>, store: Store) -> CloudWatch {
        CloudWatch { cloud: self.0, url: self.1, own, store }
    }
}

/// How long to rest after a look that failed, by how long it was before it and whether the one before had failed too.
fn rest_after_failure(rest: Duration, failed_before: bool) -> Duration {
    if failed_before { (rest * 2).min(AGAIN_MAX) } else { AGAIN_MIN }
}

impl CloudWatch {
    /// Never ends by itself.
    pub async fn run(self) {
        let (mut rest, mut was_told) = (AGAIN_MIN, false);
        loop {
            let (cloud, url) = (self.cloud, self.url.clone());
            match tokio::task::spawn_blocking(move || look(cloud, url)).await {
                Ok(Ok(found)) => {
                    self.take(&found);
                    (rest, was_told) = (AGAIN_MAX, false);
                }
                Ok(Err(error)) => {
                    // What was heard before stays.
                    if !was_told {
                        let error = format!("{error:#}");
                        tracing::warn!(cloud = self.cloud.name, error, "the cloud does not say what this machine is");
                    }
                    rest = rest_after_failure(rest, was_told);
                    was_told = true;
                }
                // The agent ends.
                Err(_) => return,
            }
            tokio::time::sleep(with_jitter(rest)).await;
        }
    }

    fn take(&self, found: &BTreeMap<String, String>) {
        let has_changed = self.own.change(|facts| {
            let mut node = Node::clone(&facts.node);
            put(&mut node, self.cloud, found);
            facts.node = Arc::new(node);
        });
        if has_changed {
            let machine = machine_of(&self.own.facts().node);
            drop(self.store.put(KEY.to_owned(), codec::encode(&(machine, found))));
        }
    }
}
