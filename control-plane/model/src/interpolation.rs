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
    while let Some(start) = rest.find("${") {
        let Some(len) = rest[start + 2..].find('}') else { break };
        let name = &rest[start + 2..start + 2 + len];
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
    fn unique_names_are_known() {
        assert!(is_unique("${attr.unique.hostname}") && is_unique("${node.unique.id}"));
        assert!(!is_unique("${attr.kernel.name}") && !is_unique("node.unique.id"));
    }
}
