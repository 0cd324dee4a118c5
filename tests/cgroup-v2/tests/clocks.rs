//! The clock of a machine is set, by minutes and by days, ahead and back, under three servers and an edge: every acknowledged write is
//! read back from each server, nothing hangs, the edge's task runs on, and whoever starts while the clock is wrong finds its place.
//!
//! That is no thing to do to a machine that others use, so it is one of its own. It is emulated, and a debug build is slow there: one
//! server alone is what the gate has time for. Three, of a release build:
//! `DROVER_CLOCK_SERVERS=3 DROVER_BINARIES=$PWD/target/<target>/release cargo test -p drover-cgroup-v2 --test clocks`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use drover_cgroup_v2::machine;
use drover_cgroup_v2::parts::{Parts, stripped};
use drover_harness::binaries::binary;
use drover_harness::dice::size;

/// The longest a run may take: many times what it takes on two cores.
const DEADLINE: Duration = Duration::from_secs(840);

/// One server. They are slow here, so their times are longer.
const SERVER: &str = r#"
name      = "sN"
data_dir  = "/var/lib/sN"
bind_addr = "127.0.0.1"
ports {
  http = 46N0
  rpc  = 46N1
  serf = 46N2
}
server {
  enabled          = true
  bootstrap_expect = COUNT
  raft_multiplier  = 5
  server_join {
    retry_join = [GOSSIP]
  }
}
"#;

const CLIENT: &str = r#"
name     = "edge"
data_dir = "/var/lib/edge"
client {
  enabled           = true
  servers           = [RPC]
  network_interface = "lo"
}
plugin "raw_exec" {
  config {
    enabled = true
  }
}
"#;

