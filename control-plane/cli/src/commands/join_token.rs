//! `drover node join-token create|list`, `drover server join-token create|list`

use std::time::{SystemTime, UNIX_EPOCH};

use drover_api_client::join_tokens::JoinTokenOrder;
use drover_edge_agent::host_servers::{self, TokenOrder};
use drover_model::time::parse_duration;

use crate::call::{Call, Doing, Outcome, fail};
use crate::flags::{Flag, number, switch, text};
use crate::grammar::Command;
use crate::output::json;
use crate::output::table::table;
use crate::output::text::{id, quote};

const USES: Flag = number("uses", "How many machines may use it. Default: the server's");
const TTL: Flag = text("ttl", "duration", "How long it is good for, as in 30m or 24h. Default: the server's");
const JSON: Flag = switch("json", "JSON.");

/// A token for clients.
pub const NODE_CREATE: Command = Command {
    path: "node join-token create",
    summary: "Make a token with which a client can join",
    about: "Makes a token with which a client on another machine can join. It is shown once and kept nowhere. \
            Give it to the client in DROVER_JOIN_TOKEN or in a file that join_token_file of its client block names.",
    flags: &[
        USES,
        TTL,
        text("node-pool", "name", "Only clients of this node pool may use it."),
        text("datacenter", "name", "Only clients of this datacenter may use it."),
        JSON,
    ],
    run: create,
    ..Command::BASE
};

/// A token for servers.
pub const SERVER_CREATE: Command = Command {
    path: "server join-token create",
    summary: "Make a token with which a server can join",
    about: "Makes a token with which a server on another machine can join the region. It is shown once and kept nowhere. \
            Give it to the server in DROVER_JOIN_TOKEN or in a file that join_token_file of its server block names.\n\n\
            Asked of a server that waits to form its region with others, this makes the region's authority there.\n\n\
            With -region and the name of a region that is not there yet, the token is for that region's first server: it founds the \
            region below the same root and joins the federation. Ask the server that made the authority, and let the new one name \
            it in server_join { retry_join }. The same brings back a region that was founded so and was off past its certificate's \
            life: its first server keeps its keys and its state.",
    flags: &[USES, TTL, text("datacenter", "name", "Only servers of this datacenter may use it."), JSON],
    run: create_for_server,
    ..Command::BASE
};

/// The tokens there are.
pub const SERVER_LIST: Command = Command { path: "server join-token list", ..NODE_LIST };

/// The tokens there are.
pub const NODE_LIST: Command = Command {
    path: "node join-token list",
    summary: "List the tokens with which machines can join",
    about: "Lists the tokens that still admit somebody, without their secrets.",
    flags: &[switch("verbose", "Full ids."), JSON],
    run: list,
    ..Command::BASE
};

fn create(call: &mut Call) -> Outcome {
    create_for(call, "client")
}

fn create_for_server(call: &mut Call) -> Outcome {
    create_for(call, "server")
}

fn create_for(call: &mut Call, role: &str) -> Outcome {
    call.no_args()?;
    let uses = match call.flags.number("uses").map(u32::try_from) {
        None => None,
        Some(Ok(uses)) if uses > 0 => Some(uses),
        Some(_) => return fail("-uses must be a positive number"),
    };
    let ttl = match call.flags.text("ttl") {
        "" => None,
        text => match parse_duration(text) {
            Some(ttl) if !ttl.is_zero() => Some(ttl),
            _ => return fail(format!("Invalid -ttl value {}: it must be a duration, as in 30m or 24h", quote(text))),
        },
    };
    let mut order = JoinTokenOrder {
        role: role.to_owned(),
        uses,
        ttl,
        node_pool: call.flags.text("node-pool").to_owned(),
        datacenter: call.flags.text("datacenter").to_owned(),
        region: call.settings.region.clone(),
        ..JoinTokenOrder::default()
    };
    let client = call.client()?;
    order.time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    // Without a proof the server says what is needed.
    order.proof = sign(client.base(), &order).unwrap_or_default();
    let answer = client.create_join_token(&order).doing("creating join token")?;
    if call.flags.is_on("json") {
        call.ui.out(&json::pretty(&answer.raw));
        return Ok(0);
    }
    // Alone on stdout, so that a script can take it.
    call.ui.plain(&answer.value.token);
    let about = answer.value.about;
    let mut limits = Vec::new();
    if let Some(uses) = about.uses_left {
        limits.push(if uses == 1 { "for one machine".to_owned() } else { format!("for {uses} machines") });
    }
    let until = call.ui.clock.absolute_text(&about.expires_at);
    if !until.is_empty() {
        limits.push(format!("until {until}"));
    }
    if !limits.is_empty() {
        call.ui.note(&format!("Good {}. It is not shown again.", limits.join(", ")));
    }
    Ok(0)
}

/// Signs the order with the file of the server on this host that answers at `base`.
fn sign(base: &str, order: &JoinTokenOrder) -> Option<String> {
    let http = base.split_once("://").map_or(base, |(_, rest)| rest);
    let ttl = order.ttl_text();
    let signed = TokenOrder {
        role: &order.role,
        uses: order.uses,
        ttl: &ttl,
        node_pool: &order.node_pool,
        datacenter: &order.datacenter,
        region: &order.region,
        time: order.time,
    };
    host_servers::sign(http, &signed)
}

fn list(call: &mut Call) -> Outcome {
    call.no_args()?;
    let answer = call.client()?.join_tokens().doing("listing join tokens")?;
    if call.flags.is_on("json") {
        call.ui.out(&json::pretty(&answer.raw));
        return Ok(0);
    }
    if answer.value.is_empty() {
        call.ui.out("No join tokens found");
        return Ok(0);
    }
    let verbose = call.verbose();
    let rows: Vec<Vec<String>> = answer
        .value
        .iter()
        .map(|token| {
            vec![
                id(&token.id, verbose),
                token.role.clone(),
                token.uses_left.map_or_else(|| "unlimited".to_owned(), |uses| uses.to_string()),
                call.ui.clock.absolute_text(&token.expires_at),
                token.node_pool.clone(),
                token.datacenter.clone(),
            ]
        })
        .collect();
    call.ui.out(&table(&["ID", "Role", "Uses Left", "Expires", "Node Pool", "DC"], &rows));
    Ok(0)
}
