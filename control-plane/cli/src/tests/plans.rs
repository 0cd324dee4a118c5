use serde_json::{Value, json as j};

use super::{Agent, Line, Ran, json};

const JOB: &str = "job \"web\" {\n  group \"front\" {\n    task \"srv\" { driver = \"raw_exec\" }\n  }\n}\n";

fn plan(line: &str, answer: Value) -> Ran {
    let agent = Agent::start(&[("PUT /v1/job/web/plan", vec![json(answer)])]);
    Line::new(line).agent(&agent).stdin(JOB).run()
}

fn trailer(index: u64) -> String {
    format!(
        "Job Modify Index: {index}
To submit the job with version verification run:

drover job run -check-index {index} -

When running the job with the check-index flag, the job will only be run if the
job modify index given matches the server-side version. If the index has
changed, another user has modified the job and the plan's results are
potentially invalid."
    )
}

fn field(kind: &str, name: &str, old: &str, new: &str) -> Value {
    j!({ "Type": kind, "Name": name, "Old": old, "New": new, "Annotations": null })
}

#[test]
fn a_new_job() {
    let answer = j!({
        "JobModifyIndex": 0, "Warnings": "1 warning:\n\n* group \"front\" defines services",
        "Annotations": { "DesiredTGUpdates": { "front": { "Place": 2 } } },
        "Diff": { "Type": "Added", "ID": "web", "Fields": [field("Added", "Priority", "", "50")], "TaskGroups": [{
            "Type": "Added", "Name": "front", "Updates": { "create": 2 }, "Fields": [field("Added", "Count", "", "2")],
            "Tasks": [
                { "Type": "Added", "Name": "side", "Annotations": ["forces create"], "Fields": [field("Added", "Driver", "", "exec")] },
                { "Type": "Added", "Name": "srv", "Annotations": ["forces create"] },
            ],
        }] },
    });
    let expected = format!(
        "\
+ Job: \"web\"
+ Task Group: \"front\" (2 create)
  + Task: \"side\" (forces create)
  + Task: \"srv\" (forces create)

Scheduler dry-run:
- All tasks successfully allocated.

Job Warnings:
1 warning:

* group \"front\" defines services

{}",
        trailer(0)
    );
    plan("job plan -", answer.clone()).ended(1, &expected, "");
    let verbose = plan("plan -verbose -", answer.clone()).stdout;
    assert!(
        verbose.starts_with(
            "\
+ Job: \"web\"
+ Priority: \"50\"
+ Task Group: \"front\" (2 create)
  + Count: \"2\"
  + Task: \"side\" (forces create)
    + Driver: \"exec\"
  + Task: \"srv\" (forces create)
"
        ),
        "{verbose}"
    );
    plan("job plan -t '{{.JobModifyIndex}}' -", answer).ended(1, "0", "");
}

fn changed() -> Value {
    j!({
        "JobModifyIndex": 32,
        "Annotations": { "DesiredTGUpdates": { "front": { "Canary": 1, "Ignore": 2 } } },
        "Diff": {
            "Type": "Edited", "ID": "web", "Fields": [field("Edited", "Meta[owner]", "ops", "dev")],
            "TaskGroups": [{
                "Type": "Edited", "Name": "front", "Updates": { "ignore": 2, "canary": 1, "destroy": 1 },
                "Fields": [{ "Type": "Edited", "Name": "Count", "Old": "2", "New": "3", "Annotations": ["forces create"] }],
                "Objects": [{ "Type": "Edited", "Name": "Service", "Fields": [
                    field("None", "Address", "", ""), field("None", "AddressMode", "auto", "auto"),
                    field("None", "EnableTagOverride", "false", "false"),
                ], "Objects": [{ "Type": "Edited", "Name": "Tags", "Fields": [
                    field("Added", "Tags", "", "c"), field("None", "Tags", "a", "a"), field("Deleted", "Tags", "b", ""),
                ] }] }],
                "Tasks": [
                    { "Type": "None", "Name": "side" },
                    { "Type": "Edited", "Name": "srv", "Annotations": ["forces create/destroy update"], "Objects": [
                        { "Type": "Edited", "Name": "Config", "Fields": [
                            field("None", "args[0]", "-c", "-c"), field("Edited", "args[1]", "echo hello v2", "echo hello v3"),
                            field("None", "command", "/bin/sh", "/bin/sh"),
                        ] },
                    ] },
                ],
            }],
        },
    })
}