/// What the machine does. `all` are the numbers of its servers, `last` is the last of them.
const SCRIPT: &str = r#"
fail() {
    echo "case: failed: $*"
    for name in $(ls /var/log); do echo "-- $name:"; tail -n 20 /var/log/$name; done
    exit 1
}
soon() {
    what=$1; shift; begun=$(cut -d. -f1 /proc/uptime)
    until "$@"; do
        [ $(($(cut -d. -f1 /proc/uptime) - begun)) -lt 400 ] || fail "waited too long until $what"
        sleep 0.2
    done
}
says() { echo "case: $* at $(cut -d' ' -f1 /proc/uptime)"; }
get() { timeout 10 wget -q -O- "http://127.0.0.1:46${1}0/v1/$2" 2>/dev/null; }
job() {
    echo '{"Job":{"ID":"'$1'","Name":"'$1'","Type":"service","Datacenters":["*"],"TaskGroups":[{"Name":"g","Count":'$2',"EphemeralDisk":{"SizeMB":20},
        "Tasks":[{"Name":"'$1'","Driver":"raw_exec","Config":{"command":"/bin/sh","args":["-c",
        "n=0; while :; do echo line $n; n=$((n+1)); sleep 0.2; done"]},"LogConfig":{"MaxFiles":1,"MaxFileSizeMB":2},"Resources":{"CPU":20,"MemoryMB":16}}]}]}}'
}
register() { timeout 10 wget -q -O /dev/null --post-data="$(job $2 $3)" "http://127.0.0.1:46${1}0/v1/jobs" 2>/dev/null; }
start() {
    case $1 in
    edge) drover-edge agent -config /etc/edge.hcl >>/var/log/edge 2>&1 & ;;
    *) drover agent -config /etc/$1.hcl >>/var/log/$1 2>&1 & ;;
    esac
    echo $! >/run/$1.pid
}
has_leader() { get $1 status/leader | grep -q :; }
votes() { [ $(get $1 operator/raft/configuration | grep -o '"Voter":true' | wc -l) = $last ]; }
is_ready() { get $last nodes | grep -q '"Status":"ready"'; }
is_formed() { votes 1; }
count() { cat /acked/* 2>/dev/null | wc -l; }
are_more() { [ $(count) -ge $1 ]; }
running() { get $last "job/$1/allocations" | grep -o '"ClientStatus":"[a-z]*"'; }
runs() { [ "$(running $1)" = '"ClientStatus":"running"' ]; }
has_all() {
    get $1 'jobs?prefix=w' | grep -o '"ID":"w[^"]*"' | cut -d'"' -f4 | sort -u >/run/found
    cat /acked/* | sort -u >/run/wanted
    [ -z "$(comm -23 /run/wanted /run/found)" ]
}
write() {
    n=0
    while [ ! -e /run/stop ]; do
        n=$((n + 1)); id=w$1-$n
        # What was not acknowledged may be there or not.
        register $1 $id 0 && echo $id >>/acked/$1
        sleep 0.1
    done
}
task() { for pid in $(cat /sys/fs/cgroup/drover/*/*.steady/cgroup.procs); do echo $pid $(cut -d' ' -f22 /proc/$pid/stat); done | sort -n | head -n 1; }
lines() { cat /var/lib/edge/alloc/*/alloc/logs/steady.stdout.0; }
goes_on() { [ $(lines | wc -l) -gt $1 ]; }
whole() {
    soon "there are more writes after $1" are_more $(($(count) + more))
    soon "the node is ready after $1" is_ready
    # A second alloc in the place of the first would never be taken for it.
    soon "its alloc runs after $1" runs steady
    [ "$(task)" = "$task" ] || fail "the task was $task, is $(task) after $1"
    soon "the task goes on after $1" goes_on $(lines | wc -l)
    says "all goes on after $1, $(count) writes"
}
again() {
    kill -9 $(cat /run/$1.pid); start $1
}
# A server and the edge, which need certificates that count now; every one of them dials.
begin_again() {
    again s$1
    soon "server $1 leads or follows $2" has_leader $1
    soon "server $1 votes $2" votes $1
    again edge
    soon "a new job is registered $2" register 1 late-$3 1
    soon "it runs $2" runs late-$3
    soon "it is stopped $2" register 1 late-$3 0
    soon "server $1 has all $2" has_all $1
    whole "a start $2"
}
jump() {
    date -s "@$(($(date +%s) + $1))" >/dev/null || fail "the clock can not be set"
    says "the clock is at $(date -u +%Y-%m-%dT%H:%M:%S)"
}

ip link set lo up 2>/dev/null || ifconfig lo 127.0.0.1 up
mkdir -p /acked
for number in $all; do start s$number; done
start edge
for number in $all; do soon "there is a leader of $number" has_leader $number; done
soon "all vote" is_formed
soon "the node is ready" is_ready
soon "a job is registered" register 1 steady 1
soon "its alloc runs" runs steady
soon "its task writes" goes_on 2
task=$(task)
[ -n "$task" ] || fail "no task"
says "servers $all and an edge"
for number in $(echo 1 $last | tr ' ' '\n' | sort -u); do write $number & done
soon "there are writes" are_more 4

minute=60; day=86400
# One server alone has little time: what follows shows the same.
more=3; [ $last = 1 ] || more=6
each() { [ $last = 1 ] || whole "$1"; }
jump $((10 * minute));            whole "ten minutes ahead"
jump $((-20 * minute));           each "ten minutes back"
jump $((10 * minute + 10 * day)); each "ten days ahead"
begin_again 1 "ten days ahead" 1
jump $((-10 * day));              each "the way back"
jump $((-30 * day));              whole "thirty days back"
begin_again $last "before the region was made" 2
jump $((30 * day));               whole "the right time"

touch /run/stop
for number in $all; do soon "server $number has all" has_all $number; done
grep -h 'panicked' /var/log/s* /var/log/edge && fail "a panic"
lines | awk '$1 != "line" || $2 != NR - 1 { bad = 1 } END { exit bad }' || fail "lines of the task"
says "$(count) acknowledged writes are there"
echo "case: terms $(grep -h 'leadership acquired' /var/log/s* | wc -l), clock set heard $(grep -h 'clock was set' /var/log/s* | wc -l)"
kill -9 $(cat /run/*.pid)
exit 0
"#;

/// Heard also when the test passes: the harness keeps what is printed, not what is written.
fn say(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = writeln!(err, "clocks: {text}");
}

#[test]
fn nothing_is_lost_and_nothing_hangs_when_the_clock_is_set() {
    let built = binary("drover");
    let target = built.ancestors().nth(2).expect("binaries are in <target>/<profile>");
    let parts = match Parts::find(target) {
        Ok(parts) => parts,
        Err(reason) => return say(&format!("skipped: {reason}")),
    };
    let mut guest = parts.guest().unwrap();
    let binaries = std::env::var_os("DROVER_BINARIES").map(PathBuf::from);
    for name in ["drover", "drover-edge"] {
        let program = binaries.as_ref().map_or_else(|| binary(name), |dir| dir.join(name));
        guest.file(&format!("usr/bin/{name}"), 0o755, stripped(&program).unwrap());
    }
    let servers = size("DROVER_CLOCK_SERVERS", 1);
    let list = |port: &str| {
        let addresses = (1..=servers).map(|number| format!("\"127.0.0.1:46{number}{port}\""));
        addresses.collect::<Vec<_>>().join(", ")
    };
    for number in 1..=servers {
        let config = SERVER.replace("GOSSIP", &list("2")).replace("COUNT", &servers.to_string());
        guest.file(&format!("etc/s{number}.hcl"), 0o644, config.replace('N', &number.to_string()));
    }
    guest.file("etc/edge.hcl", 0o644, CLIENT.replace("RPC", &list("1")));
    guest.directory("var/log");
    let numbers: Vec<String> = (1..=servers).map(|number| number.to_string()).collect();
    let script = format!("all='{}' last={servers}\n{SCRIPT}", numbers.join(" "));
    let run = machine::boot(&parts, &guest, &script, DEADLINE).unwrap();
    let console = run.console.join("\n");
    assert_eq!(run.end.as_deref(), Some("0"), "after {:?}; the console:\n{console}", run.took);
    for line in run.console.iter().filter_map(|line| line.strip_prefix("case: ")) {
        say(line);
    }
    say(&format!("{:.0} s with the machine's start", run.took.as_secs_f64()));
}
