//! What commands do to the noun of this file: plan.

use drover_model::alloc::DesiredStatus;
use drover_model::network::PortMapping;
use drover_model::plan::{PlanStop, PlanUpdate};
use drover_model::resources::{AllocatedResources, Totals};

use super::*;

fn stop(number: u8) -> PlanStop {
    let desired_description = "alloc not needed due to job update".to_owned();
    PlanStop { alloc_id: alloc_id(number), desired_description, ..PlanStop::default() }
}

#[test]
fn a_placement_is_joined_to_its_job() {
    let mut region = Region::new();
    region.register(job("web", 1));
    region.register(job("web", 2));
    let eval_id = eval_id(1);
    let old_version = Alloc { job_create_index: 2, job_version: 0, ..alloc(2, "web") };
    let placements = vec![alloc(1, "web"), old_version];
    let events = region.plan(Plan { eval_id, job_version: 1, placements, ..Plan::default() });
    assert_eq!(alloc_changes(&events), [(alloc_id(1), true), (alloc_id(2), true)]);
    let placed = region.alloc(1);
    assert_eq!((placed.job_version, placed.job_create_index, placed.eval_id), (1, 2, Some(eval_id)));
    assert_eq!((placed.create_index, placed.modify_index, placed.alloc_modify_index), (4, 4, 4));
    assert_eq!((placed.create_time, placed.modify_time), (at(4), at(4)));
    assert_eq!(region.alloc(2).job_version, 0);
    assert_eq!(region.counts("web").starting, 2);
    assert_eq!(region.state.allocs_of_eval(eval_id).count(), 2);
    assert_eq!(region.state.allocs_of_node(node_id(1)).count(), 2);
}

#[test]
fn placements_that_name_unknown_things_are_ignored() {
    let mut region = Region::new();
    region.register(job("web", 1));
    let mut check = |plan: Plan| {
        let events = region.plan(plan);
        assert_eq!(events.changes, []);
    };
    let place = |alloc: Alloc| Plan { placements: vec![alloc], ..Plan::default() };
    check(place(alloc(1, "nope")));
    check(place(Alloc { job_version: 3, ..alloc(1, "web") }));
    check(place(Alloc { job_create_index: 1, ..alloc(1, "web") }));
    check(Plan { snapshot_index: 1, ..place(alloc(1, "web")) });
    check(Plan { stops: vec![stop(9)], ..Plan::default() });
    check(Plan { updates: vec![PlanUpdate { alloc_id: alloc_id(9), ..PlanUpdate::default() }], ..Plan::default() });
    region.place(vec![alloc(1, "web")]);
    assert_eq!(region.place(vec![alloc(1, "web")]).changes, [], "the same again");
}

#[test]
fn a_stop_says_why_and_links_its_replacement() {
    let mut region = Region::new();
    region.register(job("web", 1));
    region.place(vec![alloc(1, "web")]);
    let replacement = Alloc { previous_allocation: Some(alloc_id(1)), ..alloc(2, "web") };
    let stops = vec![PlanStop { desired_status: DesiredStatus::Stop, ..stop(1) }];
    let events = region.plan(Plan { stops, placements: vec![replacement], ..Plan::default() });
    assert!(alloc_changes(&events).contains(&(alloc_id(1), true)));
    let stopped = region.alloc(1);
    assert_eq!(stopped.desired_status, DesiredStatus::Stop);
    assert_eq!(stopped.desired_description, "alloc not needed due to job update");
    assert_eq!((stopped.next_allocation, stopped.client_status), (Some(alloc_id(2)), ClientStatus::Pending));
    assert_eq!(region.counts("web"), GroupSummary { starting: 1, ..GroupSummary::default() });
}

#[test]
fn an_alloc_is_lost_when_the_plan_says_so() {
    let check = |before: ClientStatus, expected: ClientStatus| {
        let mut region = Region::new();
        region.register(job("web", 1));
        region.place(vec![alloc(1, "web")]);
        region.report(vec![report(1, before)]);
        let lost = PlanStop { client_status: Some(ClientStatus::Lost), ..stop(1) };
        region.plan(Plan { stops: vec![lost], ..Plan::default() });
        assert_eq!(region.alloc(1).client_status, expected);
        assert_eq!(region.alloc(1).desired_status, DesiredStatus::Stop, "a stop always stops");
        let counts = region.counts("web");
        assert_eq!(counts.lost == 1, expected == ClientStatus::Lost);
        assert_eq!(counts.running + counts.starting, 0);
    };
    check(ClientStatus::Running, ClientStatus::Lost);
    check(ClientStatus::Unknown, ClientStatus::Lost);
    check(ClientStatus::Complete, ClientStatus::Complete);
    check(ClientStatus::Failed, ClientStatus::Failed);
}

