//! What is counted when the wanted and the present are held against each other.

use drover_model::AllocId;
use drover_model::alloc::ClientStatus;
use drover_model::job::JobType;

use crate::{Host, end, kinds, run, shell, wanted};

fn missing(alloc: AllocId) -> f64 {
    let totals = drover_metrics::process().totals();
    let of = totals.iter().filter(|(name, ..)| *name == "nomad.client.audit.missing").flat_map(|(.., series)| series);
    let id = alloc.to_string();
    of.filter(|series| series.labels.iter().any(|(_, value)| value == id)).map(|series| series.total.sum).sum()
}

pub fn a_wanted_task_that_is_not_there_is_counted_and_fails() {
    run(async || {
        let host = Host::new();
        let mut wanted = wanted(JobType::Service, "raw_exec", shell("exec sleep 1000"));
        wanted.alloc.id = AllocId::from_random([77; 16]);
        let mut first = host.agent();
        let handle = first.spawn(&wanted, None);
        first.until(|update| update.client_status == ClientStatus::Running).await;
        let saved = host.journal.0.lock().unwrap()[&wanted.alloc.id].clone();
        drop(handle);
        let task = saved.tasks[0].handle.as_ref().unwrap().id.clone();
        let supervised = first.supervised.clone();
        tokio::task::spawn_blocking(move || supervised.purge(&task)).await.unwrap().unwrap();
        drop(first);
        assert_eq!(missing(wanted.alloc.id), 0.0);

        let mut second = host.agent();
        let handle = second.spawn(&wanted, Some(saved));
        let restarted = |update: &drover_model::alloc::AllocUpdate| {
            update.client_status == ClientStatus::Running && update.task_states["t"].restarts == 1
        };
        let update = second.until(restarted).await;
        assert!(kinds(&update).contains(&"Terminated"));
        assert_eq!(missing(wanted.alloc.id), 1.0);
        drop(handle);
        end(&second, &wanted).await;
    });
}
