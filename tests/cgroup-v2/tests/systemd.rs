//! The units of `deploy/` under a service manager as the first process: a restart, a stop or a death of the agent touches no task.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use drover_cgroup_v2::machine;
use drover_cgroup_v2::parts::{Parts, stripped};
use drover_harness::binaries::binary;

/// The longest a run may take: many times what it takes on two cores.
const DEADLINE: Duration = Duration::from_secs(840);

/// Where systemd keeps what is the unit's.
const UNIT: &str = "/sys/fs/cgroup/system.slice/drover-edge.service";

const CLIENT: &str = r#"
name       = "edge"
data_dir   = "/var/lib/edge"
client {
  enabled           = true
  servers           = ["127.0.0.1"]
  network_interface = "lo"
}
plugin "raw_exec" {
  config {
    enabled = true
  }
}
"#;

const SERVER: &str = r#"
name      = "server"
data_dir  = "/var/lib/server"
bind_addr = "127.0.0.1"
server {
  enabled          = true
  bootstrap_expect = 1
}
"#;

const JOB: &str = r#"
job "count" {
  group "all" {
    restart {
      attempts = 0
      mode     = "fail"
    }
    reschedule {
      attempts  = 0
      unlimited = false
    }
    task "raw" {
      driver = "raw_exec"
      config {
        command = "/bin/sh"
        args    = ["-c", "n=0; while :; do echo line $n; n=$((n+1)); sleep 0.05; done"]
      }
      resources {
        cpu    = 50
        memory = 32
      }
    }
    task "contained" {
      driver = "exec"
      config {
        command = "/bin/sh"
        args    = ["-c", "n=0; while :; do echo line $n; n=$((n+1)); sleep 0.05; done"]
      }
      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
"#;

/// What the machine does. `HOME` is the part of the tree where the tasks are, `LEAF` the cgroup of the agent.
const SCRIPT: &str = r#"
log=/var/log/edge
unit=drover-edge.service
fail() {
    echo "case: failed: $*"
    echo "-- agent:"; tail -n 25 $log
    echo "-- server:"; tail -n 15 /var/log/server
    echo "-- manager:"; dmesg | grep systemd | tail -n 25
    echo "-- cgroups:"; grep -r . $HOME/drover/*/*/cgroup.procs $LEAF/cgroup.procs
    exit 1
}
soon() {
    what=$1; shift; looks=0
    until "$@"; do
        looks=$((looks + 1))
        [ $looks -lt 3000 ] || fail "waited too long until $what"
        sleep 0.1
    done
}
says() { echo "case: $* at $(cut -d' ' -f1 /proc/uptime)"; }
get() { wget -q -O- "http://127.0.0.1:4646/v1/$1"; }
is_ready() { get nodes | grep -q '"Status":"ready"'; }
procs() { cat $HOME/drover/*/*.$1/cgroup.procs 2>/dev/null; }
runs() { [ -n "$(procs $1)" ]; }
identity() { for task in raw contained; do pid=$(procs $task | head -n 1); echo "$task $pid $(cut -d' ' -f22 /proc/$pid/stat)"; done; }
lines() { cat /var/lib/edge/alloc/*/alloc/logs/$1.stdout.0 2>/dev/null; }
count() { lines $1 | wc -l; }
is_over() { [ $(count $1) -gt $2 ]; }
are_whole() { lines $1 | awk '$1 != "line" || $2 != NR - 1 { bad = 1 } END { exit bad || NR == 0 }'; }
agent() { systemctl show -P MainPID $unit; }
starts() { [ $(grep -c 'agent started!' $log) -ge $1 ]; }
is_registered_again() { [ $(grep -c 'node registered' $log) -gt $registered ]; }
untouched() {
    [ "$(identity)" = "$tasks" ] || fail "$1: tasks were $tasks, are $(identity)"
    for task in raw contained; do
        are_whole $task || fail "$1: lines of $task: $(lines $task | tail -n 3)"
        soon "$task goes on after $1" is_over $task $(count $task)
    done
    says "$1"
}

systemctl start drover.service || fail "no server"
systemctl start $unit || fail "no edge"
soon "the node is ready" is_ready
says "a node is ready"
drover job run -detach /job.hcl || fail "job run"
for task in raw contained; do
    soon "$task runs" runs $task
    soon "$task writes" is_over $task 5
done
says "tasks run"
tasks=$(identity)
grep -qx $(agent) $LEAF/cgroup.procs || fail "the agent $(agent) is not in its leaf"
grep -q . $HOME/drover/*/.supervisor/cgroup.procs || fail "the supervisor is elsewhere"
[ "$LEAF" = "$OWN" ] || ! grep -q . $OWN/cgroup.procs || fail "the unit's own cgroup is not empty"
for limit in $HOME/drover/*/*.raw/memory.max $HOME/drover/*/*.contained/memory.max; do
    [ "$(cat $limit)" = 33554432 ] || fail "$limit is $(cat $limit)"
done

# Without it nobody gives the node up, however slow this machine is: the agent goes on by what it keeps.
systemctl stop drover.service || fail "stop of the server"
before=$(agent)
systemctl restart $unit || fail "restart"
soon "there is another agent" starts 2
[ "$(agent)" != "$before" ] || fail "the agent was not restarted"
untouched "a restart"

before=$(agent)
systemctl stop $unit || fail "stop"
! kill -0 $before 2>/dev/null || fail "the agent was not stopped"
untouched "a stop"
systemctl start $unit || fail "start"
soon "there is an agent again" starts 3
untouched "a start"

kill -9 $(agent)
soon "the manager starts another one" starts 4
untouched "a death"
grep -qx $(agent) $LEAF/cgroup.procs || fail "the agent $(agent) is not in its leaf"

registered=$(grep -c 'node registered' $log)
systemctl start drover.service || fail "no server again"
soon "the agent is heard again" is_registered_again
soon "the node is ready" is_ready
untouched "the server's return"
get job/count/allocations | grep -q '"ClientStatus":"running"' || fail "$(get job/count/allocations)"
get job/count/allocations | grep -q '"Restarts":[1-9]' && fail "restarts: $(get job/count/allocations)"
drover job stop -detach count >/dev/null || fail "job stop"
gone() { ! runs raw && ! runs contained; }
soon "the job's tasks have ended" gone
says "the job is stopped"
systemctl stop $unit || fail "stop at the end"
systemctl is-failed -q $unit && fail "$(systemctl status $unit)"
says "done"
exit 0
"#;

/// Heard also when the test passes: the harness keeps what is printed, not what is written.
fn say(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = writeln!(err, "systemd: {text}");
}

#[test]
fn units_restart_and_stop_without_their_tasks() {
    let program = binary("drover-edge");
    let target = program.ancestors().nth(2).expect("binaries are in <target>/<profile>");
    let found = Parts::find(target).and_then(|parts| Ok((parts.systemd()?, parts)));
    let (systemd, parts) = match found {
        Ok(found) => found,
        Err(reason) => return say(&format!("skipped: {reason}")),
    };
    let mut guest = parts.guest().unwrap();
    systemd.install(&mut guest).unwrap();
    for name in ["drover", "drover-edge"] {
        guest.file(&format!("usr/local/bin/{name}"), 0o755, stripped(&binary(name)).unwrap());
    }
    guest.link("usr/bin/drover", "../local/bin/drover");
    guest.file("etc/drover.d/client.hcl", 0o644, CLIENT);
    guest.file("etc/server.d/server.hcl", 0o644, SERVER);
    guest.file("job.hcl", 0o644, JOB);
    guest.directory("var/log");
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/systemd");
    for (name, log) in [("drover", "server"), ("drover-edge", "edge")] {
        let unit = std::fs::read(units.join(format!("{name}.service"))).unwrap();
        guest.file(&format!("etc/systemd/system/{name}.service"), 0o644, unit);
        let here = format!("[Service]\nStandardOutput=append:/var/log/{log}\nStandardError=inherit\n");
        // Both units take the same directory; here each needs one of its own.
        let start = match name {
            "drover" => "ExecStart=\nExecStart=/usr/local/bin/drover agent -config /etc/server.d\n",
            _ => "",
        };
        guest.file(&format!("etc/systemd/system/{name}.service.d/here.conf"), 0o644, format!("{here}{start}"));
    }
    // Where the manager gives no leaf, the edge has a cgroup of its own beside the slices.
    let (home, leaf) = match systemd.has_leaves() {
        true => (UNIT.to_owned(), format!("{UNIT}/agent")),
        false => ("/sys/fs/cgroup".to_owned(), UNIT.to_owned()),
    };
    let script = format!("HOME={home} LEAF={leaf} OWN={UNIT}\n{SCRIPT}");
    let run = machine::boot(&parts, &guest, &script, DEADLINE).unwrap();
    let console = run.console.join("\n");
    assert_eq!(run.end.as_deref(), Some("0"), "after {:?}; the console:\n{console}", run.took);
    say(&format!(
        "systemd {}: restart, stop, start and a death of the agent touched no task, {:.0} s with the machine's start",
        systemd.version,
        run.took.as_secs_f64()
    ));
}
