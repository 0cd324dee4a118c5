use super::Line;
use crate::commands::COMMANDS;
use crate::flags::Flag;
use crate::help;

fn run(line: &str) -> super::Ran {
    Line::new(line).run()
}

#[test]
fn words_that_are_no_commands() {
    let check = |line: &str, status: i32, stderr: &str, help: &str| {
        let ran = run(line);
        assert_eq!(ran.status, status, "{line}");
        assert_eq!(ran.stderr, stderr, "{line}");
        assert!(ran.stdout.starts_with(help), "{line}: {}", ran.stdout);
    };
    check("nope", 127, "unknown command \"nope\"\nDid you mean \"node\"?\n", "Usage: drover <command>");
    check("zzzz", 127, "unknown command \"zzzz\"\n", "Usage: drover <command>");
    check("help", 127, "unknown command \"help\"\n", "Usage: drover <command>");
    check("", 127, "", "Usage: drover <command>");
    check("-h", 0, "", "Usage: drover <command>");
    check("job", 1, "", "Usage: drover job <subcommand>");
    check("job -h", 0, "", "Usage: drover job <subcommand>");
    check(
        "job staus",
        1,
        "unknown command \"job staus\"\nDid you mean \"status\"?\n",
        "Usage: drover job <subcommand>",
    );
    check("node join-token -h", 0, "", "Usage: drover node join-token <subcommand>");
    check("job status -nope", 1, "flag provided but not defined: -nope\n", "Usage: drover job status");
    check(
        "job status -short=maybe web",
        1,
        "invalid boolean value \"maybe\" for -short: parse error\n",
        "Usage: drover job status",
    );
    check("alloc logs -n x y", 1, "invalid value \"x\" for flag -n: parse error\n", "Usage: drover alloc logs");
    check("alloc logs -n", 1, "flag needs an argument: -n\n", "Usage: drover alloc logs");
    check("job plan -nope", 255, "flag provided but not defined: -nope\n", "Usage: drover job plan");
}

#[test]
fn too_many_words() {
    run("job status a b")
        .failed("This command takes either no arguments or one: <job>\nFor additional help try 'drover status -help'");
    run("job status web -short")
        .failed("This command takes either no arguments or one: <job>\nFor additional help try 'drover status -help'");
    run("job validate")
        .failed("This command takes one argument: <path>\nFor additional help try 'drover job validate -help'");
}

#[test]
fn the_version_is_shown_wherever_it_is_asked_for() {
    let version = run("version").stdout;
    assert!(version.starts_with(&format!("Drover v{}\nRevision ", env!("CARGO_PKG_VERSION"))), "{version}");
    for line in ["-version", "--version", "-v", "-version job"] {
        assert_eq!(run(line).stdout, version);
    }
}

#[test]
fn bad_addresses() {
    let check = |address: &str, expected: &str| {
        Line::new("job status")
            .env("NOMAD_ADDR", address)
            .run()
            .failed(&format!("Error initializing client: invalid address '{address}': {expected}"));
    };
    check("127.0.0.1:24646", "parse \"127.0.0.1:24646\": first path segment in URL cannot contain colon");
    check("::bad", "parse \"::bad\": missing protocol scheme");
    Line::new("job status").env("NOMAD_ADDR", "http://127.0.0.1:1").run().failed(
        "Error querying jobs: Get \"http://127.0.0.1:1/v1/jobs\": dial tcp 127.0.0.1:1: connect: connection refused",
    );
}

#[test]
fn every_command_explains_itself_and_its_flags() {
    for command in COMMANDS {
        let ran = run(&format!("{} -h", command.path));
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{}", command.path);
        assert!(ran.stdout.starts_with(&format!("Usage: drover {} ", command.path)), "{}", ran.stdout);
        let flags: Vec<&Flag> = command.all_flags().into_iter().flatten().collect();
        for flag in &flags {
            assert!(ran.stdout.contains(&format!("\n  -{}", flag.name)), "{} -{}", command.path, flag.name);
            assert_eq!(
                flags.iter().filter(|other| other.name == flag.name).count(),
                1,
                "{} -{}",
                command.path,
                flag.name
            );
        }
        assert!(ran.stdout.lines().all(|line| line.len() <= 100), "{}", ran.stdout);
        for alias in command.aliases.iter().chain(command.old_spellings) {
            assert_eq!(run(&format!("{alias} -help")).status, 0, "{alias}");
        }
    }
    expect_test::expect_file!["../../tests/fixtures/help.txt"].assert_eq(&(help::root(COMMANDS) + "\n"));
    expect_test::expect_file!["../../tests/fixtures/help-job-stop.txt"].assert_eq(&run("job stop -h").stdout);
}
