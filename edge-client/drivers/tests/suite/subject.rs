//! What the suite has to know of a driver to put it through the cases.

use std::path::Path;
use std::time::Duration;

use drover_drivers::{DriverSettings, TaskStart};

/// What a task of the suite does. Each driver says it in its own way, mostly as a shell script.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    /// Says `hello`, and `aside` on the error output where there is one, and ends with 0.
    Hello,
    /// Ends with this code.
    EndWith(u8),
    /// Says `ready`, then runs until it is ended; asked to end (by the driver's usual way), says `bye` and ends by itself.
    Wait,
    /// Says `ready`, then runs on whatever it is asked.
    Ignore,
    /// Says `ready`, then writes `line <n>` with n rising from 0, a few a second, until it is ended.
    Count,
    /// Takes more and more memory.
    Hog,
    /// Says what it can reach of the host: one line per thing, `reached: <what>`; then `probed`.
    Probe,
}

/// A driver under test.
pub trait Subject: Sync + std::panic::RefUnwindSafe {
    /// The word after `driver =`.
    fn driver(&self) -> &'static str;

    /// Why it can't be tried here.
    fn available(&self) -> Result<(), String>;

    /// It is not there for a plain user.
    fn needs_root(&self) -> bool {
        false
    }

    /// What the operator says about it; `dir` is the case's own directory.
    fn settings(&self, dir: &Path) -> DriverSettings;

    /// Makes the task do that: sets `config` and whatever else is needed. None when the driver's tasks can't.
    fn prepare(&self, deed: Deed, start: &mut TaskStart) -> Option<()>;

    /// The exit that an end by [`Deed::EndWith`] is told as.
    fn exit_code(&self, code: u8) -> i64 {
        i64::from(code)
    }

    /// Commands can be run inside its tasks.
    fn has_exec(&self) -> bool {
        true
    }

    /// Its tasks see a root of their own.
    fn is_isolated(&self) -> bool;

    /// How a task is asked to end.
    fn stop_signal(&self) -> i32 {
        15
    }

    /// The longest its tasks may take until they have said something.
    fn patience(&self) -> Duration {
        Duration::from_secs(120)
    }
}

/// The shell scripts of the deeds, for drivers that run a shell.
pub fn script(deed: Deed) -> String {
    match deed {
        Deed::Hello => "echo hello; echo aside >&2".to_owned(),
        Deed::EndWith(code) => format!("exit {code}"),
        Deed::Wait => "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.02; done".to_owned(),
        Deed::Ignore => "trap '' TERM INT; echo ready; while :; do sleep 0.02; done".to_owned(),
        Deed::Count => "echo ready; n=0; while :; do echo line $n; n=$((n+1)); sleep 0.01; done".to_owned(),
        Deed::Hog => "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done".to_owned(),
        Deed::Probe => PROBE.to_owned(),
    }
}

/// `PRIVATE` is a file of the host that the task must not see, `AGENT` a socket of it, `SIBLING` another task's secret.
const PROBE: &str = r#"
for file in "$PRIVATE" "$AGENT" "$SIBLING" "/proc/1/root$PRIVATE" "/proc/self/root$PRIVATE" "../../../../../..$PRIVATE"; do
    test -e "$file" && echo "reached: $file"
done
for dir in /sys/fs/cgroup/memory /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*; do
    test -w "$dir" && echo "reached: $dir"
done
for file in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/vm/drop_caches /sys/kernel/uevent_helper; do
    ( : >>"$file" ) 2>/dev/null && echo "reached: $file"
done
for file in /proc/kcore /proc/keys /proc/timer_list /sys/firmware/dmi; do
    test -r "$file" && test -s "$file" && test -n "$(head -c 1 "$file" 2>/dev/null | tr '\0' x)" && echo "reached: $file"
done
for fd in /proc/self/fd/*; do
    case "${fd##*/}" in 0|1|2) ;; *)
        to=$(readlink "$fd" 2>/dev/null) || continue
        case "$to" in /proc/*|"") ;; *) echo "reached: descriptor ${fd##*/} $to" ;; esac ;;
    esac
done
for kind in pid mnt ipc uts; do
    test "$(readlink /proc/self/ns/$kind)" = "$(eval echo \$NS_$kind)" && echo "reached: the host's $kind namespace"
done
caps=$(grep CapEff /proc/self/status | cut -f 2)
for bit in 21 16 17 19 12; do
    test $(( (0x$caps >> bit) & 1 )) = 1 && echo "reached: capability $bit"
done
{ mknod /tmp/disk b 8 0 && head -c 1 /tmp/disk; } >/dev/null 2>&1 && echo "reached: a disk"
kill -0 "$HOST_PID" 2>/dev/null && echo "reached: process $HOST_PID"
pwd | grep -q "$DIR" && echo "reached: the directory's own path"
echo probed
"#;
