//! What is there and should not be, and what should be and is not.

use std::process::{Command, Stdio};

use drover_supervisor::TaskState;

use crate::Case;
use crate::support::{Bed, is_alive, is_root_or_skip, until};

pub const CASES: &[Case] = &[("a_cgroup_of_no_task_ends_at_a_second_look", a_cgroup_of_no_task_ends_at_a_second_look)];

fn a_cgroup_of_no_task_ends_at_a_second_look() {
    if !is_root_or_skip("a_cgroup_of_no_task_ends_at_a_second_look") {
        return;
    }
    let bed = Bed::new();
    let task = bed.client().start_task(bed.script("kept", "sleep 1000")).unwrap();
    assert_eq!(bed.client().audit().unwrap(), drover_supervisor::Audited::default(), "all is as it should be");

    let mut stranger = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    let mut joined = 0;
    for dir in bed.cgroups() {
        let dir = dir.join("stray");
        std::fs::create_dir_all(&dir).unwrap();
        // A hierarchy that is not used may refuse.
        joined += usize::from(std::fs::write(dir.join("cgroup.procs"), stranger.id().to_string()).is_ok());
    }
    assert!(joined > 0, "{:?}", bed.cgroups());
    let first = bed.client().audit().unwrap();
    assert_eq!((first.strays, first.ended.len()), (vec!["stray".to_owned()], 0));
    assert!(is_alive(i32::try_from(stranger.id()).unwrap()), "ended without a second look");
    until("it is ended", || {
        let audited = bed.client().audit().unwrap();
        (audited.ended == ["stray"]).then_some(())
    });
    assert!(!stranger.wait().unwrap().success());
    until("its cgroup is gone", || bed.cgroups().iter().all(|dir| !dir.join("stray").exists()).then_some(()));
    assert!(is_alive(task.pid));
    assert_eq!(bed.status("kept").unwrap().state, TaskState::Running);
}
