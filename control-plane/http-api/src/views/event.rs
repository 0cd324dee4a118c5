//! Events of the stream: what each is about, and the object as its own route shows it.

use drover_model::DeploymentId;
use drover_state::{Note, Subject};
use serde::Serialize;
use serde_json::{Map, Value};

use super::alloc::AllocView;
use super::node::NodeView;

/// What an event is about: enough to tell who wants it.
#[derive(Clone, Debug)]
pub struct Heading {
    /// Its topic.
    pub topic: &'static str,
    /// The object's own key.
    pub key: String,
    /// Keys of what it belongs to.
    pub filter_keys: Option<Vec<String>>,
    /// Its namespace; empty for what has none.
    pub namespace: String,
}

impl Heading {
    /// What an event about that is about.
    pub fn of(subject: &Subject) -> Self {
        let text = |id: Option<DeploymentId>| id.map(|id| id.to_string()).unwrap_or_default();
        let (topic, key, filter_keys, namespace) = match subject {
            Subject::Job(job) | Subject::ForgottenJob(job) => ("Job", job.id.to_string(), None, job.namespace.as_str()),
            Subject::Node(node) => ("Node", node.id.to_string(), None, ""),
            Subject::Eval(eval) => {
                let keys = vec![eval.job_id.to_string(), text(eval.deployment_id)];
                ("Evaluation", eval.id.to_string(), Some(keys), eval.namespace.as_str())
            }
            Subject::Alloc(alloc) => {
                let keys = vec![alloc.job_id.to_string(), text(alloc.deployment_id)];
                ("Allocation", alloc.id.to_string(), Some(keys), alloc.namespace.as_str())
            }
            Subject::Deployment(deployment) => {
                let keys = vec![deployment.job_id.to_string()];
                ("Deployment", deployment.id.to_string(), Some(keys), deployment.namespace.as_str())
            }
        };
        Self { topic, key, filter_keys, namespace: namespace.to_owned() }
    }
}

/// The events of one log entry.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BatchView {
    /// In order.
    pub events: Vec<EventView>,
    /// The raft index of the entry.
    pub index: u64,
}

/// One event.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EventView {
    filter_keys: Option<Vec<String>>,
    index: u64,
    key: String,
    namespace: String,
    payload: Map<String, Value>,
    topic: &'static str,
    #[serde(rename = "Type")]
    kind: &'static str,
}

impl EventView {
    /// Lays an event out.
    ///
    /// # Errors
    /// The object can't be written as JSON.
    pub fn new(heading: Heading, note: &Note, index: u64) -> Result<Self, serde_json::Error> {
        let object = match &note.subject {
            Subject::Job(job) | Subject::ForgottenJob(job) => serde_json::to_value(job)?,
            Subject::Node(node) => serde_json::to_value(NodeView::from(&**node))?,
            Subject::Eval(eval) => serde_json::to_value(eval)?,
            // The job that it runs has events of its own.
            Subject::Alloc(alloc) => serde_json::to_value(AllocView::new(alloc, None)?)?,
            Subject::Deployment(deployment) => serde_json::to_value(deployment)?,
        };
        let mut payload = Map::new();
        if matches!(note.subject, Subject::ForgottenJob(_)) {
            payload.insert("Deleted".to_owned(), true.into());
        }
        payload.insert(heading.topic.to_owned(), object);
        let Heading { topic, key, filter_keys, namespace } = heading;
        Ok(Self { filter_keys, index, key, namespace, payload, topic, kind: note.kind.as_str() })
    }
}
