//! Interpolation of `${…}`: what a name stands for on a node, and the replacement in texts.
//!
//! The scheduler asks [`node_value`] for the sides of a constraint; the edge gives a [`Scope`] with the task's
//! environment and replaces whole texts. Only `${name}`, `${dotted.name}`, `${name-with-dash}` and `${env["x"]}`
//! without inner blanks are replaced; whatever else looks like it, and every unknown name, stays as it is.

use std::collections::BTreeMap;

use crate::node::Node;

/// What a name stands for on a node: `node.unique.id`, `node.unique.name`, `node.datacenter`, `node.class`,
/// `node.pool`, `attr.<name>` and `meta.<key>`.
pub fn node_value<'a>(node: &'a Node, name: &str) -> Option<std::borrow::Cow<'a, str>> {
    match name {
        "node.unique.id" => Some(node.id.to_string().into()),
        "node.unique.name" => Some(node.name.as_str().into()),
        "node.datacenter" => Some(node.datacenter.as_str().into()),
        "node.class" => Some(node.node_class.as_str().into()),
        "node.pool" => Some(node.node_pool.as_str().into()),
        _ => match name.split_once('.')? {
            ("attr", key) => node.attributes.get(key).map(|value| value.as_str().into()),
            ("meta", key) => node.meta.get(key).map(|value| value.as_str().into()),
            _ => None,
        },
    }
}

/// The name inside a text that is one whole `${name}`; none for any other text.
pub fn single_name(text: &str) -> Option<&str> {
    text.strip_prefix("${")?.strip_suffix('}')
}

/// True when the text names something that differs between nodes of one class.
pub fn is_unique(text: &str) -> bool {
    single_name(text).is_some_and(|name| {
        name.starts_with("node.unique.") || name.starts_with("attr.unique.") || name.starts_with("meta.unique.")
    })
}

/// Where the names in a task's texts are looked up: the node, its region, then the task's environment.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The node the task runs on.
    pub node: &'a Node,
    /// The region of its servers.
    pub region: &'a str,
    /// The task's environment: `NOMAD_*` and whatever else may be named.
    pub env: &'a BTreeMap<String, String>,
}

impl Scope<'_> {
    /// What a name stands for; none when nothing has it.
    pub fn value(&self, name: &str) -> Option<String> {
        if name == "node.region" {
            return Some(self.region.to_owned());
        }
        if let Some(value) = node_value(self.node, name) {
            return Some(value.into_owned());
        }
        let key = name.strip_prefix("env[\"").and_then(|rest| rest.strip_suffix("\"]")).unwrap_or(name);
        self.env.get(key).cloned()
    }

    /// The text with every known name replaced.
    pub fn replace(&self, text: &str) -> String {
        replace(text, |name| self.value(name))
    }
}

