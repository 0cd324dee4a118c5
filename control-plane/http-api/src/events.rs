//! `/v1/event/stream`: what happens in the region, one line of JSON per log entry.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use bytes::Bytes;
use drover_server::event_buffer::Subscription;
use drover_state::Events;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::call::Call;
use crate::problem::Problem;
use crate::query::Query;
use crate::reply::Reply;
use crate::views::event::{BatchView, EventView, Heading};

/// The wait before a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);
/// How long a reader may take to take a line.
const READER_PATIENCE: Duration = Duration::from_secs(40);
/// Lines under way to the connection; what the reader does not take waits in the server's own bounded queue.
const LINES_MAX: usize = 4;

pub(crate) async fn stream(call: Call) -> Result<Reply, Problem> {
    let wanted = Wanted::of(&call.query)?;
    let index = match call.query.text("index") {
        "" => 0,
        text => text.parse::<u64>().map_err(|_| {
            Problem::Invalid(format!("Unable to parse index: strconv.Atoi: parsing {text:?}: invalid syntax"))
        })?,
    };
    let no_stream = || Problem::Failed("event broker is not enabled".to_owned());
    let subscription = call.api.server.subscribe(index).ok_or_else(no_stream)?;
    let (lines, taken) = mpsc::channel(LINES_MAX);
    tokio::spawn(follow(subscription, wanted, lines));
    let body = futures_util::stream::unfold(taken, |mut taken| async move {
        let line = taken.recv().await?;
        Some((Ok::<_, Infallible>(line), taken))
    });
    let mut reply = Response::new(Body::from_stream(body));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(reply)
}

/// Writes lines until the subscription ends or nobody reads any more.
async fn follow(mut subscription: Subscription, wanted: Wanted, lines: mpsc::Sender<Bytes>) {
    let mut line = Bytes::from_static(b"{}\n");
    loop {
        match timeout(READER_PATIENCE, lines.send(line)).await {
            Ok(Ok(())) => {}
            // Gone, or stuck: a line that nobody takes can't say so either.
            Ok(Err(_)) | Err(_) => return,
        }
        line = tokio::select! {
            next = next_line(&mut subscription, &wanted) => match next {
                Ok(line) => line,
                Err(end) => {
                    let text = serde_json::json!({ "Error": end });
                    let _ = timeout(READER_PATIENCE, lines.send(format!("{text}\n").into())).await;
                    return;
                }
            },
            () = tokio::time::sleep(SIGN_OF_LIFE) => Bytes::from_static(b"{}\n"),
            () = lines.closed() => return,
        };
    }
}

/// The next line that holds something wanted; why there is none any more.
async fn next_line(subscription: &mut Subscription, wanted: &Wanted) -> Result<Bytes, String> {
    loop {
        let events = subscription.next().await.map_err(|end| end.to_string())?;
        if let Some(line) = wanted.line(&events)? {
            return Ok(line);
        }
    }
}

/// What a reader wants to hear of.
struct Wanted {
    /// Topic and key; a star is any.
    topics: Vec<(String, String)>,
    /// A star is any.
    namespace: String,
}

impl Wanted {
    fn of(query: &Query) -> Result<Self, Problem> {
        let mut topics = Vec::new();
        for text in query.all("topic") {
            let (topic, key) = text.split_once(':').unwrap_or((text, "*"));
            if key.contains(':') {
                let text = format!(
                    "Invalid topic query: error parsing topics: Invalid key value pair for topic, topic: {text}"
                );
                return Err(Problem::Invalid(text));
            }
            topics.push((topic.to_owned(), key.to_owned()));
        }
        if topics.is_empty() {
            topics.push(("*".to_owned(), "*".to_owned()));
        }
        Ok(Self { topics, namespace: query.namespace().to_owned() })
    }

    fn admits(&self, heading: &Heading) -> bool {
        let is_there = heading.namespace.is_empty() || self.namespace == "*" || heading.namespace == self.namespace;
        let names = |key: &str| {
            key == "*" || heading.key == key || heading.filter_keys.iter().flatten().any(|filter| filter == key)
        };
        is_there && self.topics.iter().any(|(topic, key)| (topic == "*" || topic == heading.topic) && names(key))
    }

    /// The line of one log entry; none when nothing in it is wanted.
    fn line(&self, events: &Arc<Events>) -> Result<Option<Bytes>, String> {
        let headed = events.notes.iter().map(|note| (Heading::of(&note.subject), note));
        let wanted: Vec<_> = headed.filter(|(heading, _)| self.admits(heading)).collect();
        if wanted.is_empty() {
            return Ok(None);
        }
        let views: Result<Vec<_>, _> =
            wanted.into_iter().map(|(heading, note)| EventView::new(heading, note, events.index)).collect();
        let views = views.map_err(|error| error.to_string())?;
        let batch = BatchView { events: views, index: events.index };
        let mut line = serde_json::to_vec(&batch).map_err(|error| error.to_string())?;
        line.push(b'\n');
        Ok(Some(line.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_keys_and_namespaces() {
        let heading = |topic, key: &str, filters: Option<[&str; 2]>, namespace: &str| Heading {
            topic,
            key: key.to_owned(),
            filter_keys: filters.map(|filters| filters.map(str::to_owned).to_vec()),
            namespace: namespace.to_owned(),
        };
        let eval = heading("Evaluation", "e1", Some(["web", "d1"]), "default");
        let node = heading("Node", "n1", None, "");
        let check = |query: &str, heading: &Heading, expected: bool| {
            let wanted = Wanted::of(&Query::parse(Some(query))).unwrap_or_else(|problem| panic!("{problem:?}"));
            assert_eq!(wanted.admits(heading), expected, "{query} {}", heading.topic);
        };
        check("", &eval, true);
        check("", &node, true);
        check("namespace=team", &eval, false);
        check("namespace=team", &node, true);
        check("namespace=*", &eval, true);
        check("topic=Evaluation", &eval, true);
        check("topic=Evaluation:*", &eval, true);
        check("topic=Evaluation:e1", &eval, true);
        check("topic=Evaluation:web", &eval, true);
        check("topic=Evaluation:d1", &eval, true);
        check("topic=Evaluation:e2", &eval, false);
        check("topic=Job:web", &eval, false);
        check("topic=*:web", &eval, true);
        check("topic=Job&topic=Node", &node, true);
        check("topic=Nosuch", &node, false);
        let wrong = Wanted::of(&Query::parse(Some("topic=a:b:c"))).err();
        let text = "Invalid topic query: error parsing topics: Invalid key value pair for topic, topic: a:b:c";
        assert_eq!(wrong, Some(Problem::Invalid(text.to_owned())));
    }
}
