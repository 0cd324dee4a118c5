//! Filter expressions of lists. They see the whole object that is kept, not what the list shows of it, and every field
//! of it, also those that its JSON leaves out when they are zero.

use drover_filter::Filter;
use drover_model::alloc::Alloc;
use drover_model::eval::Eval;
use drover_model::job::Job;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::problem::Problem;
use crate::query::Query;

/// The filter that a list was asked with, if any.
pub struct Asked {
    filter: Option<Filter>,
    /// How the list answers a problem with the filter.
    problem: fn(String) -> Problem,
}

impl Asked {
    /// The filter of a list.
    ///
    /// # Errors
    /// It can't be read.
    pub fn of(query: &Query) -> Result<Self, Problem> {
        Self::with(query, Problem::Invalid)
    }

    /// As [`Asked::of`], for lists that answer every problem with a filter as a failure.
    ///
    /// # Errors
    /// It can't be read.
    pub fn failing(query: &Query) -> Result<Self, Problem> {
        Self::with(query, Problem::Failed)
    }

    fn with(query: &Query, problem: fn(String) -> Problem) -> Result<Self, Problem> {
        let text = query.text("filter");
        if text.is_empty() {
            return Ok(Self { filter: None, problem });
        }
        let filter = Filter::parse(text).map_err(|error| {
            problem(format!("failed to create result paginator: failed to read filter expression: {error}"))
        })?;
        Ok(Self { filter: Some(filter), problem })
    }

    /// Whether the list is to show the object of that JSON; all are when there is no filter.
    ///
    /// # Errors
    /// The filter can't be asked of it.
    pub fn admits(&self, object: impl FnOnce(&Filter) -> Value) -> Result<bool, Problem> {
        let Some(filter) = &self.filter else { return Ok(true) };
        let answer = filter.matches(&object(filter));
        answer.map_err(|error| (self.problem)(format!("failed to read result page: {error}")))
    }
}

/// An object whose JSON has every field.
pub fn whole(object: &impl Serialize) -> Value {
    // What can't be written has no field that a filter could name.
    serde_json::to_value(object).unwrap_or_default()
}

/// An eval with every field.
pub fn whole_eval(eval: &Eval) -> Value {
    let texts = ["BlockedEval", "DeploymentID", "JobID", "LeaderACL", "Namespace", "NextEval", "NodeID"];
    let more_texts = ["PreviousEval", "QuotaLimitReached", "StatusDescription"];
    let numbers = ["CreateIndex", "CreateTime", "JobModifyIndex", "ModifyIndex", "ModifyTime", "NodeModifyIndex"];
    let more_numbers = ["Priority", "SnapshotIndex", "Wait"];
    let lists = ["ClassEligibility", "FailedTGAllocs", "PlanAnnotations", "QueuedAllocations", "RelatedEvals"];
    let mut map = zeros(&[&texts[..], &more_texts].concat(), &[&numbers[..], &more_numbers].concat(), &lists);
    for key in ["AnnotatePlan", "EscapedComputedClass"] {
        map.insert(key.to_owned(), false.into());
    }
    map.insert("WaitUntil".to_owned(), json!({}));
    completed(map, whole(eval))
}

/// An alloc with every field; `job` is the version it runs, when the filter asks for it.
pub fn whole_alloc(alloc: &Alloc, job: Option<&Job>) -> Value {
    let texts = ["ClientDescription", "DeploymentID", "DesiredDescription", "EvalID", "FollowupEvalID", "JobID"];
    let more_texts = ["Name", "Namespace", "NextAllocation", "NodeID", "NodeName", "PreemptedByAllocation"];
    let last_texts = ["PreviousAllocation", "SigningKeyID", "TaskGroup"];
    let numbers = ["AllocModifyIndex", "CreateIndex", "CreateTime", "ModifyIndex", "ModifyTime"];
    let unset = ["AllocStates", "DeploymentStatus", "NetworkStatus", "PreemptedAllocations", "RescheduleTracker"];
    let mut map = zeros(&[&texts[..], &more_texts, &last_texts].concat(), &numbers, &unset);
    let fresh = Alloc::default();
    map.insert("AllocatedResources".to_owned(), whole(&fresh.allocated_resources));
    map.insert("DesiredTransition".to_owned(), whole(&fresh.desired_transition));
    map.insert("Metrics".to_owned(), whole(&fresh.metrics));
    map.insert("TaskStates".to_owned(), Value::Null);
    map.insert("Job".to_owned(), job.map(whole).unwrap_or_default());
    let mut value = completed(map, whole(alloc));
    if let Value::Object(map) = &mut value {
        // These two are told by the job.
        map.remove("JobVersion");
        map.remove("JobCreateIndex");
    }
    value
}

fn zeros(texts: &[&str], numbers: &[&str], unset: &[&str]) -> Map<String, Value> {
    let texts = texts.iter().map(|key| ((*key).to_owned(), Value::from("")));
    let numbers = numbers.iter().map(|key| ((*key).to_owned(), Value::from(0)));
    let unset = unset.iter().map(|key| ((*key).to_owned(), Value::Null));
    texts.chain(numbers).chain(unset).collect()
}

fn completed(mut zeros: Map<String, Value>, value: Value) -> Value {
    if let Value::Object(map) = value {
        zeros.extend(map);
    }
    Value::Object(zeros)
}

#[cfg(test)]
mod tests {
    use drover_model::EvalId;

    use super::*;

    fn asked(text: &str) -> Result<Asked, Problem> {
        Asked::of(&Query::parse(Some(&format!("filter={text}"))))
    }

    #[test]
    fn what_the_json_leaves_out_can_be_asked_for() {
        let eval = Eval { id: EvalId::from_random([1; 16]), ..Eval::default() };
        let admits = |text: &str| asked(text).unwrap().admits(|_| whole_eval(&eval));
        for text in ["BlockedEval+is+empty", "Wait==0", "FailedTGAllocs+is+nil", "Status==pending"] {
            assert_eq!(admits(text), Ok(true), "{text}");
        }
        let nope = "failed to read result page: error finding value in datum: /Job/Type at part 0: couldn't find key: struct field with name \"Job\"";
        assert_eq!(admits("Job.Type==x"), Err(Problem::Invalid(nope.to_owned())));

        let (alloc, job) = (Alloc::default(), Job::default());
        let admits = |text: &str| asked(text).unwrap().admits(|_| whole_alloc(&alloc, Some(&job)));
        for text in
            ["Job.Type==service", "Metrics.NodesEvaluated==0", "RescheduleTracker+is+nil", "Job.Meta.x+is+empty"]
        {
            assert_eq!(admits(text), Ok(true), "{text}");
        }
        assert!(admits("JobVersion==0").is_err());
    }

    #[test]
    fn a_wrong_expression_is_told_by_its_place() {
        let text = "failed to create result paginator: failed to read filter expression: 1:4 (3): no match found, expected: \"!=\", \".\", \"==\", \"[\", [ \\t\\r\\n] or [a-zA-Z0-9_/]";
        assert_eq!(asked("Sta").err(), Some(Problem::Invalid(text.to_owned())));
        assert_eq!(asked("").unwrap().admits(|_| Value::Null), Ok(true));
    }
}
