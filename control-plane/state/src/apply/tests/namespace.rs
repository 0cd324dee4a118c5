//! What commands do to the noun of this file: namespace.

use drover_model::namespace::{Capabilities, NamespaceSpec};

use super::*;
use crate::{Refusal, Table};

fn spec(name: &str) -> Box<NamespaceSpec> {
    Box::new(NamespaceSpec { name: name.into(), ..NamespaceSpec::default() })
}

fn refused(text: &str) -> Answer {
    Answer::Refused(Refusal::Conflict { reason: text.to_owned() })
}

#[test]
fn a_change_keeps_the_index_of_the_beginning() {
    let mut region = Region::default();
    let events = region.run(Command::UpsertNamespace { namespace: spec("team") }).1;
    assert_eq!(events.changes, [Change::Namespace("team".into())]);
    let changed = NamespaceSpec { description: "of the team".to_owned(), create_index: 77, ..*spec("team") };
    region.run(Command::UpsertNamespace { namespace: Box::new(changed) });
    let team = region.state.namespace(&"team".into()).unwrap();
    assert_eq!((team.create_index, team.modify_index, team.description.as_str()), (1, 2, "of the team"));
    assert_eq!(region.state.table_index(Table::Namespaces), 2);
    let names: Vec<&str> = region.state.namespaces().map(|namespace| namespace.name.as_str()).collect();
    assert_eq!(names, ["default", "team"]);
    // The built-in one may be described otherwise, and is kept so.
    let own = NamespaceSpec { description: "ours".to_owned(), ..*spec("default") };
    region.run(Command::UpsertNamespace { namespace: Box::new(own) });
    let restored = State::decode(&region.state.encode()).unwrap();
    let default = restored.namespace(&"default".into()).unwrap();
    assert_eq!((default.create_index, default.description.as_str()), (1, "ours"));
}

#[test]
fn a_namespace_goes_when_nothing_in_it_is_alive() {
    let mut region = Region::new();
    let delete = |region: &mut Region, name: &str| region.run(Command::DeleteNamespace { name: name.into() }).0;
    assert_eq!(delete(&mut region, "default"), refused("can not delete default namespace"));
    assert_eq!(delete(&mut region, "team"), Answer::Refused(Refusal::NotFound { what: "namespace".to_owned() }));

    region.run(Command::UpsertNamespace { namespace: spec("team") });
    let inside = Job { namespace: "team".into(), region: "global".to_owned(), ..job("web", 1) };
    region.register(inside);
    let in_use = "1 error occurred:\n\t* namespace \"team\" has non-terminal jobs in regions: [global]\n\n";
    assert_eq!(delete(&mut region, "team"), refused(in_use));
    let key = JobKey::new("team", "web");
    region.run(Command::DeregisterJob { key, purge: false, eval: None, at: at(9) });
    assert_eq!(delete(&mut region, "team"), Answer::Done);
    assert!(region.state.namespace(&"team".into()).is_none());
}

#[test]
fn a_registration_that_asks_for_its_namespace_is_refused_without_it() {
    let mut region = Region::new();
    let register = |region: &mut Region| {
        let mut inside = Job { namespace: "team".into(), ..job("web", 1) };
        inside.task_groups[0].tasks =
            vec![drover_model::task::Task { driver: "exec".to_owned(), ..Default::default() }];
        let register = RegisterJob { job: Arc::new(inside), needs_namespace: true, ..RegisterJob::default() };
        region.run(Command::RegisterJob(Box::new(register))).0
    };
    assert_eq!(register(&mut region), refused("job \"web\" is in nonexistent namespace \"team\""));
    let capabilities = Capabilities { disabled_task_drivers: vec!["exec".to_owned()], ..Capabilities::default() };
    let closed = NamespaceSpec { capabilities: Some(capabilities), ..*spec("team") };
    region.run(Command::UpsertNamespace { namespace: Box::new(closed) });
    assert_eq!(register(&mut region), refused("used task driver \"exec\" is not allowed in namespace \"team\""));
    region.run(Command::UpsertNamespace { namespace: spec("team") });
    assert!(matches!(register(&mut region), Answer::Job { version: 0, .. }));
}
