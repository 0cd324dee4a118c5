//! Something that happened to a task.

use serde::{Deserialize, Serialize, Serializer};

use crate::small_map::SmallMap;
use crate::text::Text;
use crate::time::Timestamp;

/// Something that happened to a task. Which of the fields have a meaning follows from the kind. A region keeps several of these
/// for each alloc, so what few of them have lies apart; to the API and the log it is one flat object.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Flat<Text, SmallMap<Text, Text>>")]
pub struct TaskEvent {
    /// `Received`, `Task Setup`, `Started`, `Terminated` …
    pub kind: Text,
    /// When.
    pub time: Timestamp,
    /// The sentence that people read.
    pub display_message: Text,
    /// The facts of it by name.
    pub details: SmallMap<Text, Text>,
    /// A message of the driver or hook.
    pub message: Text,
    /// The task has failed by it.
    pub fails_task: bool,
    /// What most events have nothing of; made by [`EventRest::kept`].
    pub rest: Option<Box<EventRest>>,
}

/// What most events have nothing of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventRest {
    /// Why it is started again.
    pub restart_reason: Text,
    /// Why it could not be set up.
    pub setup_error: Text,
    /// Why the driver could not start it.
    pub driver_error: Text,
    /// What the driver said.
    pub driver_message: Text,
    /// The exit code.
    pub exit_code: i64,
    /// The signal that ended it.
    pub signal: i64,
    /// Why it is ended.
    pub kill_reason: Text,
    /// Nanoseconds it has to end.
    pub kill_timeout: i64,
    /// Why it could not be ended.
    pub kill_error: Text,
    /// Nanoseconds until it is started again.
    pub start_delay: i64,
    /// Why an artifact could not be fetched.
    pub download_error: Text,
    /// Why its settings are wrong.
    pub validation_error: Text,
    /// Bytes allowed.
    pub disk_limit: i64,
    /// Which task failed beside it.
    pub failed_sibling: Text,
    /// What Vault said.
    pub vault_error: Text,
    /// Why it was signalled.
    pub task_signal_reason: Text,
    /// With what.
    pub task_signal: Text,
    /// Who else made this event.
    pub generic_source: Text,
}

static NOTHING: EventRest = EventRest {
    restart_reason: Text::EMPTY,
    setup_error: Text::EMPTY,
    driver_error: Text::EMPTY,
    driver_message: Text::EMPTY,
    exit_code: 0,
    signal: 0,
    kill_reason: Text::EMPTY,
    kill_timeout: 0,
    kill_error: Text::EMPTY,
    start_delay: 0,
    download_error: Text::EMPTY,
    validation_error: Text::EMPTY,
    disk_limit: 0,
    failed_sibling: Text::EMPTY,
    vault_error: Text::EMPTY,
    task_signal_reason: Text::EMPTY,
    task_signal: Text::EMPTY,
    generic_source: Text::EMPTY,
};

impl EventRest {
    /// To be put into an event; none where it says nothing.
    pub fn kept(self) -> Option<Box<Self>> {
        (self != NOTHING).then(|| Box::new(self))
    }
}

impl TaskEvent {
    /// What most events have nothing of.
    pub fn rest(&self) -> &EventRest {
        self.rest.as_deref().unwrap_or(&NOTHING)
    }
}

/// An event as it travels.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename = "TaskEvent", rename_all = "PascalCase")]
struct Flat<T, M> {
    #[serde(rename = "Type")]
    kind: T,
    time: Timestamp,
    display_message: T,
    details: M,
    message: T,
    fails_task: bool,
    restart_reason: T,
    setup_error: T,
    driver_error: T,
    driver_message: T,
    exit_code: i64,
    signal: i64,
    kill_reason: T,
    kill_timeout: i64,
    kill_error: T,
    start_delay: i64,
    download_error: T,
    validation_error: T,
    disk_limit: i64,
    failed_sibling: T,
    vault_error: T,
    task_signal_reason: T,
    task_signal: T,
    generic_source: T,
}

impl From<Flat<Text, SmallMap<Text, Text>>> for TaskEvent {
    fn from(flat: Flat<Text, SmallMap<Text, Text>>) -> Self {
        let Flat {
            kind,
            time,
            display_message,
            details,
            message,
            fails_task,
            restart_reason,
            setup_error,
            driver_error,
            driver_message,
            exit_code,
            signal,
            kill_reason,
            kill_timeout,
            kill_error,
            start_delay,
            download_error,
            validation_error,
            disk_limit,
            failed_sibling,
            vault_error,
            task_signal_reason,
            task_signal,
            generic_source,
        } = flat;
        let rest = EventRest {
            restart_reason,
            setup_error,
            driver_error,
            driver_message,
            exit_code,
            signal,
            kill_reason,
            kill_timeout,
            kill_error,
            start_delay,
            download_error,
            validation_error,
            disk_limit,
            failed_sibling,
            vault_error,
            task_signal_reason,
            task_signal,
            generic_source,
        };
        Self { kind, time, display_message, details, message, fails_task, rest: rest.kept() }
    }
}

impl Serialize for TaskEvent {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let rest = self.rest();
        let flat = Flat {
            kind: &self.kind,
            time: self.time,
            display_message: &self.display_message,
            details: &self.details,
            message: &self.message,
            fails_task: self.fails_task,
            restart_reason: &rest.restart_reason,
            setup_error: &rest.setup_error,
            driver_error: &rest.driver_error,
            driver_message: &rest.driver_message,
            exit_code: rest.exit_code,
            signal: rest.signal,
            kill_reason: &rest.kill_reason,
            kill_timeout: rest.kill_timeout,
            kill_error: &rest.kill_error,
            start_delay: rest.start_delay,
            download_error: &rest.download_error,
            validation_error: &rest.validation_error,
            disk_limit: rest.disk_limit,
            failed_sibling: &rest.failed_sibling,
            vault_error: &rest.vault_error,
            task_signal_reason: &rest.task_signal_reason,
            task_signal: &rest.task_signal,
            generic_source: &rest.generic_source,
        };
        flat.serialize(s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_apart_travels_with_the_others() {
        let plain = TaskEvent { kind: "Started".into(), time: Timestamp(1), ..TaskEvent::default() };
        let rest = EventRest { exit_code: 3, driver_error: "no".into(), ..EventRest::default() };
        let ended = TaskEvent { kind: "Terminated".into(), rest: rest.kept(), ..plain.clone() };
        for event in [&plain, &ended] {
            let json = serde_json::to_value(event).unwrap();
            assert_eq!(json.as_object().map(serde_json::Map::len), Some(24));
            assert_eq!(&serde_json::from_value::<TaskEvent>(json).unwrap(), event);
        }
        let json = serde_json::to_value(&ended).unwrap();
        assert_eq!(
            (&json["ExitCode"], &json["DriverError"], &json["Type"]),
            (&3.into(), &"no".into(), &"Terminated".into())
        );
        assert_eq!((plain.rest().exit_code, ended.rest().exit_code), (0, 3));
        assert!(plain.rest.is_none() && EventRest::default().kept().is_none());
        let old: TaskEvent = serde_json::from_str(r#"{"Type":"Driver","DriverMessage":"pulls"}"#).unwrap();
        assert_eq!(old.rest().driver_message, "pulls");
    }
}
