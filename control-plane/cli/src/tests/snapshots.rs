use std::path::{Path, PathBuf};

use drover_server::{Server, Settings};

use super::{Agent, Line, text};

/// A snapshot that a server with one join token has saved; beside it is nothing.
fn saved(dir: &Path) -> PathBuf {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let settings = Settings::alone("n1", dir.join("data"));
        let server = Server::start(settings, |reason| panic!("{reason}")).await.unwrap();
        server.create_join_token(Default::default()).await.unwrap();
        let saved = server.save_snapshot(false).await.unwrap();
        let (mut bytes, mut at) = (Vec::new(), 0);
        loop {
            let piece = saved.piece(at).await.unwrap();
            if piece.is_empty() {
                break;
            }
            at += piece.len() as u64;
            bytes.extend_from_slice(&piece);
        }
        assert_eq!(at, saved.info.len);
        server.shutdown().await;
        let path = dir.join("state.snap");
        std::fs::write(&path, bytes).unwrap();
        path
    })
}

#[test]
fn what_is_in_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let path = saved(dir.path());
    let path = path.to_str().unwrap();
    let ran = Line::new(&format!("operator snapshot inspect {path}")).run();
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let names: Vec<&str> = lines[..6].iter().map(|line| line.split(" = ").next().unwrap()).collect();
    assert_eq!(names, ["Created", "ID     ", "Size   ", "Index  ", "Term   ", "Version"]);
    assert!(lines[6].is_empty() && lines[7].starts_with("Type ") && lines[7].ends_with("  Size"), "{}", ran.stdout);
    assert!(lines.iter().any(|line| line.starts_with("JoinToken  1  ")), "{}", ran.stdout);
    assert!(lines[lines.len() - 2].trim().is_empty() && lines[lines.len() - 1].starts_with("Total "), "{}", ran.stdout);

    let ran = Line::new(&format!("operator snapshot inspect -json {path}")).run();
    let about: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(about["Meta"]["Index"].as_u64().unwrap() > 0 && about["TotalCount"].as_u64().unwrap() > 0, "{about}");

    let ran = Line::new(&format!("operator snapshot state {path}")).run();
    let state: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(state["JoinTokens"].as_array().unwrap().len(), 1);
    assert_eq!(state["SnapshotMeta"][0]["ID"], about["Meta"]["ID"]);
    assert!(!ran.stdout.to_lowercase().contains("hash"), "no secret is shown: {}", ran.stdout);
    let line = format!("operator snapshot state -filter 'Role == \"server\"' {path}");
    let state: serde_json::Value = serde_json::from_str(&Line::new(&line).run().stdout).unwrap();
    assert_eq!(state["JoinTokens"], serde_json::json!([]));
    let ran = Line::new(&format!("operator snapshot state -filter '==' {path}")).run();
    assert!(ran.status == 1 && ran.stderr.starts_with("Invalid filter expression \"==\": "), "{ran:?}");
}

#[test]
fn what_is_no_whole_snapshot_is_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let path = saved(dir.path());
    let bytes = std::fs::read(&path).unwrap();
    let other = dir.path().join("other.snap");
    let agent = Agent::start(&[("PUT /v1/operator/snapshot", vec![text(200, "")])]);
    let check = |bytes: &[u8], expected: &str| {
        std::fs::write(&other, bytes).unwrap();
        let name = other.to_str().unwrap();
        agent
            .run(&format!("operator snapshot restore {name}"))
            .failed(&format!("Failed to restore snapshot: {expected}"));
        let inspected = Line::new(&format!("operator snapshot inspect {name}")).run();
        inspected.failed(&format!("Error inspecting snapshot: {expected}"));
    };
    let len = bytes.len();
    check(&bytes[..len - 1], &format!("snapshot is cut short: {} of {len} bytes", len - 1));
    let mut changed = bytes.clone();
    changed[len / 2] ^= 1;
    check(&changed, "snapshot is damaged: its digest differs");
    let mut newer = bytes.clone();
    newer[7] = b'9';
    check(&newer, "snapshot has form 9, this drover reads up to form 2");
    check(b"", "this is not a snapshot of a drover region");
    check(b"\x1f\x8b\x08\x00an archive of another program", "this is not a snapshot of a drover region");
    assert_eq!(agent.asked(), [""; 0]);

    let help = |command: &str| format!("For additional help try 'drover operator snapshot {command} -help'");
    let one = "This command takes one argument: <filename>";
    agent.run("operator snapshot restore").failed(&format!("{one}\n{}", help("restore")));
    agent.run("operator snapshot inspect").failed(&format!("{one}\n{}", help("inspect")));
    let two = "This command takes either no arguments or one: <filename>";
    agent.run("operator snapshot save a b").failed(&format!("{two}\n{}", help("save")));
    let ran = agent.run("operator snapshot restore /nowhere.snap");
    ran.failed("Error opening snapshot file: No such file or directory (os error 2)");
}

#[test]
fn a_snapshot_is_saved_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let name = dir.path().join("new.snap").to_str().unwrap().to_owned();
    let agent = Agent::start(&[("GET /v1/operator/snapshot", vec![text(500, "No cluster leader"), text(200, "cut")])]);
    let unexpected = "Failed to get snapshot file: Unexpected response code: 500 (No cluster leader)";
    agent.run(&format!("operator snapshot save {name}")).failed(unexpected);
    // Without a digest nobody knows whether it is whole.
    let differs = "Failed to download snapshot file: it is not what the server has sent: its digest differs";
    agent.run(&format!("operator snapshot save -stale {name}")).failed(differs);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    assert_eq!(agent.asked(), ["GET /v1/operator/snapshot", "GET /v1/operator/snapshot?stale=true"]);
    std::fs::write(&name, "kept").unwrap();
    let ran = agent.run(&format!("operator snapshot save {name}"));
    assert!(
        ran.status == 1 && ran.stderr.starts_with(&format!("Destination file already exists: \"{name}\"\n")),
        "{ran:?}"
    );
    assert_eq!(std::fs::read_to_string(&name).unwrap(), "kept");
}
