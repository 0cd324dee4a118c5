//! Jobs that launch others: by the clock (`periodic`), or when they are dispatched (`parameterized`).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::id::{JobId, JobKey};
use crate::job::{Job, JobStatus};
use crate::time::Timestamp;

/// When a job launches by the clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Periodic<'a> {
    /// It does at all.
    pub is_enabled: bool,
    /// The cron expressions.
    pub specs: Vec<&'a str>,
    /// The name of the zone of their times.
    pub time_zone: &'a str,
    /// Nothing is launched while an earlier launch has not ended.
    pub prohibit_overlap: bool,
}

/// What a dispatch must and may bring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameterized<'a> {
    /// The payload.
    pub payload: Payload,
    /// Metadata that it must bring.
    pub meta_required: Vec<&'a str>,
    /// Metadata that it may bring.
    pub meta_optional: Vec<&'a str>,
}

/// Whether a dispatch brings a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// It may.
    Optional,
    /// It must.
    Required,
    /// It must not.
    Forbidden,
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn texts<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    value.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

impl Job {
    /// It only launches others and has no allocs itself.
    pub fn is_parent(&self) -> bool {
        self.periodic.is_some() || (self.parameterized_job.is_some() && !self.dispatched)
    }

    /// When it launches by the clock; none for a job that does not.
    pub fn periodic_launches(&self) -> Option<Periodic<'_>> {
        let periodic = self.periodic.as_ref()?;
        let flag = |key: &str| periodic.get(key).and_then(Value::as_bool).unwrap_or(false);
        let mut specs = texts(periodic, "Specs");
        specs.extend(Some(text(periodic, "Spec")).filter(|spec| !spec.is_empty()));
        let time_zone = Some(text(periodic, "TimeZone")).filter(|zone| !zone.is_empty()).unwrap_or("UTC");
        Some(Periodic { is_enabled: flag("Enabled"), specs, time_zone, prohibit_overlap: flag("ProhibitOverlap") })
    }

    /// What a dispatch must and may bring; none for a job that is not dispatched.
    pub fn dispatch_rules(&self) -> Option<Parameterized<'_>> {
        let parameterized = self.parameterized_job.as_ref().filter(|_| !self.dispatched)?;
        let payload = match text(parameterized, "Payload") {
            "required" => Payload::Required,
            "forbidden" => Payload::Forbidden,
            _ => Payload::Optional,
        };
        let meta = |key: &str| texts(parameterized, key);
        Some(Parameterized { payload, meta_required: meta("MetaRequired"), meta_optional: meta("MetaOptional") })
    }

    /// The job that a launch at that time makes: `<id>/periodic-<unix seconds>`.
    pub fn periodic_child(&self, at: Timestamp) -> Job {
        Job { periodic: None, ..self.child(format!("{}/periodic-{}", self.id, at.seconds()), at) }
    }

    /// The job that a dispatch makes; `meta` is laid over its own.
    pub fn dispatched_child(&self, id: String, meta: BTreeMap<String, String>, at: Timestamp) -> Job {
        let mut child = self.child(id, at);
        child.meta.extend(meta);
        Job { dispatched: true, ..child }
    }

    fn child(&self, id: String, at: Timestamp) -> Job {
        Job {
            name: id.clone(),
            id: JobId::from(id),
            parent_id: self.id.to_string(),
            status: JobStatus::Pending,
            status_description: String::new(),
            stable: false,
            version: 0,
            version_tag: None,
            submit_time: at,
            create_index: 0,
            modify_index: 0,
            job_modify_index: 0,
            ..self.clone()
        }
    }

    /// The job that launched it.
    pub fn parent_key(&self) -> Option<JobKey> {
        let is_child = !self.parent_id.is_empty();
        is_child.then(|| JobKey { namespace: self.namespace.clone(), id: JobId::from(self.parent_id.as_str()) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_read_from_either_form() {
        let periodic = json!({ "Enabled": true, "Spec": "@daily", "Specs": ["1 * * * *"], "ProhibitOverlap": true });
        let job = Job { periodic: Some(periodic), ..Job::default() };
        let found = job.periodic_launches().unwrap();
        assert_eq!((found.specs, found.time_zone), (vec!["1 * * * *", "@daily"], "UTC"));
        assert!(found.is_enabled && found.prohibit_overlap && job.is_parent());
        let parameterized = json!({ "Payload": "required", "MetaRequired": ["a"], "MetaOptional": null });
        let job = Job { parameterized_job: Some(parameterized), ..Job::default() };
        let found = job.dispatch_rules().unwrap();
        assert_eq!((found.payload, found.meta_required, found.meta_optional), (Payload::Required, vec!["a"], vec![]));
        assert!(job.is_parent() && !Job { dispatched: true, ..job }.is_parent());
    }

    #[test]
    fn children_name_their_parent() {
        let meta = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "1".to_owned())]);
        let parent =
            Job { id: "per".into(), version: 3, stable: true, meta, periodic: Some(json!({})), ..Job::default() };
        let at = Timestamp(1_795_280_000_500_000_000);
        let child = parent.periodic_child(at);
        assert_eq!((child.id.as_str(), child.name.as_str()), ("per/periodic-1795280000", "per/periodic-1795280000"));
        assert_eq!((child.parent_id.as_str(), child.version, child.stable), ("per", 0, false));
        assert!(child.periodic.is_none() && !child.dispatched);
        let child = parent.dispatched_child("per/x".to_owned(), BTreeMap::from([("b".to_owned(), "2".to_owned())]), at);
        assert_eq!((child.meta["a"].as_str(), child.meta["b"].as_str(), child.dispatched), ("1", "2", true));
        assert_eq!(child.parent_key(), Some(parent.key()));
    }
}