#[test]
fn an_update_in_place_takes_the_version() {
    let mut region = Region::new();
    region.register(job("web", 1));
    region.place(vec![alloc(1, "web")]);
    region.register(job("web", 2));
    let mut check = |update: PlanUpdate, expected: Option<bool>| {
        let update = PlanUpdate { alloc_id: alloc_id(1), ..update };
        let events = region.plan(Plan { updates: vec![update], ..Plan::default() });
        assert_eq!(alloc_changes(&events).first().map(|change| change.1), expected);
        region.alloc(1).clone()
    };
    check(PlanUpdate { job_version: Some(5), ..PlanUpdate::default() }, None);
    let marked = check(PlanUpdate { followup_eval: Some(eval_id(3)), ..PlanUpdate::default() }, Some(false));
    assert_eq!((marked.followup_eval_id, marked.alloc_modify_index), (Some(eval_id(3)), 3));
    let update = PlanUpdate { job_version: Some(1), eval_id: Some(eval_id(2)), ..PlanUpdate::default() };
    let updated = check(update.clone(), Some(true));
    assert_eq!((updated.job_version, updated.eval_id, updated.alloc_modify_index), (1, Some(eval_id(2)), 7));
    check(update, None);
    assert_eq!(region.state.allocs_of_eval(eval_id(2)).count(), 1);
}

fn given(cpu_mhz: i64, port: Option<i32>) -> Arc<AllocatedResources> {
    let mut given = AllocatedResources::default();
    given.tasks.get_or_default("t".to_owned()).cpu.mhz = cpu_mhz;
    given.shared.ports = port.map(|value| PortMapping { value, ..PortMapping::default() }).into_iter().collect();
    Arc::new(given)
}

#[test]
fn what_allocs_say_alike_is_there_once() {
    let mut region = Region::new();
    region.register(job("web", 4));
    let with = |number, cpu_mhz| Alloc {
        allocated_resources: given(cpu_mhz, None),
        node_name: "n1".into(),
        ..alloc(number, "web")
    };
    region.place(vec![with(1, 100), with(2, 100), with(3, 200)]);
    region.place(vec![with(4, 100)]);
    let shares = |a: u8, b: u8| Arc::ptr_eq(&region.alloc(a).allocated_resources, &region.alloc(b).allocated_resources);
    assert_eq!([shares(1, 2), shares(1, 3), shares(1, 4)], [true, false, true]);
    let name = |number: u8| region.alloc(number).node_name.as_str().as_ptr();
    assert!([2, 3, 4].into_iter().all(|number| name(number) == name(1)));
    // An image says it once, and who reads it has it once.
    let read = State::decode(&region.state.encode()).unwrap();
    let read = |number: u8| read.alloc(alloc_id(number)).unwrap().allocated_resources.clone();
    assert!(Arc::ptr_eq(&read(1), &read(2)) && Arc::ptr_eq(&read(1), &read(4)));
    assert_eq!(read(3).totals().cpu_mhz, 200);
}

#[test]
fn a_node_bears_what_may_run_on_it() {
    let mut region = Region::new();
    region.register(job("web", 2));
    let with = |number, port| Alloc { allocated_resources: given(100, port), ..alloc(number, "web") };
    region.place(vec![with(1, None), with(2, Some(80))]);
    let load = |region: &Region| {
        let load = region.state.load_of_node(node_id(1)).cloned().unwrap_or_default();
        let holders = region.state.holders_on_node(node_id(1)).count();
        (load.totals(), load.allocs(), holders, load.freed_index())
    };
    let cpu = |cpu_mhz| Totals { cpu_mhz, ..Totals::default() };
    assert_eq!(load(&region), (cpu(200), 2, 1, 0));
    region.report(vec![report(1, ClientStatus::Running)]);
    region.plan(Plan { stops: vec![stop(2)], ..Plan::default() });
    assert_eq!(load(&region), (cpu(200), 2, 1, 0), "what shall stop runs until it has");
    region.report(vec![report(2, ClientStatus::Complete)]);
    assert_eq!(load(&region), (cpu(100), 1, 0, region.index));
    region.report(vec![report(1, ClientStatus::Failed)]);
    assert_eq!(load(&region), (cpu(0), 0, 0, region.index));
    let ended = vec![alloc_id(1), alloc_id(2)];
    let collect = Command::Collect { evals: vec![], allocs: ended, deployments: vec![], jobs: vec![], nodes: vec![] };
    region.run(collect);
    assert!(region.state.load_of_node(node_id(1)).is_none());
}
