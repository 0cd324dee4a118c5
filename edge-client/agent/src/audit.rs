//! The audit at a start: what is there is held against what is wanted, both ways, and counted.
//!
//! | counter | what it counts |
//! |---|---|
//! | `nomad.client.audit.unwanted` | tasks (`kind=task`) and networks (`kind=network`) that are there and that nobody wants; they are ended |
//! | `nomad.client.audit.missing` | tasks that shall run and are not there (runner counts them); they failed with "exit code unknown" |

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use drover_model::AllocId;
use drover_runner::Edge;
use drover_runner::drivers::supervised::Supervised;

use crate::networks;
use crate::requests::Allocs;

/// The time after which it is looked again for what nobody wants, before that is ended.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// Tasks and networks that are there and that nobody wants end, unless somebody wants them at a second look. `held` are allocs that are
/// wanted and have no runner yet.
pub fn end_unclaimed(edge: Arc<Edge>, supervised: Arc<Supervised>, allocs: Arc<Allocs>, held: Vec<AllocId>) {
    tokio::spawn(async move {
        tokio::time::sleep(SECOND_LOOK).await;
        let mut strangers = edge.networks.connected();
        for id in allocs.lock().keys().chain(&held) {
            strangers.remove(id);
        }
        let unwanted = edge.take_unclaimed();
        count(&unwanted, strangers.len());
        tokio::task::spawn_blocking(move || networks::remove_strangers(&edge.networks, strangers));
        for id in unwanted {
            let supervised = supervised.clone();
            tracing::warn!(task = %id, "ending a task that nobody wants");
            tokio::task::spawn_blocking(move || {
                if let Err(error) = supervised.purge(&id) {
                    tracing::warn!(task = %id, %error, "unwanted task not ended");
                }
            });
        }
    });
}

fn count(tasks: &BTreeSet<String>, networks: usize) {
    for (kind, found) in [("task", tasks.len()), ("network", networks)] {
        if found > 0 {
            drover_metrics::count("nomad.client.audit.unwanted", &[("kind", kind)], found as f64);
        }
    }
}
