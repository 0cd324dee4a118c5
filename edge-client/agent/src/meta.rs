//! The metadata of the node: what its settings say, and over that what people have set while it runs, kept on disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use drover_model::node::Node;
use drover_protocol::codec;
use drover_protocol::edge::RpcError;
use drover_protocol::edge_node::NodeMeta;

use crate::own_node::OwnNode;
use crate::store::Store;

/// Most keys that people can set.
const KEYS_MAX: usize = 1024;
/// The longest of all these keys and values together, in bytes: the node is registered with them.
const BYTES_MAX: usize = 64 << 10;
/// Under this key of the store they are kept.
const KEY: &str = "meta";

/// Keys that people have set; none is one that the settings name and that shall not be there.
type Dynamic = BTreeMap<String, Option<String>>;

/// The metadata of the node.
pub struct Metadata {
    fixed: BTreeMap<String, String>,
    dynamic: Mutex<Dynamic>,
    store: Store,
    own: Arc<OwnNode>,
}

/// What an earlier life of the agent was told.
pub fn kept(values: &BTreeMap<String, Vec<u8>>) -> Dynamic {
    values.get(KEY).and_then(|value| codec::decode(value).ok()).unwrap_or_default()
}

/// The settings' metadata with the other over it.
pub fn merged(fixed: &BTreeMap<String, String>, dynamic: &Dynamic) -> BTreeMap<String, String> {
    let mut all = fixed.clone();
    for (key, value) in dynamic {
        match value {
            Some(value) => drop(all.insert(key.clone(), value.clone())),
            None => drop(all.remove(key)),
        }
    }
    all
}

/// Words with points between them, as job files can name it.
fn is_name(key: &str) -> bool {
    key.split('.').all(|word| {
        let starts = word.starts_with(|first: char| first.is_alphabetic() || first == '_');
        starts && word.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '-'))
    })
}

impl Metadata {
    /// Of an edge whose settings say this.
    pub fn new(fixed: BTreeMap<String, String>, dynamic: Dynamic, store: Store, own: Arc<OwnNode>) -> Metadata {
        Metadata { fixed, dynamic: Mutex::new(dynamic), store, own }
    }

    /// As it is.
    pub fn read(&self) -> NodeMeta {
        let dynamic = self.dynamic.lock().unwrap_or_else(PoisonError::into_inner).clone();
        NodeMeta { meta: merged(&self.fixed, &dynamic), dynamic, fixed: self.fixed.clone() }
    }

    /// Sets keys, and takes away those without a value. It is on disk when this resolves, unless the disk takes nothing; the servers
    /// are told beside.
    ///
    /// # Errors
    /// It is too much.
    pub async fn apply(&self, changes: Dynamic) -> Result<NodeMeta, RpcError> {
        let on_disk = {
            let mut dynamic = self.dynamic.lock().unwrap_or_else(PoisonError::into_inner);
            let mut new = dynamic.clone();
            for (key, value) in changes {
                if !is_name(&key) {
                    let message = format!("{key:?} is invalid; metadata keys must be valid dotted hcl identifiers");
                    return Err(RpcError::Invalid { message });
                }
                // There is nothing to hide where the settings have nothing.
                if value.is_some() || self.fixed.contains_key(&key) {
                    new.insert(key, value);
                } else {
                    new.remove(&key);
                }
            }
            let bytes: usize = new.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, String::len)).sum();
            if new.len() > KEYS_MAX || bytes > BYTES_MAX {
                let message = format!("a node has at most {KEYS_MAX} dynamic metadata keys, {BYTES_MAX} bytes in all");
                return Err(RpcError::Invalid { message });
            }
            self.own.change(|facts| {
                facts.node = Arc::new(Node { meta: merged(&self.fixed, &new), ..(*facts.node).clone() });
            });
            let on_disk = self.store.put(KEY.to_owned(), codec::encode(&new));
            *dynamic = new;
            on_disk
        };
        // It is written as soon as the disk takes something; until then it holds for this life of the agent.
        let _ = on_disk.await;
        Ok(self.read())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_what_a_job_file_can_name() {
        for (key, expected) in [
            ("rack", true),
            ("a.b-c_2", true),
            ("", false),
            ("a b", false),
            ("-unset", false),
            ("a..b", false),
            ("2", false),
        ] {
            assert_eq!(is_name(key), expected, "{key:?}");
        }
    }

    #[test]
    fn what_people_set_lies_over_the_settings() {
        let fixed = BTreeMap::from([("rack".to_owned(), "r1".to_owned()), ("zone".to_owned(), "a".to_owned())]);
        let dynamic: Dynamic = BTreeMap::from([
            ("rack".to_owned(), None),
            ("zone".to_owned(), Some("b".to_owned())),
            ("dyn".to_owned(), Some("x".to_owned())),
            ("never".to_owned(), None),
        ]);
        let expected = BTreeMap::from([("zone".to_owned(), "b".to_owned()), ("dyn".to_owned(), "x".to_owned())]);
        assert_eq!(merged(&fixed, &dynamic), expected);
        assert_eq!(kept(&BTreeMap::from([(KEY.to_owned(), codec::encode(&dynamic))])), dynamic);
        assert!(kept(&BTreeMap::from([(KEY.to_owned(), b"torn".to_vec())])).is_empty());
    }
}
