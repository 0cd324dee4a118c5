//! The measures, by word.

mod b10;
mod b13;
mod b13b;
mod b14;
mod b3;
mod b3_dispatch;
mod b4;
mod b4_trace;
mod b5;
mod b8;
mod b8_tasks;
mod b9;
mod b9_restart;
mod edges;
mod heartbeat;
mod hop;
mod parse;

use crate::figure::Figure;
use crate::product::Product;

/// One measure.
pub struct Measure {
    /// Its word on the command line.
    pub word: &'static str,
    /// What it measures.
    pub what: &'static str,
    /// Measures the products in turns; the number is how often.
    pub run: fn(&[Product], usize) -> anyhow::Result<Vec<Figure>>,
}

/// Every measure.
pub const ALL: &[Measure] = &[
    Measure { word: "b3", what: "durable writes to three servers, serial and from 256 clients", run: b3::run },
    Measure {
        word: "b3-dispatch",
        what: "10,000 dispatches from 200 clients on 25 simulated edges, until all are complete",
        run: b3_dispatch::run,
    },
    Measure {
        word: "b4",
        what: "submit to running per driver, one job at a time; of a virtual machine its hello too, with a kernel where \
               DROVER_BENCH_KERNEL names one",
        run: b4::run,
    },
    Measure {
        word: "b4-trace",
        what: "where the time from submit to running goes, and how often the disk is waited for (by strace)",
        run: b4_trace::run,
    },
    Measure {
        word: "b5",
        what: "2,000 short batch tasks of one job, submit to all complete, per driver",
        run: b5::run,
    },
    Measure {
        word: "b8",
        what: "binary size, idle memory of server and client, wake-ups of an idle client",
        run: b8::run,
    },
    Measure {
        word: "b8-tasks",
        what: "memory per running task at 1, 100 and 1,000 tasks, the kernel's beside it",
        run: b8_tasks::run,
    },
    Measure { word: "b9", what: "start of the process to the first accepted write", run: b9::run },
    Measure { word: "b9-three", what: "start of three servers to the first accepted write", run: b9::run_three },
    Measure {
        word: "b9-restart",
        what: "a server with 100,000 and 1,000,000 allocs is killed and started again, to the first read and write; \
               another size by DROVER_ALLOCS",
        run: b9_restart::run,
    },
    Measure {
        word: "b10",
        what: "gap in acknowledged writes when the leader of three servers is killed, and at SIGTERM",
        run: b10::run,
    },
    Measure {
        word: "b13",
        what: "a snapshot of 1,000,000 allocs restored and saved, writes meanwhile, memory, a start from it; another size \
               by DROVER_ALLOCS",
        run: b13::run,
    },
    Measure {
        word: "b13b",
        what: "5 jobs of 2,000 groups registered, placed and running on simulated edges, the server's memory and restart; \
               another number by DROVER_GROUPS",
        run: b13b::run,
    },
    Measure {
        word: "b14",
        what: "log capture, latency of logs -f, logs read through a server, echo of a command in a task",
        run: b14::run,
    },
    Measure {
        word: "edges",
        what: "a server's memory and processor time for 2,000 idle simulated edges, and the time until all are ready",
        run: edges::run,
    },
    Measure {
        word: "heartbeat",
        what: "UDP payload both ways between an idle client and its server, by the minute; a run is a minute, at most five",
        run: heartbeat::run,
    },
    Measure {
        word: "hop",
        what: "a durable write and a read asked of the leader, of a follower and of a server of another region",
        run: hop::run,
    },
    Measure {
        word: "parse",
        what: "job text to a checked job, 200 lines and 250 to 2,000 groups; in this process, without --binary",
        run: parse::run,
    },
];
