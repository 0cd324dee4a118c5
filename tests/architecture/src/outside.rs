//! One crate per outside library.

use crate::workspace::{packages, root};

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

#[test]
fn containers_are_put_into_no_cgroup_by_a_library() {
    // libcontainer would bring a crate that puts tasks into cgroups of its own making, beside those that limit, count and end them.
    // Ours takes its place only while the versions fit; when they do not, cargo merely warns and takes the one of the registry.
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let found: Vec<&str> =
        lock.split("[[package]]").filter(|package| package.contains("\nname = \"libcgroups\"\n")).collect();
    assert_eq!(found.len(), 1, "one of that name: {found:?}");
    assert!(found.iter().all(|package| !package.contains("\nsource = ")), "not edge-client/no-cgroups: {found:?}");
}
