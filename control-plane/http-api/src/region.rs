//! Requests for another region: whose they are, and how they are handed to it.

use axum::body::Body;
use axum::http::request::Parts;
use drover_server::Server;
use drover_server::region_forward::RegionError;
use futures_util::stream::unfold;
use serde_json::Value;

use crate::body::{self, Fields};
use crate::problem::Problem;
use crate::query::Query;
use crate::relay;
use crate::reply::Reply;
use crate::routes::Regions;

/// What a job says when nobody has said which region is meant.
const ANY_REGION: &str = "global";

/// Whose request it is.
#[derive(Debug)]
pub(crate) enum Whose {
    /// This region's. The body as it came, or as it was read.
    Own(Body),
    /// Another region's.
    Other {
        /// Which.
        region: String,
        /// The body.
        body: Body,
    },
}

/// Finds out which region is asked. A row whose requests hold a job has its body read for that.
///
/// # Errors
/// The body is too large or too slow.
pub(crate) async fn of(
    regions: Regions,
    own: &str,
    parts: &Parts,
    query: &Query,
    body: Body,
) -> Result<Whose, Problem> {
    let (region, body) = match regions {
        Regions::Ignored => (String::new(), body),
        Regions::Own => (query.text("region").to_owned(), body),
        Regions::OfJob => {
            let bytes = body::read(&parts.headers, body).await?;
            (of_job(query, &bytes), Body::from(bytes))
        }
    };
    if region.is_empty() || region == own { Ok(Whose::Own(body)) } else { Ok(Whose::Other { region, body }) }
}

/// The region that a request with a job is for; empty for the one that is asked. What is wrong with the body is said by its handler.
pub(crate) fn of_job(query: &Query, bytes: &[u8]) -> String {
    let fields = Fields::parse(bytes).unwrap_or_default();
    let text = |fields: &Fields| fields.get("Region").and_then(Value::as_str).unwrap_or_default().to_owned();
    let job = fields.object("Job").ok().flatten().unwrap_or_default();
    let asked = [text(&fields), query.text("region").to_owned(), text(&job)];
    let first = asked.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
    if first == ANY_REGION && query.text("region") != ANY_REGION { String::new() } else { first }
}

/// Hands a request to another region and its answer back.
///
/// # Errors
/// The region is not known or gives no answer.
pub(crate) async fn hand_on(server: &Server, region: &str, parts: Parts, body: Body) -> Result<Reply, Problem> {
    let request = relay::request_of(parts, body).await?;
    let answer = server.forward_to_region(region, request).await.map_err(|error| match error {
        RegionError::Unknown(_) => Problem::Failed("No path to region".to_owned()),
        other => Problem::Failed(other.to_string()),
    })?;
    let parts = unfold(answer.body, |mut body| async move {
        let part = body.recv().await?;
        Some((part, body))
    });
    Ok(relay::reply_of(answer.head, Body::from_stream(parts)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_of_a_job_is_found_where_it_is_said_first() {
        let check = |query: &str, body: &str, expected: &str| {
            assert_eq!(of_job(&Query::parse(Some(query)), body.as_bytes()), expected, "{query} {body}");
        };
        check("", r#"{"Job":{"ID":"a","Region":"west"}}"#, "west");
        check("region=east", r#"{"Job":{"ID":"a","Region":"west"}}"#, "east");
        check("region=east", r#"{"region":"north","Job":{"Region":"west"}}"#, "north");
        // What SDKs fill in is not what anybody has said.
        check("", r#"{"Job":{"Region":"global"}}"#, "");
        check("region=global", r#"{"Job":{"Region":"west"}}"#, "global");
        check("", r#"{"Job":{}}"#, "");
        check("", "{", "");
        check("", r#"{"Job":[]}"#, "");
    }
}
