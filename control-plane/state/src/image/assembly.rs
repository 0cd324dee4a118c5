//! A state from the parts of its image: everything in its place, and the secondary indexes of a great many allocs built
//! whole instead of one entry at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use drover_model::alloc::Alloc;
use drover_model::resources::AllocatedResources;
use drover_model::{AllocId, DeploymentId, EvalId, JobKey, NodeId, Text};
use imbl::{OrdMap, OrdSet};

use super::{Image, Run, Task};
use crate::node_load::NodeLoad;
use crate::state::State;

/// Puts the parts together. What is there twice counts once, the later.
pub fn assemble(mut images: Vec<Image>, run: Run<'_>) -> State {
    let mut state = State::default();
    let allocs: Vec<Arc<Alloc>> = images.iter_mut().flat_map(|image| std::mem::take(&mut image.allocs)).collect();
    let mut jobs = Vec::new();
    for image in images {
        let Image {
            index,
            table_indexes,
            jobs: keys,
            versions,
            submissions,
            summaries,
            scaling,
            launches,
            nodes,
            evals,
            allocs: _,
            deployments,
            join_tokens,
            autopilot,
            namespaces,
            scheduler_config,
        } = image;
        if index > 0 {
            (state.index, state.begun_index, state.table_indexes) = (index, index, table_indexes);
        }
        versions.iter().for_each(|job| state.set_version(job));
        jobs.extend(keys);
        for (key, version, submission) in submissions {
            state.set_submission(key, version, submission);
        }
        state.summaries.extend(summaries);
        state.scaling.extend(scaling);
        state.launches.extend(launches);
        state.nodes.extend(nodes.into_iter().map(|node| (node.id, node)));
        state.join_tokens.extend(join_tokens.into_iter().map(|token| (token.id, token)));
        state.autopilot = autopilot.or(state.autopilot);
        state.scheduler_config = scheduler_config.or(state.scheduler_config);
        namespaces.into_iter().for_each(|namespace| state.namespaces.set(namespace));
        evals.into_iter().for_each(|eval| state.set_eval(eval));
        deployments.into_iter().for_each(|deployment| state.set_deployment(deployment));
    }
    for key in jobs {
        // The newest version of the youngest job of that name is the job.
        let newest = state.versions.get(&key).and_then(|versions| versions.get_max()).map(|(_, job)| job.clone());
        if let Some(job) = newest {
            state.set_current(&job);
        }
    }
    set_allocs(&mut state, allocs, run);
    state
}

/// How many different things that allocs of one group were given are compared with: several versions may run at once, and where
/// each alloc has ports of its own no two are alike.
const GIVEN_KNOWN_MAX: usize = 4;

/// What several allocs say alike is said with the same memory: neighbours that belong to one job share its name and what those of
/// a group were given, and all of a node share its name.
pub fn share(allocs: &mut [Arc<Alloc>]) {
    let mut last = JobKey::default();
    let mut given: BTreeMap<String, Vec<Arc<AllocatedResources>>> = BTreeMap::new();
    let mut node_names: BTreeMap<NodeId, Text> = BTreeMap::new();
    for alloc in allocs {
        let Some(alloc) = Arc::get_mut(alloc) else { continue };
        if alloc.namespace == last.namespace && alloc.job_id == last.id {
            alloc.namespace = last.namespace.clone();
            alloc.job_id = last.id.clone();
        } else {
            last = alloc.job_key();
            given.clear();
        }
        let same = given.get(&alloc.task_group).and_then(|known| {
            let is_it = |known: &&Arc<AllocatedResources>| **known == alloc.allocated_resources;
            known.iter().find(is_it).cloned()
        });
        match same {
            Some(same) => alloc.allocated_resources = same,
            None => {
                let known = given.entry(alloc.task_group.clone()).or_default();
                if known.len() < GIVEN_KNOWN_MAX {
                    known.push(alloc.allocated_resources.clone());
                }
            }
        }
        let name = node_names.entry(alloc.node_id).or_insert_with(|| alloc.node_name.clone());
        if *name == alloc.node_name {
            alloc.node_name = name.clone();
        }
    }
}

