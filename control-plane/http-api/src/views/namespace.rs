//! A namespace as the API shows it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use drover_model::namespace::{Capabilities, NamespaceSpec};
use ring::digest;
use serde::Serialize;
use std::collections::BTreeMap;

/// A namespace. What drover does not keep apart by namespace is null.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NamespaceView<'a> {
    capabilities: Option<&'a Capabilities>,
    consul_configuration: (),
    create_index: u64,
    description: &'a str,
    hash: String,
    meta: Option<&'a BTreeMap<String, String>>,
    modify_index: u64,
    name: &'a str,
    node_pool_configuration: (),
    optional_extra_claims: (),
    quota: &'a str,
    required_extra_claims: (),
    vault_configuration: (),
}

impl<'a> NamespaceView<'a> {
    /// Lays a namespace out.
    pub fn new(namespace: &'a NamespaceSpec) -> Self {
        Self {
            capabilities: namespace.capabilities.as_ref(),
            consul_configuration: (),
            create_index: namespace.create_index,
            description: &namespace.description,
            hash: hash(namespace),
            meta: Some(&namespace.meta).filter(|meta| !meta.is_empty()),
            modify_index: namespace.modify_index,
            name: namespace.name.as_str(),
            node_pool_configuration: (),
            optional_extra_claims: (),
            quota: "",
            required_extra_claims: (),
            vault_configuration: (),
        }
    }
}

/// A text that is equal for equal content, whenever and wherever it was written: SHA-256 of what people set.
fn hash(namespace: &NamespaceSpec) -> String {
    let content = NamespaceSpec { create_index: 0, modify_index: 0, ..namespace.clone() };
    let text = serde_json::to_vec(&content).unwrap_or_default();
    STANDARD.encode(digest::digest(&digest::SHA256, &text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_of_the_content_alone() {
        let one = NamespaceSpec { name: "team".into(), ..NamespaceSpec::default() };
        let later = NamespaceSpec { create_index: 7, modify_index: 9, ..one.clone() };
        let other = NamespaceSpec { description: "of the team".to_owned(), ..one.clone() };
        assert_eq!(hash(&one), hash(&later));
        assert_ne!(hash(&one), hash(&other));
        assert_eq!(hash(&one).len(), 44);
    }
}
