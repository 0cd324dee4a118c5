//! One crate per outside library.

use crate::workspace::packages;

/// Library, and the crates that may name it.
const OWNERS: &[(&str, &[&str])] = &[
    ("openraft", &["raft"]),
    ("surrealkv", &["raft"]),
    ("quinn", &["transport"]),
    ("foca", &["gossip"]),
    ("axum", &["http-api"]),
    ("libcontainer", &["supervisor"]),
    ("oci-spec", &["supervisor"]),
    ("hcl-edit", &["hcl"]),
    ("rcgen", &["certs"]),
    ("ureq", &["api-client"]),
    ("imbl", &["state"]),
];

#[test]
fn an_outside_library_has_one_owner() {
    let mut wrong = Vec::new();
    for (name, package) in packages() {
        for (library, owners) in OWNERS {
            if package.normal.contains(*library) && !owners.contains(&name.as_str()) {
                wrong.push(format!("{name} names {library}, which belongs to {}", owners.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