/// Marks of different width stand at the left, the names behind them under each other.
#[test]
fn marks_of_different_width() {
    let answer = j!({
        "Diff": {
            "Type": "Edited", "ID": "web",
            "Fields": [field("Added", "Meta[n]", "", "m"), field("Edited", "Priority", "50", "70")],
            "TaskGroups": [
                { "Type": "Edited", "Name": "front", "Fields": [field("Edited", "Count", "1", "3")],
                  "Objects": [{ "Type": "Added", "Name": "Migrate", "Fields": [field("Added", "MaxParallel", "", "1")] }],
                  "Tasks": [
                    { "Type": "Edited", "Name": "srv", "Fields": [field("Deleted", "Env[B]", "2", ""), field("Edited", "Env[A]", "1", "2")] },
                    { "Type": "Added", "Name": "u", "Annotations": ["forces create/destroy update"], "Fields": [field("Added", "Driver", "", "exec")] },
                ] },
                { "Type": "Deleted", "Name": "old" },
            ],
        },
    });
    let shown = plan("job plan -verbose -", answer).stdout;
    let expected = "\
+/- Job: \"web\"
+   Meta[n]:  \"m\"
+/- Priority: \"50\" => \"70\"
+/- Task Group: \"front\"
  +/- Count: \"1\" => \"3\"
  +   Migrate {
      + MaxParallel: \"1\"
      }
  +/- Task: \"srv\"
    -   Env[B]: \"2\"
    +/- Env[A]: \"1\" => \"2\"
  +   Task: \"u\" (forces create/destroy update)
    + Driver: \"exec\"

-   Task Group: \"old\"
";
    assert!(shown.starts_with(expected), "{shown}");
}

#[test]
fn a_changed_job() {
    let expected = format!(
        "\
+/- Job: \"web\"
+/- Meta[owner]: \"ops\" => \"dev\"
+/- Task Group: \"front\" (1 canary, 1 destroy, 2 ignore)
  +/- Count: \"2\" => \"3\" (forces create)
  +/- Service {{
        Address:           \"\"
        AddressMode:       \"auto\"
        EnableTagOverride: \"false\"
    +/- Tags {{
      + Tags: \"c\"
        Tags: \"a\"
      - Tags: \"b\"
        }}
      }}
      Task: \"side\"
  +/- Task: \"srv\" (forces create/destroy update)
    +/- Config {{
          args[0]: \"-c\"
      +/- args[1]: \"echo hello v2\" => \"echo hello v3\"
          command: \"/bin/sh\"
        }}

Scheduler dry-run:
- All tasks successfully allocated.

{}",
        trailer(32)
    );
    plan("job plan -", changed()).ended(1, &expected, "");
    let without = plan("job plan -diff=false -", j!({ "JobModifyIndex": 32 })).stdout;
    assert!(without.starts_with("Scheduler dry-run:\n"), "{without}");
}

#[test]
fn marks_in_colour() {
    let printed = plan("job plan -force-color -", changed()).stdout;
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], "\u{1b}[93m+/-\u{1b}[0m \u{1b}[1mJob: \"web\"");
    assert_eq!(lines[1], "\u{1b}[93m+/-\u{1b}[0m Meta[owner]: \"ops\" => \"dev\"");
    assert_eq!(
        lines[2],
        "\u{1b}[93m+/-\u{1b}[0m \u{1b}[1mTask Group: \"front\"\u{1b}[0m (\u{1b}[0m\u{1b}[93m1 canary, \u{1b}[0m\u{1b}[31m1 destroy, \u{1b}[0m2 ignore\u{1b}[0m)"
    );
    assert_eq!(lines[3], "  \u{1b}[93m+/-\u{1b}[0m Count: \"2\" => \"3\" (\u{1b}[32mforces create\u{1b}[0m)");
    let task =
        "  \u{1b}[93m+/-\u{1b}[0m \u{1b}[1mTask: \"srv\" \u{1b}[0m(\u{1b}[33mforces create/destroy update\u{1b}[0m)";
    assert!(lines.contains(&task), "{printed}");
}

#[test]
fn what_does_not_fit() {
    let group = |name: &str| j!({ "Type": "Added", "Name": name, "Updates": { "create": 1 }, "Tasks": [{ "Type": "Added", "Name": "t", "Annotations": ["forces create"] }] });
    let answer = j!({
        "JobModifyIndex": 0,
        "Annotations": { "DesiredTGUpdates": { "g": { "Place": 1 }, "mem": { "Place": 1 } } },
        "FailedTGAllocs": {
            "g": { "NodesEvaluated": 1, "NodesFiltered": 1, "ConstraintFiltered": { "${meta.rack} = r9": 1 } },
            "mem": { "NodesEvaluated": 1, "NodesExhausted": 1, "DimensionExhausted": { "memory": 1 } },
        },
        "Diff": { "Type": "Added", "ID": "huge", "TaskGroups": [group("g"), group("mem")] },
    });
    let expected = format!(
        "\
+ Job: \"huge\"
+ Task Group: \"g\" (1 create)
  + Task: \"t\" (forces create)

+ Task Group: \"mem\" (1 create)
  + Task: \"t\" (forces create)

Scheduler dry-run:
- WARNING: Failed to place all allocations.
  Task Group \"g\" (failed to place 1 allocation):
    * Constraint \"${{meta.rack}} = r9\": 1 nodes excluded by filter

  Task Group \"mem\" (failed to place 1 allocation):
    * Resources exhausted on 1 nodes
    * Dimension \"memory\" exhausted on 1 nodes

{}",
        trailer(0)
    );
    plan("job plan -", answer).ended(1, &expected, "");
}

