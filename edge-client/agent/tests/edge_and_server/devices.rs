//! Devices that the operator declares: told to the servers, given to tasks, gone when their files are.

use std::collections::BTreeSet;
use std::sync::Arc;

use drover_agent_config::client_devices::DeclaredDevices;
use drover_model::AllocId;
use drover_model::alloc::ClientStatus;
use drover_model::device::AllocatedDevice;
use drover_model::job::JobType;
use drover_model::resources::AllocatedTask;

use crate::server::FakeServer;
use crate::{config, end, run, started, wanted};

const NAME: &str = "acme/modem/m1";

fn given(name: &str, id: &str) -> AllocatedTask {
    let given = AllocatedDevice {
        vendor: "acme".to_owned(),
        kind: "modem".to_owned(),
        name: name.to_owned(),
        device_ids: vec![id.to_owned()],
    };
    AllocatedTask { devices: vec![given], ..AllocatedTask::default() }
}

pub fn a_contained_task_uses_its_device_and_no_other() {
    let known = ["/dev/fuse", "/dev/loop-control", "/dev/kmsg"];
    let usable = known.into_iter().find(|path| std::fs::File::options().read(true).write(true).open(path).is_ok());
    let Some(path) = usable else { return println!("skipped: needs root and a device") };
    run(async || {
        let dir = tempfile::tempdir().unwrap();
        let mut server = FakeServer::start().await;
        let mut config = config(dir.path(), &server);
        let device = DeclaredDevices {
            attributes: [].into(),
            instances: [("it".to_owned(), vec![path.into()])].into(),
            access: "r".to_owned(),
            variable: "MODEMS".to_owned(),
        };
        config.devices.insert("acme/modem/real".to_owned(), device);
        config.nvidia.is_on = false;
        let edge = started(config).await;
        let mut allocs = Vec::new();
        for (number, is_given) in [(7, true), (8, false)] {
            let script = match is_given {
                true => format!("test \"$MODEMS\" = it && ( : <{path} ) && ! ( : >{path} )"),
                false => format!("! test -e {path}"),
            };
            let mut task = wanted(&script);
            task.alloc.id = AllocId::from_random([number; 16]);
            let job = Arc::make_mut(&mut task.job);
            job.kind = JobType::Batch;
            job.task_groups[0].tasks[0].driver = "exec".to_owned();
            if is_given {
                Arc::make_mut(&mut task.alloc.allocated_resources).tasks.insert("t".to_owned(), given("real", "it"));
            }
            allocs.push(task);
        }
        server.want(allocs);
        let mut ended = BTreeSet::new();
        while ended.len() < 2 {
            let update = server.until(|update| update.client_status.is_terminal()).await;
            assert_eq!(update.client_status, ClientStatus::Complete, "{update:?}");
            ended.insert(update.alloc_id);
        }
        server.want(Vec::new());
        end(edge, dir.path(), &server).await;
    });
}

pub fn a_task_gets_the_devices_that_it_was_given() {
    run(async || {
        let dir = tempfile::tempdir().unwrap();
        let mut server = FakeServer::start().await;
        let files = ["left", "right"].map(|id| dir.path().join(id));
        for file in &files {
            std::fs::write(file, "").unwrap();
        }
        let mut config = config(dir.path(), &server);
        let device = DeclaredDevices {
            attributes: [("speed".to_owned(), "100 MB/s".to_owned())].into(),
            instances: [("left".to_owned(), vec![files[0].clone()]), ("right".to_owned(), vec![files[1].clone()])]
                .into(),
            access: "rw".to_owned(),
            variable: "MODEMS".to_owned(),
        };
        config.devices.insert(NAME.to_owned(), device);
        config.nvidia.is_on = false;
        let edge = started(config).await;
        let node = server.registered().await;
        let [group] = node.node_resources.devices.as_slice() else { panic!("{:?}", node.node_resources.devices) };
        assert_eq!((group.id().as_str(), group.healthy().count()), (NAME, 2));
        assert_eq!(group.attributes["speed"].to_string(), "100 MB/s");

        let mut task = wanted("test \"$MODEMS\" = right");
        Arc::make_mut(&mut task.job).kind = JobType::Batch;
        Arc::make_mut(&mut task.alloc.allocated_resources).tasks.insert("t".to_owned(), given("m1", "right"));
        server.want(vec![task]);
        let update = server.until(|update| update.client_status.is_terminal()).await;
        assert_eq!(update.client_status, ClientStatus::Complete, "{update:?}");

        // What is not there any more is told, and comes back.
        std::fs::remove_file(&files[0]).unwrap();
        edge.reload().await;
        let node = server.registered().await;
        let gone = &node.node_resources.devices[0].instances[0];
        assert_eq!((gone.id.as_str(), gone.healthy), ("left", false));
        assert!(gone.health_description.ends_with("left is not there"), "{}", gone.health_description);
        std::fs::write(&files[0], "").unwrap();
        edge.reload().await;
        assert_eq!(server.registered().await.node_resources.devices[0].healthy().count(), 2);
        server.want(Vec::new());
        end(edge, dir.path(), &server).await;
    });
}
