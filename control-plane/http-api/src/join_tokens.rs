//! Join tokens: made for machines on other hosts. drover's own route.
//!
//! There are no ACLs yet, so only a caller on the same host may make one who can read the server's own file there and
//! signs the order with its secret, and none that a browser or a proxy speaks for.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, header};
use drover_model::Timestamp;
use drover_model::time::parse_duration;
use drover_server::Watch;
use drover_server::join_tokens::{JoinTokenRequest, TokenOrder};
use drover_state::Table;
use drover_state::join_token::JoinToken;
use serde_json::{Value, json};

use crate::blocking::{Seen, read};
use crate::call::Call;
use crate::problem::Problem;
use crate::reply::Reply;

pub(crate) async fn create(mut call: Call) -> Result<Reply, Problem> {
    if !is_local(&call) {
        let text = "join tokens are made on the server's own host only: use its loopback address there";
        return Err(Problem::Forbidden(text.to_owned()));
    }
    let fields = call.take_fields().await?;
    let invalid = |text: String| Problem::Invalid(text);
    let is_for_server = match fields.text("Role")? {
        "" | "client" => false,
        "server" => true,
        role => return Err(invalid(format!("there is no role {role:?}: use \"client\" or \"server\""))),
    };
    let uses = fields.number("Uses")?.map(u32::try_from).transpose();
    let uses = uses.map_err(|_| invalid("Uses is too large".to_owned()))?;
    let ttl = match fields.text("TTL")? {
        "" => None,
        text => Some(parse_duration(text).ok_or_else(|| invalid(format!("TTL {text:?} is not a duration")))?),
    };
    let order = TokenOrder {
        role: fields.text("Role")?,
        uses,
        ttl: fields.text("TTL")?,
        node_pool: fields.text("NodePool")?,
        datacenter: fields.text("Datacenter")?,
        region: fields.text("Region")?,
        time: fields.number("Time")?.and_then(|time| i64::try_from(time).ok()).unwrap_or_default(),
    };
    if !call.api.server.is_signed(&order, fields.text("Proof")?) {
        let text = "making a join token takes a request signed with this server's host file: use `drover node \
                    join-token create` or `drover server join-token create` on its host, as the user that runs the server or as root";
        return Err(Problem::Forbidden(text.to_owned()));
    }
    let request = JoinTokenRequest {
        is_for_server,
        uses,
        ttl,
        node_pool: fields.text("NodePool")?.to_owned(),
        datacenter: fields.text("Datacenter")?.to_owned(),
        region: fields.text("Region")?.to_owned(),
    };
    let made = call.api.server.create_join_token(request).await.map_err(Problem::of_write)?;
    let mut body = view(&made.token);
    body["Token"] = made.text.into();
    body["Uses"] = body["UsesLeft"].clone();
    call.written(&body, made.index)
}

/// The caller is on this host and speaks for itself: a page in a browser names its origin, a proxy names its client.
fn is_local(call: &Call) -> bool {
    let names_another = |headers: &HeaderMap| {
        headers.contains_key(header::ORIGIN)
            || headers.contains_key(header::FORWARDED)
            || headers.contains_key("x-forwarded-for")
    };
    call.peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback()) && !names_another(&call.headers)
}

fn view(token: &JoinToken) -> Value {
    json!({
        "CreatedAt": token.created_at.to_rfc3339(),
        "Datacenter": token.datacenter,
        "ExpiresAt": token.expires_at.to_rfc3339(),
        "ID": token.id,
        "NodePool": token.node_pool,
        "Region": token.region,
        "Role": token.role,
        "UsesLeft": token.uses_left,
    })
}

/// Those that still admit somebody. Their secrets are not known here.
pub(crate) async fn list(call: Call) -> Result<Reply, Problem> {
    read(&call, &[Watch::Table(Table::JoinTokens)], |reading, _| {
        let now = now();
        let tokens: Vec<Value> =
            reading.snapshot.join_tokens().filter(|token| token.is_valid_at(now)).map(|token| view(token)).collect();
        Seen::value(reading.snapshot.table_index(Table::JoinTokens), &tokens, &call)
    })
    .await
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
