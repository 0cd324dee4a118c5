//! Task events in the words that people and scripts know.

use std::time::Duration;

use drover_drivers::Exit;
use drover_model::Timestamp;
use drover_model::task_state::{EventRest, TaskEvent, TaskState};
use drover_model::time::format_duration;

fn event(kind: &str, at: Timestamp, display_message: String, details: &[(&str, String)]) -> TaskEvent {
    TaskEvent {
        kind: kind.into(),
        time: at,
        display_message: display_message.into(),
        details: details.iter().map(|(key, value)| ((*key).into(), value.into())).collect(),
        ..TaskEvent::default()
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// The edge knows of the task.
pub fn received(at: Timestamp) -> TaskEvent {
    event("Received", at, "Task received by client".to_owned(), &[])
}

/// Its directory is being made.
pub fn building_directory(at: Timestamp) -> TaskEvent {
    let message = "Building Task Directory".to_owned();
    TaskEvent { message: message.as_str().into(), ..event("Task Setup", at, message.clone(), &[("message", message)]) }
}

/// Its process runs.
pub fn started(at: Timestamp) -> TaskEvent {
    event("Started", at, "Task started by client".to_owned(), &[])
}

/// Its process has ended.
pub fn terminated(at: Timestamp, exit: &Exit) -> TaskEvent {
    let mut text = format!("Exit Code: {}", exit.exit_code);
    if exit.signal != 0 {
        text.push_str(&format!(", Signal: {}", exit.signal));
    }
    let mut details = vec![
        ("exit_code", exit.exit_code.to_string()),
        ("signal", exit.signal.to_string()),
        ("oom_killed", exit.oom_killed.to_string()),
    ];
    if !exit.message.is_empty() {
        text.push_str(&format!(", Exit Message: {:?}", exit.message));
        details.push(("exit_message", exit.message.clone()));
    }
    TaskEvent {
        message: exit.message.as_str().into(),
        rest: EventRest { exit_code: exit.exit_code, signal: exit.signal, ..EventRest::default() }.kept(),
        ..event("Terminated", at, text, &details)
    }
}

/// It will be started again. `reason` stands before the wait where it is more than the policy's usual yes.
pub fn restarting(at: Timestamp, delay: Duration, reason: &str) -> TaskEvent {
    let mut text = format!("Task restarting in {}", format_duration(delay));
    if !reason.is_empty() && reason != super::restart::WITHIN_POLICY {
        text = format!("{reason} - {text}");
    }
    let details = [("restart_reason", reason.to_owned()), ("start_delay", nanos(delay).to_string())];
    let rest = EventRest { restart_reason: reason.into(), start_delay: nanos(delay), ..EventRest::default() };
    TaskEvent { rest: rest.kept(), ..event("Restarting", at, text, &details) }
}

/// It will not be started again, which fails it.
pub fn not_restarting(at: Timestamp, reason: &str) -> TaskEvent {
    let details = [("restart_reason", reason.to_owned()), ("fails_task", "true".to_owned())];
    TaskEvent {
        fails_task: true,
        rest: EventRest { restart_reason: reason.into(), ..EventRest::default() }.kept(),
        ..event("Not Restarting", at, reason.to_owned(), &details)
    }
}

/// Somebody has asked for it to start again.
pub fn restart_signaled(at: Timestamp, text: &str) -> TaskEvent {
    TaskEvent {
        rest: EventRest { restart_reason: text.into(), ..EventRest::default() }.kept(),
        ..event("Restart Signaled", at, text.to_owned(), &[("restart_reason", text.to_owned())])
    }
}

/// Somebody has a signal sent to it.
pub fn signaling(at: Timestamp, signal: &str) -> TaskEvent {
    let text = format!("Task being sent signal {signal}");
    event("Signaling", at, text, &[("signal", signal.to_owned())])
}

/// It is asked to end. `text` stands in place of the usual words where it is not empty.
pub fn killing(at: Timestamp, timeout: Duration, text: &str) -> TaskEvent {
    let text = if text.is_empty() {
        format!("Sent interrupt. Waiting {} before force killing", format_duration(timeout))
    } else {
        text.to_owned()
    };
    let details = [("kill_timeout", format_duration(timeout))];
    let rest = EventRest { kill_timeout: nanos(timeout), ..EventRest::default() };
    TaskEvent { rest: rest.kept(), ..event("Killing", at, text, &details) }
}

/// It has ended because it was asked to.
pub fn killed(at: Timestamp) -> TaskEvent {
    event("Killed", at, "Task successfully killed".to_owned(), &[])
}

/// The signal waits for the shutdown delay.
pub fn waiting_for_shutdown_delay(at: Timestamp, delay: Duration) -> TaskEvent {
    let text = format!("Waiting for shutdown_delay of {} before killing the task.", format_duration(delay));
    event("Waiting for shutdown delay", at, text, &[])
}

/// The signal does not wait for the shutdown delay: somebody wants it so.
pub fn skipping_shutdown_delay(at: Timestamp, delay: Duration) -> TaskEvent {
    let text = format!("Skipping shutdown_delay of {} before killing the task.", format_duration(delay));
    event("Skipping shutdown delay", at, text, &[])
}

/// Another task of the alloc has failed.
pub fn sibling_failed(at: Timestamp, sibling: &str) -> TaskEvent {
    TaskEvent {
        rest: EventRest { failed_sibling: sibling.into(), ..EventRest::default() }.kept(),
        ..event(
            "Sibling Task Failed",
            at,
            format!("Task's sibling {sibling:?} failed"),
            &[("failed_sibling", sibling.to_owned())],
        )
    }
}

/// The leader has ended.
pub fn leader_dead(at: Timestamp) -> TaskEvent {
    event("Leader Task Dead", at, "Leader Task in Group dead".to_owned(), &[])
}

/// All main tasks have ended.
pub fn main_tasks_dead(at: Timestamp) -> TaskEvent {
    event("Main Tasks Dead", at, "Main tasks in the group died".to_owned(), &[])
}

/// What a driver is doing before the start. It is one event, which says the newest of it.
pub fn tell_progress(state: &mut TaskState, at: Timestamp, text: &str) {
    let rest = EventRest { driver_message: text.into(), ..EventRest::default() };
    let news = TaskEvent { rest: rest.kept(), ..event("Driver", at, text.to_owned(), &[]) };
    match state.events.last_mut() {
        Some(last) if last.kind == "Driver" => *last = TaskEvent { time: last.time, ..news },
        _ => state.push_event(news),
    }
}

/// The driver could not start it.
pub fn driver_failure(at: Timestamp, error: &str) -> TaskEvent {
    TaskEvent {
        rest: EventRest { driver_error: error.into(), ..EventRest::default() }.kept(),
        ..event("Driver Failure", at, error.to_owned(), &[("driver_error", error.to_owned())])
    }
}

/// The driver did not understand its settings.
pub fn failed_validation(at: Timestamp, error: &str) -> TaskEvent {
    TaskEvent {
        rest: EventRest { validation_error: error.into(), ..EventRest::default() }.kept(),
        ..event("Failed Validation", at, error.to_owned(), &[("validation_error", error.to_owned())])
    }
}

/// Something that the task needs could not be made.
pub fn setup_failure(at: Timestamp, error: &str) -> TaskEvent {
    TaskEvent {
        fails_task: true,
        rest: EventRest { setup_error: error.into(), ..EventRest::default() }.kept(),
        ..event(
            "Setup Failure",
            at,
            error.to_owned(),
            &[("setup_error", error.to_owned()), ("fails_task", "true".to_owned())],
        )
    }
}

/// A step before the start failed.
pub fn hook_failed(at: Timestamp, message: &str) -> TaskEvent {
    TaskEvent {
        message: message.into(),
        ..event("Task hook failed", at, message.to_owned(), &[("message", message.to_owned())])
    }
}

/// Its part in its alloc not being healthy.
pub fn alloc_unhealthy(at: Timestamp, message: &str) -> TaskEvent {
    TaskEvent {
        message: message.into(),
        ..event("Alloc Unhealthy", at, message.to_owned(), &[("message", message.to_owned())])
    }
}

/// The task of an earlier life of the agent is not there any more.
pub fn failed_restoring(at: Timestamp, reason: &str) -> TaskEvent {
    TaskEvent {
        message: reason.into(),
        ..event("Failed Restoring Task", at, reason.to_owned(), &[("message", reason.to_owned())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_read_as_people_know_them() {
        let at = Timestamp(1);
        let check = |event: TaskEvent, kind: &str, text: &str, details: &[(&str, &str)]| {
            assert_eq!((event.kind.as_str(), event.display_message.as_str()), (kind, text));
            let found: Vec<(&str, &str)> =
                event.details.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            assert_eq!(found, details, "{kind}");
        };
        check(received(at), "Received", "Task received by client", &[]);
        check(
            building_directory(at),
            "Task Setup",
            "Building Task Directory",
            &[("message", "Building Task Directory")],
        );
        let exit = |exit_code, signal| Exit { exit_code, signal, ..Exit::default() };
        check(
            terminated(at, &exit(0, 0)),
            "Terminated",
            "Exit Code: 0",
            &[("exit_code", "0"), ("oom_killed", "false"), ("signal", "0")],
        );
        check(
            terminated(at, &exit(130, 2)),
            "Terminated",
            "Exit Code: 130, Signal: 2",
            &[("exit_code", "130"), ("oom_killed", "false"), ("signal", "2")],
        );
        check(
            restarting(at, Duration::from_nanos(1_026_014_332), "Restart within policy"),
            "Restarting",
            "Task restarting in 1.026014332s",
            &[("restart_reason", "Restart within policy"), ("start_delay", "1026014332")],
        );
        check(
            killing(at, Duration::from_secs(5), ""),
            "Killing",
            "Sent interrupt. Waiting 5s before force killing",
            &[("kill_timeout", "5s")],
        );
        check(killed(at), "Killed", "Task successfully killed", &[]);
        check(
            sibling_failed(at, "bad"),
            "Sibling Task Failed",
            "Task's sibling \"bad\" failed",
            &[("failed_sibling", "bad")],
        );
        check(leader_dead(at), "Leader Task Dead", "Leader Task in Group dead", &[]);
        check(main_tasks_dead(at), "Main Tasks Dead", "Main tasks in the group died", &[]);
        check(
            waiting_for_shutdown_delay(at, Duration::from_secs(2)),
            "Waiting for shutdown delay",
            "Waiting for shutdown_delay of 2s before killing the task.",
            &[],
        );
    }
}