/// The allocs of a state that has none.
fn set_allocs(state: &mut State, allocs: Vec<Arc<Alloc>>, run: Run<'_>) {
    let mut by_id = OrdMap::new();
    let mut of_nodes: OrdMap<NodeId, OrdSet<AllocId>> = OrdMap::new();
    let mut loads: OrdMap<NodeId, Arc<NodeLoad>> = OrdMap::new();
    let mut of_evals: OrdMap<EvalId, OrdSet<AllocId>> = OrdMap::new();
    let mut of_deployments: OrdMap<DeploymentId, OrdSet<AllocId>> = OrdMap::new();
    let mut of_jobs = BTreeMap::new();
    let all = &allocs;
    let tasks: Vec<Task<'_>> = vec![
        Box::new(|| {
            let mut pairs: Vec<(AllocId, &Arc<Alloc>)> = all.iter().map(|alloc| (alloc.id, alloc)).collect();
            pairs.sort_by_key(|(id, _)| *id);
            by_id = pairs.into_iter().map(|(id, alloc)| (id, alloc.clone())).collect();
        }),
        Box::new(|| of_jobs = by_job(all)),
        Box::new(|| of_nodes = index(all, |alloc| Some(alloc.node_id))),
        Box::new(|| loads = by_node(all)),
        Box::new(|| of_evals = index(all, |alloc| alloc.eval_id)),
        Box::new(|| of_deployments = index(all, |alloc| alloc.deployment_id)),
    ];
    run(tasks);
    if by_id.len() != allocs.len() {
        // No state makes such an image; one by one the last of equal ids takes the place of the others everywhere.
        return allocs.into_iter().for_each(|alloc| state.set_alloc(alloc));
    }
    state.allocs = by_id;
    state.allocs_of_node = of_nodes;
    state.loads = loads;
    state.allocs_of_eval = of_evals;
    state.allocs_of_deployment = of_deployments;
    for (key, (ids, live)) in of_jobs {
        state.with_job(key, |of_job| {
            of_job.allocs = ids;
            of_job.live_allocs = live;
        });
    }
}

/// Ids by key, each key's built at once.
fn index<K: Ord + Copy>(allocs: &[Arc<Alloc>], key: impl Fn(&Alloc) -> Option<K>) -> OrdMap<K, OrdSet<AllocId>> {
    let keyed = allocs.iter().filter_map(|alloc| key(alloc).map(|key| (key, alloc.id)));
    let mut pairs: Vec<(K, AllocId)> = keyed.collect();
    pairs.sort_unstable();
    let ids = |pairs: &[(K, AllocId)]| pairs.iter().map(|(_, id)| *id).collect::<OrdSet<_>>();
    pairs.chunk_by(|a, b| a.0 == b.0).map(|pairs| (pairs[0].0, ids(pairs))).collect()
}

/// What the allocs on each node take of it.
fn by_node(allocs: &[Arc<Alloc>]) -> OrdMap<NodeId, Arc<NodeLoad>> {
    let mut loads: BTreeMap<NodeId, NodeLoad> = BTreeMap::new();
    for alloc in allocs {
        loads.entry(alloc.node_id).or_default().add(alloc);
    }
    loads.into_iter().map(|(node, load)| (node, Arc::new(load))).collect()
}

/// The ids of each job's allocs, and how many of them live.
fn by_job(allocs: &[Arc<Alloc>]) -> BTreeMap<JobKey, (OrdSet<AllocId>, usize)> {
    let mut jobs: BTreeMap<JobKey, (Vec<AllocId>, usize)> = BTreeMap::new();
    // The usual image has the allocs of a job beside each other.
    for run in allocs.chunk_by(|a, b| a.job_id == b.job_id && a.namespace == b.namespace) {
        let (ids, live) = jobs.entry(run[0].job_key()).or_default();
        ids.extend(run.iter().map(|alloc| alloc.id));
        *live += run.iter().filter(|alloc| !alloc.is_terminal()).count();
    }
    let sorted = |(key, (mut ids, live)): (JobKey, (Vec<AllocId>, usize))| {
        ids.sort_unstable();
        (key, (ids.into_iter().collect(), live))
    };
    jobs.into_iter().map(sorted).collect()
}
