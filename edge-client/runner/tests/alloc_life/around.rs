//! What is around a task: volumes, the way it finds names, what an alloc leaves to the one that replaces it.

use drover_model::network::Network;
use drover_model::policy::EphemeralDisk;

use super::*;

fn is_root(case: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("skipped: {case} needs root for exec");
    }
    is_root
}

fn change(wanted: &mut Wanted, change: impl FnOnce(&mut Group)) {
    change(&mut Arc::make_mut(&mut wanted.job).task_groups[0]);
}

fn volume(name: &str, path: &Path, read_only: bool) -> (String, Value) {
    (name.to_owned(), json!({ "Name": name, "Path": path, "ReadOnly": read_only, "ID": "" }))
}

fn texts(update: &AllocUpdate) -> Vec<String> {
    update.task_states["t"].events.iter().map(|event| event.display_message.to_string()).collect()
}

pub fn an_exec_task_sees_its_volumes_and_servers() {
    if !is_root("an_exec_task_sees_its_volumes_and_servers") {
        return;
    }
    run(async || {
        let host = Host::new();
        let mut agent = host.agent();
        let [data, certs] = ["data", "certs"].map(|name| {
            let path = host.dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("file"), format!("{name} of the host\n")).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
            path
        });
        // An operator's path may be a link: what it leads to is mounted.
        let link = host.dir.path().join("link");
        std::os::unix::fs::symlink(&certs, &link).unwrap();
        let mut facts = (*agent.edge.facts()).clone();
        Arc::make_mut(&mut facts.node).host_volumes =
            [volume("data", &data, false), volume("certs[0]", &link, true)].into();
        agent.edge.set_facts(facts);

        let script = "cat /srv/data/file /certs/file; echo new > /srv/data/new; \
            for f in /certs/x /srv/again/x; do touch $f 2>/dev/null || echo kept; done; cat /srv/again/new; cat /etc/resolv.conf";
        let mut wanted = wanted(JobType::Batch, "exec", shell(script));
        change(&mut wanted, |group| {
            let request = |source: &str, read_only: bool, each: bool| json!({ "Type": "host", "Source": source, "ReadOnly": read_only, "PerAlloc": each });
            let requests =
                [("d".to_owned(), request("data", false, false)), ("c".to_owned(), request("certs", true, true))];
            group.volumes = Some(requests.into());
            let mount = |volume: &str, destination: &str, read_only: bool| json!({ "Volume": volume, "Destination": destination, "ReadOnly": read_only, "PropagationMode": "private" });
            group.tasks[0].volume_mounts =
                vec![mount("d", "/srv/data", false), mount("c", "certs", false), mount("d", "/srv/again", true)];
            let dns = json!({ "Servers": ["10.9.8.7"], "Searches": ["${NOMAD_DC}.test"], "Options": ["ndots:2"] });
            group.networks = vec![Network { mode: "host".to_owned(), dns: Some(dns), ..Network::default() }];
        });
        let handle = agent.spawn(&wanted, None);
        let update = agent.until(|update| update.client_status.is_terminal()).await;
        assert_eq!(update.client_status, ClientStatus::Complete, "{:?}", texts(&update));
        let expected = "data of the host\ncerts of the host\nkept\nkept\nnew\n\
            search dc1.test\nnameserver 10.9.8.7\noptions ndots:2\n";
        assert_eq!(log(&host, &wanted, "stdout"), expected);
        assert_eq!(std::fs::read_to_string(data.join("new")).unwrap(), "new\n");
        handle.remove();
        agent.gone().await;
        assert!(data.join("file").exists() && certs.join("file").exists(), "the volumes are the host's");
        end(&agent, &wanted).await;
    });
}

pub fn a_volume_that_cannot_be_had_is_told() {
    run(async || {
        let host = Host::new();
        let mut agent = host.agent();
        let mut check = async |name: &str, mode: &str, expected: &str| {
            let mut facts = (*agent.edge.facts()).clone();
            Arc::make_mut(&mut facts.node).host_volumes = [volume(name, host.dir.path(), false)].into();
            agent.edge.set_facts(facts);
            let mut wanted = wanted(JobType::Batch, "raw_exec", shell("true"));
            change(&mut wanted, |group| {
                group.volumes = Some([("d".to_owned(), json!({ "Type": "host", "Source": "data" }))].into());
                group.tasks[0].volume_mounts =
                    vec![json!({ "Volume": "d", "Destination": "/d", "PropagationMode": mode })];
            });
            let handle = agent.spawn(&wanted, None);
            let update = agent.until(|update| update.client_status.is_terminal()).await;
            let texts = texts(&update);
            assert!(texts.iter().any(|text| text == expected), "{texts:?}");
            handle.remove();
            agent.gone().await;
        };
        let missing = "volumes: host volume validation error: 1 error occurred:\n\t* missing data\n\n";
        check("other", "private", missing).await;
        check("data", "private", "volumes: task driver \"raw_exec\" for \"t\" does not support host volumes").await;
        check("data", "bidirectional", "volumes: propagation_mode \"bidirectional\" is not supported").await;
        let wanted = wanted(JobType::Batch, "raw_exec", shell("true"));
        end(&agent, &wanted).await;
    });
}