#[test]
fn exit_statuses() {
    let check = |diff: &str, counts: Value, expected: i32| {
        let answer = j!({
            "JobModifyIndex": 4,
            "Annotations": { "DesiredTGUpdates": { "g": counts } },
            "Diff": { "Type": diff, "ID": "web", "TaskGroups": [{ "Type": "None", "Name": "g", "Updates": { "ignore": 1 }, "Tasks": [{ "Type": "None", "Name": "t" }] }] },
        });
        let ran = plan("job plan -", answer);
        assert_eq!(ran.status, expected);
        ran.stdout
    };
    let unchanged = check("None", j!({ "Ignore": 1 }), 0);
    assert!(
        unchanged.starts_with("Job: \"web\"\nTask Group: \"g\" (1 ignore)\n  Task: \"t\"\n\nScheduler"),
        "{unchanged}"
    );
    check("None", j!({ "Place": 2 }), 0);
    check("Edited", j!({ "InPlaceUpdate": 2 }), 0);
    check("Edited", j!({ "Place": 1 }), 1);
    check("Edited", j!({ "Stop": 1 }), 1);
    check("Edited", j!({ "DestructiveUpdate": 1 }), 1);
    Line::new("job plan").run().ended(
        255,
        "",
        "This command takes one argument: <path>\nFor additional help try 'drover job plan -help'",
    );
    Line::new("job plan -address http://127.0.0.1:1 -").stdin(JOB).run().ended(
        255,
        "",
        "Error during plan: Put \"http://127.0.0.1:1/v1/job/web/plan\": dial tcp 127.0.0.1:1: connect: connection refused",
    );
}

#[test]
fn the_command_to_run_has_the_values_of_the_variables() {
    let agent = Agent::start(&[("PUT /v1/job/web/plan", vec![json(j!({ "JobModifyIndex": 9 }))])]);
    let with_variable = format!("variable \"n\" {{}}\n{JOB}");
    let ran = Line::new("job plan -var n=1 -").agent(&agent).stdin(&with_variable).run();
    assert!(
        ran.stdout.contains("\n\ndrover job run -check-index 9 -var=\"n=1\" -\n\n"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
}

#[test]
fn what_would_have_to_go_and_when_it_would_begin() {
    let gone = |id: &str, job: &str| j!({ "ID": id, "JobID": job, "Namespace": "default", "JobType": "batch", "TaskGroup": "g" });
    let answer = |preempted: Vec<Value>| {
        j!({
            "JobModifyIndex": 0, "NextPeriodicLaunch": "2026-11-22T03:00:00Z",
            "Annotations": { "DesiredTGUpdates": { "g": { "Place": 1 } }, "PreemptedAllocs": preempted },
            "CreatedEvals": [{ "TriggeredBy": "rolling-update", "Wait": 30_000_000_000_i64 }],
        })
    };
    let expected = |table: &str| {
        format!(
            "\
Scheduler dry-run:
- All tasks successfully allocated.
- Rolling update, next evaluation will be in 30s.
- If submitted now, next periodic launch would be at 2026-11-22T03:00:00Z (15h32m21s from now).

Preemptions:

{table}
{}",
            trailer(0)
        )
    };
    let one = vec![gone("0aa00d7b-1", "crunch")];
    let table = "Alloc ID    Job ID  Task Group\n0aa00d7b-1  crunch  g";
    plan("job plan -", answer(one)).ended(1, &expected(table), "");
    let many = (0..12).map(|at| gone(&format!("{at}"), if at < 4 { "a" } else { "b" })).collect();
    let table =
        "Job ID  Namespace  Job Type  Preemptions\na       default    batch     4\nb       default    batch     8";
    plan("job plan -", answer(many)).ended(1, &expected(table), "");
    let of_many_jobs = (0..12).map(|at| gone("x", &format!("{at}"))).collect();
    plan("job plan -", answer(of_many_jobs)).ended(1, &expected("Job Type  Preemptions\nbatch     12"), "");
}

#[test]
fn flags_go_along() {
    let agent = Agent::start(&[("PUT /v1/job/web/plan", vec![json(j!({ "JobModifyIndex": 9 }))])]);
    let line = "job plan -policy-override -diff=false -hcl2-strict=false -namespace team -";
    let ran = Line::new(line).agent(&agent).stdin(JOB).run();
    assert!(
        ran.stdout.contains("\n\ndrover job run -check-index 9 -namespace=\"team\" -hcl2-strict=false -\n"),
        "{}",
        ran.stdout
    );
    let asked = &agent.asked()[0];
    assert!(asked.contains("\"PolicyOverride\":true") && asked.contains("\"Diff\":false"), "{asked}");
    Line::new("job plan -json-output -t x -").stdin(JOB).run().ended(
        255,
        "",
        "Both -json-output and -t formatting are not allowed",
    );
}