/// The text with every name that `lookup` knows replaced. What was put in is not looked at again.
pub fn replace(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // Where the next closing brace stands, counted from the end: looked for once, not again from each opening.
    let mut close_from_end = usize::MAX;
    while let Some(start) = rest.find("${") {
        let after = &rest[start + 2..];
        if close_from_end > after.len() {
            let Some(len) = after.find('}') else { break };
            close_from_end = after.len() - len;
        }
        let len = after.len() - close_from_end;
        let name = &after[..len];
        match is_name(name).then(|| lookup(name)).flatten() {
            Some(value) => {
                out.push_str(&rest[..start]);
                out.push_str(&value);
                rest = &rest[start + 2 + len + 1..];
            }
            // Only the opening is passed over: a name may begin inside what was not one (`${${x}`).
            None => {
                out.push_str(&rest[..start + 2]);
                rest = &rest[start + 2..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn is_name(name: &str) -> bool {
    if let Some(key) = name.strip_prefix("env[\"").and_then(|rest| rest.strip_suffix("\"]")) {
        return !key.is_empty() && !key.contains('"');
    }
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        Node {
            name: "n1".to_owned(),
            datacenter: "dc1".to_owned(),
            node_class: "big".to_owned(),
            node_pool: "default".to_owned(),
            attributes: BTreeMap::from([("kernel.name".to_owned(), "linux".to_owned())]),
            meta: BTreeMap::from([("my-key".to_owned(), "v".to_owned()), ("a.b".to_owned(), "w".to_owned())]),
            ..Node::default()
        }
    }

    #[test]
    fn known_names_are_replaced_and_the_rest_stays() {
        let node = node();
        let env = BTreeMap::from([
            ("NOMAD_DC".to_owned(), "dc1".to_owned()),
            ("odd-env.name".to_owned(), "${attr.kernel.name}".to_owned()),
            ("a b".to_owned(), "c".to_owned()),
        ]);
        let scope = Scope { node: &node, region: "global", env: &env };
        let check = |text: &str, expected: &str| assert_eq!(scope.replace(text), expected, "{text}");
        check("${attr.kernel.name}", "linux");
        check(
            "x-${node.unique.name}-${node.class}/${node.pool}.${node.datacenter}@${node.region}",
            "x-n1-big/default.dc1@global",
        );
        check("${meta.my-key}${meta.a.b}", "vw");
        check("${NOMAD_DC}", "dc1");
        check("${env[\"a b\"]}", "c");
        check("${env[\"odd-env.name\"]}", "${attr.kernel.name}");
        check("${ NOMAD_DC } ${1+1} ${upper(x)} %{x} $NAME ${}", "${ NOMAD_DC } ${1+1} ${upper(x)} %{x} $NAME ${}");
        check("${attr.missing} ${nomad_dc}", "${attr.missing} ${nomad_dc}");
        check("${${NOMAD_DC}", "${dc1");
        check("open ${NOMAD_DC", "open ${NOMAD_DC");
        check("", "");
    }

    #[test]
    fn every_kind_of_name() {
        let node = Node {
            attributes: BTreeMap::from([
                ("cpu.arch".to_owned(), "amd64".to_owned()),
                ("unique.network.ip-address".to_owned(), "10.0.0.7".to_owned()),
                ("plugins.cni.version.host-local".to_owned(), "v1.2.0".to_owned()),
            ]),
            meta: [("Rack", "r1"), ("unique.id", "7"), ("my-key", "v")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            ..node()
        };
        let id = node.id.to_string();
        let named = ["NOMAD_META_dash-key", "NOMAD_META_dot.key", "NOMAD_HOST_IP_odd-label", "HOME", "_x", "x9"];
        let env: BTreeMap<String, String> =
            named.iter().map(|name| ((*name).to_owned(), format!("<{name}>"))).collect();
        let scope = Scope { node: &node, region: "eu", env: &env };
        // Name, what it stands for in a task, what it stands for in a constraint.
        let table: &[(&str, Option<&str>, Option<&str>)] = &[
            ("node.unique.id", Some(&id), Some(&id)),
            ("node.unique.name", Some("n1"), Some("n1")),
            ("node.datacenter", Some("dc1"), Some("dc1")),
            ("node.class", Some("big"), Some("big")),
            ("node.pool", Some("default"), Some("default")),
            // A constraint can't ask for the region: all nodes are in one.
            ("node.region", Some("eu"), None),
            ("node.nope", None, None),
            ("attr.cpu.arch", Some("amd64"), Some("amd64")),
            ("attr.unique.network.ip-address", Some("10.0.0.7"), Some("10.0.0.7")),
            ("attr.plugins.cni.version.host-local", Some("v1.2.0"), Some("v1.2.0")),
            ("attr.cpu.Arch", None, None),
            ("attr.cpu", None, None),
            ("attr", None, None),
            ("meta.Rack", Some("r1"), Some("r1")),
            ("meta.rack", None, None),
            ("meta.my-key", Some("v"), Some("v")),
            ("meta.unique.id", Some("7"), Some("7")),
            ("NOMAD_META_dash-key", Some("<NOMAD_META_dash-key>"), None),
            ("NOMAD_META_dot.key", Some("<NOMAD_META_dot.key>"), None),
            ("env[\"NOMAD_HOST_IP_odd-label\"]", Some("<NOMAD_HOST_IP_odd-label>"), None),
            ("HOME", Some("<HOME>"), None),
            ("_x", Some("<_x>"), None),
            ("x9", Some("<x9>"), None),
            ("env[\"nope\"]", None, None),
            ("env[HOME]", None, None),
            ("env.HOME", None, None),
            // These belong to other places: services at submit time, device constraints, secrets.
            ("JOB", None, None),
            ("BASE", None, None),
            ("device.vendor", None, None),
            ("secret.db.password", None, None),
        ];
        for (name, in_task, in_constraint) in table {
            let text = format!("a${{{name}}}b");
            let expected = in_task.map_or_else(|| text.clone(), |value| format!("a{value}b"));
            assert_eq!(scope.replace(&text), expected, "{name}");
            assert_eq!(node_value(&node, name).as_deref(), *in_constraint, "{name}");
            assert_eq!(single_name(&format!("${{{name}}}")), Some(*name));
        }
    }

    #[test]
    fn unique_names_are_known() {
        assert!(is_unique("${attr.unique.hostname}") && is_unique("${node.unique.id}"));
        assert!(!is_unique("${attr.kernel.name}") && !is_unique("node.unique.id"));
    }
}
