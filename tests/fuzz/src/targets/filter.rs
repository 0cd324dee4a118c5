//! Filter expressions, asked of a record.

use drover_filter::Filter;
use serde_json::json;

use super::Target;
use crate::corpus;

pub const TARGET: Target = Target {
    word: "filter",
    what: "a filter expression of the API: parse, and ask it of a record",
    corpus: || {
        Ok(corpus::texts(&[
            "Status == \"running\"",
            "Status != pending and (Priority == 50 or not Stop == true)",
            "Meta.team == ops or Meta[\"a b\"] is not empty",
            "\"web\" in Datacenters and Datacenters contains `dc1`",
            "Name matches \"^w.*b$\" and Name not matches `x+`",
            "any TaskGroups as g { g.Name == \"web\" and g.Count != 0 }",
            "all TaskGroups as i, g { i == 0 or g.Name is empty }",
            "\"/Meta/team\" == \"ops\"",
        ]))
    },
    words: &[
        "(",
        ")",
        "==",
        "!=",
        " in ",
        " not in ",
        " contains ",
        " not contains ",
        " matches ",
        " not matches ",
        " is empty",
        " is not empty",
        " and ",
        " or ",
        "not ",
        "\"",
        "`",
        "\\",
        ".",
        "[\"",
        "\"]",
        "/",
        "any ",
        "all ",
        " as ",
        " { ",
        " }",
        "Status",
        "Meta",
        "TaskGroups",
        "Datacenters",
        "Count",
        "Name",
        "_",
        ",",
        "1e5",
        "-1",
        "true",
        "((((",
        "(a+)+$",
        "é",
        ".*.*.*x",
        "[[:alpha:]]{1000}",
        "\n",
        "\t",
        "\u{0}",
    ],
    run,
};

fn run(bytes: &[u8]) -> bool {
    let filter = match Filter::parse(&String::from_utf8_lossy(bytes)) {
        Ok(filter) => filter,
        Err(error) => {
            assert!(!error.to_string().is_empty(), "what is refused has a reason");
            return false;
        }
    };
    let group = |name: &str, count: i64| json!({"Name": name, "Count": count, "Meta": {}, "Tasks": []});
    let record = json!({
        "ID": "web", "Name": "web", "Status": "running", "Priority": 50, "Stop": false, "Meta": {"team": "ops", "a b": "c"},
        "Datacenters": ["dc1", "dc2"], "TaskGroups": [group("web", 3), group("cache", 0)], "Periodic": null, "Share": 0.5,
    });
    filter.matches(&record).is_ok()
}
