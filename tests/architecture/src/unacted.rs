//! The list of blocks that drover does not act on is true: once some part reads a block's field, its entry must go.

use std::path::Path;

use drover_model::unacted::UNACTED;

use crate::workspace::{root, rust_files};

/// Block, and what reads of it look like in code.
const READS: &[(&str, &[&str])] = &[
    ("service", &[".services"]),
    ("consul", &[".consul"]),
    ("scaling", &[".scaling_policies"]),
    ("disconnect", &[".disconnect"]),
    ("migrate", &[".migrate.as_ref", "group.migrate"]),
    ("ephemeral_disk migrate to another node", &["MigrateToken", "fetch_data"]),
    ("volume other than a static one of the host", &["\"csi\"", "csi_volume"]),
    ("network mode other than host, none or bridge", &["\"cni/"]),
    ("resources network", &["resources.networks"]),
    ("action", &["task.actions"]),
    ("numa", &[".numa"]),
    ("schedule", &["task.schedule"]),
    ("template", &[".templates"]),
    ("artifact", &[".artifacts"]),
    ("vault", &[".vault"]),
    ("secret", &["task.secrets"]),
    ("identity", &[".identity.iter", ".identities", "task.identity"]),
    ("csi_plugin", &[".csi_plugin_config"]),
    ("device", &["resources.devices"]),
    ("multiregion", &[".multiregion"]),
];

/// Where a feature would live. Only what acts on allocs counts: model, jobspec and the API merely carry the fields.
const ACTING: &[&str] =
    &["control-plane/leader/src", "edge-client/runner/src", "edge-client/drivers/src", "edge-client/agent/src"];

fn readers(of: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for part in ACTING {
        for file in rust_files(&root().join(part)) {
            let is_test = file.components().any(|part| part.as_os_str() == Path::new("tests.rs").as_os_str());
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let reads = code
                .lines()
                .any(|line| !line.trim_start().starts_with("//") && of.iter().any(|read| line.contains(read)));
            if reads && !is_test {
                found.push(file.strip_prefix(root()).unwrap_or(&file).display().to_string());
            }
        }
    }
    found
}

#[test]
fn a_block_that_something_acts_on_is_not_on_the_list() {
    for entry in UNACTED {
        let reads = READS.iter().find(|(block, _)| *block == entry.block);
        let (_, reads) = reads.unwrap_or_else(|| panic!("say here what reads of {} look like", entry.block));
        let found = readers(reads);
        assert!(
            found.is_empty(),
            "{} is on the list of what drover does not act on, and is read in {found:?}",
            entry.block
        );
    }
}

#[test]
fn the_search_finds_a_field_that_is_acted_on() {
    assert!(!readers(&[".kill_timeout"]).is_empty());
}
