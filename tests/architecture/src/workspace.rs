//! The workspace as cargo sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// One of our packages.
pub struct Package {
    /// Its folder.
    pub dir: PathBuf,
    /// Names of the packages in its manifest, dev- and build-dependencies included.
    pub all: BTreeSet<String>,
    /// Names of the packages in its manifest that it is built from.
    pub normal: BTreeSet<String>,
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Our packages by name without the `drover-` prefix.
pub fn packages() -> BTreeMap<String, Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut packages = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap().strip_prefix("drover-").expect("packages are named drover-*");
        let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
        let mut found =
            Package { dir: manifest.parent().unwrap().to_path_buf(), all: BTreeSet::new(), normal: BTreeSet::new() };
        for dependency in package["dependencies"].as_array().unwrap() {
            let dependency_name = dependency["name"].as_str().unwrap().to_owned();
            if dependency["kind"].is_null() {
                found.normal.insert(dependency_name.clone());
            }
            found.all.insert(dependency_name);
        }
        packages.insert(name.to_owned(), found);
    }
    packages
}

/// The Rust files below a folder.
pub fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if path.file_name().is_none_or(|name| name != "target") {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
