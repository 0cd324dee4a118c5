//! Checks whose texts no fixture shows.

use drover_hcl::{Inputs, Source};

fn refusals(job: &str) -> Vec<String> {
    let source = Source::new("job.nomad.hcl", job);
    let job = crate::parse_hcl(&source, &Inputs::default()).expect("the job parses");
    match crate::canonicalize(job, &crate::Surroundings::of("global")) {
        Ok(_) => Vec::new(),
        Err(refusal) => refusal.texts(),
    }
}

/// A group with one good task and `inside`.
fn in_group(inside: &str) -> String {
    format!("job \"a\" {{\n group \"g\" {{\n{inside}\n task \"t\" {{\n driver = \"raw_exec\"\n}}\n}}\n}}\n")
}

#[test]
fn several_errors_come_in_one_answer() {
    assert_eq!(refusals("job \"a b\" {}"), ["Job ID contains a space", "Missing job task groups"]);
}

#[test]
fn an_unknown_driver_is_no_error() {
    assert_eq!(refusals("job \"a\" {\n group \"g\" {\n task \"t\" {\n driver = \"nonesuch\"\n}\n}\n}\n"), [""; 0]);
}

#[test]
fn policies_name_their_limits() {
    let check = |inside: &str, expected: &[&str]| {
        let found = refusals(&in_group(inside));
        let text = found.join("");
        assert!(!found.is_empty(), "{inside}");
        for line in expected {
            assert!(text.contains(line), "{inside} gave {text}");
        }
    };
    check(
        "restart {\n attempts = 0\n mode = \"delay\"\n}",
        &[r#"Restart policy "delay" with 0 attempts is ambiguous"#],
    );
    check("restart {\n interval = \"1s\"\n attempts = 0\n}", &["Interval can not be less than 5s (got 1s)"]);
    check("reschedule {\n delay = \"1s\"\n}", &["Delay cannot be less than 5s (got 1s)"]);
    check("reschedule {\n delay_function = \"x\"\n}", &[r#"Invalid delay function "x""#]);
    check(
        "update {\n healthy_deadline = \"20s\"\n progress_deadline = \"8s\"\n}",
        &["Healthy deadline must be less than progress deadline: 20s > 8s"],
    );
    check(
        "network {\n port \"p\" {\n to = 70000\n}\n}",
        &[r#"Port "p" cannot be mapped to a port (70000) greater than 65535"#],
    );
    check("shutdown_delay = \"-1s\"", &["ShutdownDelay must be a positive value"]);
}

#[test]
fn cron_specs_are_bounded() {
    let job = |count: usize| {
        let specs = vec!["\"@daily\""; count].join(", ");
        let groups = "group \"g\" {\n task \"t\" {\n driver = \"raw_exec\"\n config {\n command = \"x\"\n}\n}\n}\n";
        format!("job \"a\" {{\n type = \"batch\"\n periodic {{\n crons = [{specs}]\n}}\n{groups}}}\n")
    };
    assert_eq!(refusals(&job(64)), [""; 0]);
    assert!(refusals(&job(65)).concat().contains("Too many cron specs: 65, at most 64 are taken"));
}
