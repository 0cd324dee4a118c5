//! `drover operator snapshot inspect|state`: what a snapshot holds, without a server.

use drover_http_api::state_dump::dump;
use drover_server::snapshots::SnapshotInfo;
use serde_json::json;

use crate::call::{Call, Failure, Outcome};
use crate::commands::operator_snapshot::read_argument;
use crate::flags::{switch, text};
use crate::grammar::Command;
use crate::output::json;
use crate::output::quantity::bytes;
use crate::output::table::{Fields, table_with_blanks};
use crate::output::text::quote;

/// What a file says of itself.
pub const INSPECT: Command = Command {
    path: "operator snapshot inspect",
    summary: "Show what a snapshot holds, by kind",
    arguments: "<file>",
    about: "Checks a snapshot and shows when it was made, up to which index it goes, and how much of what is in it.",
    flags: &[switch("json", "As JSON.")],
    asks_agent: false,
    run: inspect,
    ..Command::BASE
};

/// All that is in it.
pub const STATE: Command = Command {
    path: "operator snapshot state",
    summary: "Show all that is in a snapshot, as JSON",
    arguments: "<file>",
    flags: &[text("filter", "expression", "Only the objects that the expression admits.")],
    asks_agent: false,
    run: state,
    ..Command::BASE
};

/// The form of what is in the file.
const VERSION: u64 = 1;

fn id(info: &SnapshotInfo) -> String {
    format!("{}-{}-{}", info.term, info.index, info.at_ms)
}

fn inspect(call: &mut Call) -> Outcome {
    let (info, state) = read_argument(call)?;
    let kinds = state.inventory();
    let count: usize = kinds.iter().map(|kind| kind.count).sum();
    let size: usize = kinds.iter().map(|kind| kind.bytes).sum();
    if call.flags.is_on("json") {
        let stats: Vec<_> =
            kinds.iter().map(|kind| json!({ "Name": kind.name, "Count": kind.count, "Sum": kind.bytes })).collect();
        call.ui.out(&json::pretty(&json!({
            "Meta": {
                "ID": id(&info),
                "Index": info.index,
                "Size": info.len,
                "Term": info.term,
                "Version": VERSION,
            },
            "Stats": stats,
            "TotalCount": count,
            "TotalSize": size,
        })));
        return Ok(0);
    }
    let at_nanos = i64::try_from(info.at_ms).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    let mut pairs = Fields::new();
    pairs.add("Created", call.ui.clock.absolute(at_nanos));
    pairs.add("ID", id(&info));
    pairs.add("Size", bytes(info.len));
    pairs.add("Index", info.index.to_string());
    pairs.add("Term", info.term.to_string());
    pairs.add("Version", VERSION.to_string());
    call.ui.out(&pairs.text());
    call.ui.out("");
    let row = |name: &str, count: usize, size: usize| vec![name.to_owned(), count.to_string(), bytes(size as u64)];
    let mut rows: Vec<Vec<String>> = kinds.iter().map(|kind| row(kind.name, kind.count, kind.bytes)).collect();
    rows.push(vec![String::new(), String::new(), String::new()]);
    rows.push(row("Total", count, size));
    call.ui.out(&table_with_blanks(&["Type", "Count", "Size"], &rows));
    Ok(0)
}

fn state(call: &mut Call) -> Outcome {
    let filter = call.flags.text("filter").to_owned();
    let (info, state) = read_argument(call)?;
    let invalid = |error| Failure::Error(format!("Invalid filter expression {}: {error}", quote(&filter)));
    let mut all = dump(&state.snapshot(), &filter).map_err(invalid)?;
    all["SnapshotMeta"] =
        json!([{ "ID": id(&info), "Index": info.index, "Size": info.len, "Term": info.term, "Version": VERSION }]);
    call.ui.out(&json::pretty(&all));
    Ok(0)
}
