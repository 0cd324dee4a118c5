//! Names in the texts of a task.

use std::collections::BTreeMap;

use drover_model::interpolation;
use drover_model::node::Node;

use super::Target;
use crate::corpus;

pub const TARGET: Target = Target {
    word: "interpolation",
    what: "a text with ${names} of a node and an environment, replaced",
    corpus: || {
        Ok(corpus::texts(&[
            "${NOMAD_TASK_NAME}-${NOMAD_ALLOC_INDEX}",
            "${node.unique.name} ${node.datacenter} ${node.region} ${node.class} ${node.pool}",
            "${attr.kernel.name} ${attr.unique.network.ip-address} ${meta.rack}",
            "${env[\"A.B\"]} ${NOMAD_ADDR_http} $${x} ${} ${${NOMAD_TASK_NAME}}",
            "plain",
        ]))
    },
    words: &[
        "${",
        "}",
        "$",
        "{",
        "$${",
        "env[\"",
        "\"]",
        "attr.",
        "meta.",
        "node.",
        "unique.",
        "NOMAD_",
        "NOMAD_TASK_NAME",
        ".",
        "-",
        "/",
        " ",
        "é",
        "\n",
        "\u{0}",
        "${${${",
        "}}}",
        "${x",
        "${a}${b}",
    ],
    run,
};

fn run(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let node = Node::default();
    let env: BTreeMap<String, String> = [("NOMAD_TASK_NAME", "web"), ("A.B", "${NOMAD_TASK_NAME}"), ("empty", "")]
        .map(|(k, v)| (k.into(), v.into()))
        .into();
    let scope = interpolation::Scope { node: &node, region: "global", env: &env };
    let replaced = scope.replace(&text);
    // The longest value is as long as the shortest name of one with its braces.
    assert!(replaced.len() <= text.len() + 32 * text.matches("${").count(), "replacing makes no text grow without end");
    let _ = interpolation::single_name(&text).map(|name| scope.value(name));
    let _ = interpolation::is_unique(&text);
    replaced != text
}