pub fn a_sticky_alloc_leaves_its_data_when_it_is_over() {
    run(async || {
        let host = Host::new();
        let mut agent = host.agent();
        // It takes its time to end, and writes until then.
        let script = "echo early > local/early; trap 'echo last > local/last; echo data > ../alloc/data/shared; exit 0' TERM; \
            echo ready; while :; do sleep 0.01; done";
        let mut first = wanted(JobType::Service, "raw_exec", shell(script));
        change(&mut first, |group| group.ephemeral_disk = EphemeralDisk { sticky: true, ..EphemeralDisk::default() });
        let old = agent.spawn(&first, None);
        agent.until(|update| update.client_status == ClientStatus::Running).await;
        wait_for_text(&host, &first, "ready").await;

        let mut second = wanted(JobType::Batch, "raw_exec", shell("cat local/early local/last ../alloc/data/shared"));
        second.alloc.id = AllocId::from_random([6; 16]);
        second.alloc.previous_allocation = Some(first.alloc.id);
        change(&mut second, |group| group.ephemeral_disk = EphemeralDisk { sticky: true, ..EphemeralDisk::default() });
        let new = agent.spawn(&second, None);
        // Nothing begins as long as the one before lives.
        agent.until(|update| update.alloc_id == second.alloc.id).await;
        assert!(!host.allocs().join(second.alloc.id.to_string()).exists());
        old.update(stopped(&first));
        let ended = |update: &AllocUpdate| update.alloc_id == second.alloc.id && update.client_status.is_terminal();
        let update = agent.until(ended).await;
        assert_eq!(update.client_status, ClientStatus::Complete, "{:?}", texts(&update));
        assert_eq!(log(&host, &second, "stdout"), "early\nlast\ndata\n");
        for handle in [old, new] {
            handle.remove();
            agent.gone().await;
        }
        end(&agent, &first).await;
    });
}

pub fn a_replacement_of_a_replacement_waits_for_both_and_gets_the_data() {
    run(async || {
        let host = Host::new();
        let mut agent = host.agent();
        let sticky = |wanted: &mut Wanted| {
            change(wanted, |group| group.ephemeral_disk = EphemeralDisk { sticky: true, ..EphemeralDisk::default() });
        };
        let script = "echo ready; trap 'echo last > local/last; exit 0' TERM; while :; do sleep 0.01; done";
        let mut first = wanted(JobType::Service, "raw_exec", shell(script));
        sticky(&mut first);
        let after = |number: u8, previous: AllocId, script: &str| {
            let mut wanted = wanted(JobType::Batch, "raw_exec", shell(script));
            wanted.alloc.id = AllocId::from_random([number; 16]);
            wanted.alloc.previous_allocation = Some(previous);
            sticky(&mut wanted);
            wanted
        };
        let second = after(6, first.alloc.id, "false");
        let third = after(7, second.alloc.id, "cat local/last");
        let unwanted = after(8, first.alloc.id, "false");
        let root = |wanted: &Wanted| host.allocs().join(wanted.alloc.id.to_string());
        let old = agent.spawn(&first, None);
        agent.until(|update| update.client_status == ClientStatus::Running).await;
        wait_for_text(&host, &first, "ready").await;

        // It waits, and is not wanted any more; neither is the next, which is forgotten at once.
        let between = agent.spawn(&second, None);
        between.update(stopped(&second));
        let over = |update: &AllocUpdate| update.alloc_id == second.alloc.id && update.client_status.is_terminal();
        agent.until(over).await;
        let forgotten = agent.spawn(&unwanted, None);
        agent.until(|update| update.alloc_id == unwanted.alloc.id).await;
        forgotten.remove();
        agent.gone().await;
        assert!(!root(&unwanted).exists());

        let new = agent.spawn(&third, None);
        agent.until(|update| update.alloc_id == third.alloc.id).await;
        assert!(!root(&third).exists(), "the first one runs");
        old.update(stopped(&first));
        let ended = |update: &AllocUpdate| update.alloc_id == third.alloc.id && update.client_status.is_terminal();
        let update = agent.until(ended).await;
        assert_eq!(update.client_status, ClientStatus::Complete, "{:?}", texts(&update));
        assert_eq!(log(&host, &third, "stdout"), "last\n");
        for handle in [old, between, new] {
            handle.remove();
            agent.gone().await;
        }
        assert_eq!(std::fs::read_dir(host.allocs()).unwrap().count(), 0);
        end(&agent, &first).await;
    });
}

async fn wait_for_text(host: &Host, wanted: &Wanted, text: &str) {
    let waited = tokio::time::timeout(PATIENCE, async {
        let file = host.allocs().join(wanted.alloc.id.to_string()).join("alloc/logs/t.stdout.0");
        while !std::fs::read_to_string(&file).unwrap_or_default().contains(text) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap();
}
