//! The settings of the scheduler.

use super::*;
use crate::command::Refusal;
use crate::scheduler_config::{SchedulerAlgorithm, SchedulerConfig};
use crate::state::Table;

fn set(algorithm: SchedulerAlgorithm, cas: Option<u64>) -> Command {
    Command::SetSchedulerConfig { config: Box::new(SchedulerConfig { algorithm, ..Default::default() }), cas }
}

#[test]
fn settings_are_set_whole_and_kept() {
    let mut state = State::default();
    assert_eq!(state.scheduler_config(), &SchedulerConfig::default());
    let (answer, events) = apply(&mut state, 4, set(SchedulerAlgorithm::Spread, Some(0)));
    assert_eq!((answer, events.changes), (Answer::Done, vec![Change::SchedulerConfig]));
    let (answer, events) = apply(&mut state, 5, set(SchedulerAlgorithm::Binpack, Some(3)));
    assert!(matches!(answer, Answer::Refused(Refusal::Conflict { .. })) && events.changes.is_empty());
    assert_eq!(state.scheduler_config().algorithm, SchedulerAlgorithm::Spread);
    apply(&mut state, 6, set(SchedulerAlgorithm::Binpack, Some(4)));
    let config = state.scheduler_config().clone();
    assert_eq!((config.algorithm, config.create_index, config.modify_index), (SchedulerAlgorithm::Binpack, 4, 6));
    assert_eq!(State::decode(&state.encode()).unwrap().scheduler_config(), &config);
    assert_eq!(state.table_index(Table::SchedulerConfig), 6);
}
