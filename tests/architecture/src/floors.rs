//! Arrows between our crates go where ARCHITECTURE.md says, and down only.

use std::collections::{BTreeMap, BTreeSet};

use crate::workspace::{packages, root};

struct Row {
    floor: u32,
    may_import: Option<BTreeSet<String>>,
}

/// The floors table by crate; "anything" has no set.
fn table() -> BTreeMap<String, Row> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, section) = text.split_once("\n## Floors\n").expect("ARCHITECTURE.md has a section Floors");
    let (section, _) = section.split_once("\n## ").unwrap_or((section, ""));
    let mut rows = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| floor")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [floor, name, may_import] = cells[..] else { panic!("a row of three cells: {line}") };
        let names = may_import.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        let may_import = (may_import != "anything").then(|| names.collect());
        rows.insert(name.to_owned(), Row { floor: floor.parse().unwrap(), may_import });
    }
    assert!(rows.len() > 10, "the floors table was not found");
    rows
}

/// The row of a package: everything below tests/ shares one.
fn row_name(name: &str, dir: &std::path::Path) -> String {
    if dir.starts_with(root().join("tests")) { "tests".to_owned() } else { name.to_owned() }
}

#[test]
fn arrows_go_where_the_table_says() {
    let table = table();
    let packages = packages();
    let mut wrong = Vec::new();
    for (name, package) in &packages {
        let Some(row) = table.get(&row_name(name, &package.dir)) else {
            wrong.push(format!("{name} has no row in the floors table"));
            continue;
        };
        let Some(may_import) = &row.may_import else { continue };
        for imported in package.all.iter().filter_map(|dependency| dependency.strip_prefix("drover-")) {
            if !may_import.contains(imported) {
                wrong.push(format!("{name} -> {imported}"));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that ARCHITECTURE.md does not have:\n{}", wrong.join("\n"));
}

#[test]
fn the_table_itself_goes_down_only() {
    let table = table();
    for (name, row) in &table {
        for imported in row.may_import.iter().flatten() {
            let below = table.get(imported).unwrap_or_else(|| panic!("{name} may import {imported}, which has no row"));
            assert!(below.floor < row.floor, "{name} (floor {}) -> {imported} (floor {})", row.floor, below.floor);
        }
    }
}

#[test]
fn the_table_has_no_row_without_a_crate() {
    let packages = packages();
    for name in table().keys().filter(|name| *name != "tests") {
        assert!(packages.contains_key(name), "{name} is in the floors table and nowhere else");
    }
}

#[test]
fn the_edge_stays_thin() {
    let packages = packages();
    let mut cone = BTreeSet::new();
    let mut open = vec!["edge-agent".to_owned()];
    while let Some(name) = open.pop() {
        if !cone.insert(name.clone()) {
            continue;
        }
        let ours = packages[&name].normal.iter().filter_map(|dependency| dependency.strip_prefix("drover-"));
        open.extend(ours.map(str::to_owned));
    }
    let allowed = [
        "edge-agent",
        "runner",
        "drivers",
        "supervisor",
        "images",
        "network",
        "transport",
        "protocol",
        "certs",
        "agent-config",
        "hcl",
        "model",
        "metrics",
    ];
    let extra: Vec<_> = cone.iter().filter(|name| !allowed.contains(&name.as_str())).collect();
    assert!(extra.is_empty(), "the edge pulls in {extra:?}");
}
