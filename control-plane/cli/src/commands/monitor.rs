//! Following an eval, then the deployment it belongs to, until both are done.
//!
//! Each step is a blocking query: the server answers when something has changed, nothing is asked over and over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use drover_api_client::allocs::AllocStub;
use drover_api_client::deployments::Deployment;
use drover_api_client::evals::Eval;
use drover_api_client::{Client, QueryOptions};

use crate::call::{Call, Doing, Failure, Outcome};
use crate::output::text::{id, quote};
use crate::output::ui::Ui;
use crate::output::{alloc_table, deployment, placement};

/// The longest one query waits.
const WAIT: Duration = Duration::from_secs(300);
/// The longest that is waited for the deployment which brings the last good version back.
const ROLLBACK_WAIT: Duration = Duration::from_secs(10);
/// What the description of a failed deployment says when there is a version to go back to.
const ROLLS_BACK: &str = "rolling back to job version";
/// Exit status of placements that failed, when no deployment will tell more.
const PLACEMENT_FAILED: i32 = 2;

/// After a write: with -detach says which eval it made, else follows that.
pub fn follow(call: &mut Call, client: &Client, eval_id: &str) -> Outcome {
    if call.flags.is_on("detach") || eval_id.is_empty() {
        if !eval_id.is_empty() {
            call.ui.out(&format!("Evaluation ID: {eval_id}"));
        }
        return Ok(0);
    }
    let verbose = call.verbose();
    eval(call.ui, client, eval_id, verbose)
}

/// Follows what the eval does. Gives the exit status.
pub fn eval(ui: &mut Ui, client: &Client, eval_id: &str, verbose: bool) -> Result<i32, Failure> {
    let mut monitor = Monitor { ui, client, verbose };
    monitor.heading(&format!("Monitoring evaluation {}", quote(&id(eval_id, verbose))));
    let eval = monitor.until_done(eval_id)?;
    let status = monitor.conclude(&eval);
    if eval.status != "complete" {
        return Ok(1);
    }
    if eval.deployment_id.is_empty() {
        return Ok(status);
    }
    monitor.heading(&format!("Monitoring deployment {}", quote(&id(&eval.deployment_id, verbose))));
    self::deployment(ui, client, &eval.deployment_id, WAIT, verbose)
}

/// Follows a deployment, showing it at each change, and the one that goes back when it fails. One query waits at most
/// that long. Gives the exit status.
pub fn deployment(
    ui: &mut Ui,
    client: &Client,
    deployment_id: &str,
    wait: Duration,
    verbose: bool,
) -> Result<i32, Failure> {
    let ended = until_ended(ui, client, deployment_id, wait, verbose)?;
    if ended.status == "successful" {
        return Ok(0);
    }
    if let Some(rollback) = rollback(client, &ended)? {
        ui.out("");
        // It succeeds or not: what was asked for has failed.
        until_ended(ui, client, &rollback.id, wait, verbose)?;
    }
    Ok(1)
}

fn until_ended(
    ui: &mut Ui,
    client: &Client,
    deployment_id: &str,
    wait: Duration,
    verbose: bool,
) -> Result<Deployment, Failure> {
    let mut index = 0;
    let mut shown = Frame::default();
    loop {
        let answer = client.deployment(deployment_id, &after(index, wait)).doing("fetching deployment")?;
        index = next_index(index, answer.meta.index);
        let now = answer.value;
        let mut block = deployment::deployment(&now, verbose, &ui.clock, |title: &str| ui.bold(title));
        if verbose {
            let allocs = client.deployment_allocs(deployment_id, &QueryOptions::default());
            let table = alloc_table::allocs(&allocs.doing("fetching allocations")?.value, verbose, &ui.clock);
            block.push_str(&format!("\n\n{}\n{table}", ui.bold("Allocations")));
        }
        shown.show(ui, &id(deployment_id, verbose), &block, &now.status, now.is_terminal());
        if now.is_terminal() {
            return Ok(now);
        }
    }
}

/// The deployment that brings the last good version back, if the failed one said that there is a way back.
fn rollback(client: &Client, failed: &Deployment) -> Result<Option<Deployment>, Failure> {
    if failed.status != "failed" || !failed.status_description.contains(ROLLS_BACK) {
        return Ok(None);
    }
    let client = client.scoped("", &failed.namespace);
    let deadline = Instant::now() + ROLLBACK_WAIT;
    let mut index = 0;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let answer =
            client.job_deployment(&failed.job_id, &after(index, left)).doing("fetching rollback deployment")?;
        index = next_index(index, answer.meta.index);
        match answer.value {
            Some(latest) if latest.id != failed.id => return Ok(Some(latest)),
            _ if left.is_zero() => return Ok(None),
            _ => {}
        }
    }
}

fn after(index: u64, wait: Duration) -> QueryOptions {
    if index == 0 { QueryOptions::default() } else { QueryOptions::after(index, wait) }
}

/// An index that goes backwards means that the servers were restored: begin anew.
fn next_index(before: u64, now: u64) -> u64 {
    if now < before { 0 } else { now.max(1) }
}

/// What of an alloc was told.
struct Told {
    client_status: String,
}

struct Monitor<'a> {
    ui: &'a mut Ui,
    client: &'a Client,
    verbose: bool,
}

impl Monitor<'_> {
    fn heading(&mut self, text: &str) {
        let now = self.ui.clock.now_text();
        self.ui.plain(&format!("==> {now}: {text}"));
    }

    fn line(&mut self, text: &str) {
        let now = self.ui.clock.now_text();
        self.ui.out(&format!("    {now}: {text}"));
    }

    fn until_done(&mut self, eval_id: &str) -> Result<Eval, Failure> {
        let mut index = 0;
        let mut status = "pending".to_owned();
        let mut deployment_id = String::new();
        let mut is_first = true;
        let mut told = BTreeMap::new();
        loop {
            let answer = self.client.eval(eval_id, &after(index, WAIT)).doing("reading evaluation")?;
            index = next_index(index, answer.meta.index);
            let eval = answer.value;
            let allocs = self.client.eval_allocs(eval_id, &QueryOptions::default()).doing("reading allocations")?.value;
            if is_first {
                is_first = false;
                self.triggered(&eval);
            }
            if !eval.deployment_id.is_empty() && eval.deployment_id != deployment_id {
                eval.deployment_id.clone_into(&mut deployment_id);
                let short = id(&deployment_id, self.verbose);
                self.line(&format!("Evaluation within deployment: {}", quote(&short)));
            }
            self.allocs(&eval, &allocs, &mut told);
            if eval.status != status {
                self.line(&format!("Evaluation status changed: {} -> {}", quote(&status), quote(&eval.status)));
                eval.status.clone_into(&mut status);
            }
            if eval.is_terminal() {
                return Ok(eval);
            }
        }
    }

    fn triggered(&mut self, eval: &Eval) {
        if !eval.node_id.is_empty() {
            let node = id(&eval.node_id, self.verbose);
            self.line(&format!("Evaluation triggered by node {}", quote(&node)));
        } else if !eval.job_id.is_empty() {
            self.line(&format!("Evaluation triggered by job {}", quote(&eval.job_id)));
        }
    }

    fn allocs(&mut self, eval: &Eval, allocs: &[AllocStub], told: &mut BTreeMap<String, Told>) {
        let mut allocs: Vec<&AllocStub> = allocs.iter().collect();
        allocs.sort_by_key(|alloc| alloc.create_index);
        for alloc in allocs {
            let short = quote(&id(&alloc.id, self.verbose));
            match told.get(&alloc.id) {
                None if alloc.desired_status == "run" => {
                    let what = if alloc.create_index < eval.create_index { "modified" } else { "created" };
                    let node = quote(&id(&alloc.node_id, self.verbose));
                    self.line(&format!("Allocation {short} {what}: node {node}, group {}", quote(&alloc.task_group)));
                }
                Some(before) if before.client_status != alloc.client_status => {
                    let mut text = format!(
                        "Allocation {short} status changed: {} -> {}",
                        quote(&before.client_status),
                        quote(&alloc.client_status)
                    );
                    if !alloc.client_description.is_empty() {
                        text.push_str(&format!(" ({})", alloc.client_description));
                    }
                    self.line(&text);
                }
                None | Some(_) => {}
            }
            told.insert(alloc.id.clone(), Told { client_status: alloc.client_status.clone() });
        }
    }

    /// The last words on an eval. Gives the exit status that holds when no deployment follows.
    fn conclude(&mut self, eval: &Eval) -> i32 {
        let short = quote(&id(&eval.id, self.verbose));
        let ended = format!("Evaluation {short} finished with status {}", quote(&eval.status));
        if eval.failed_group_allocs.is_empty() {
            self.heading(&ended);
            return 0;
        }
        self.heading(&format!("{ended} but failed to place all allocations:"));
        for (name, metric) in &eval.failed_group_allocs {
            self.line(&placement::failed_group(name, metric));
            for reason in placement::reasons(metric, "      ") {
                self.ui.out(&reason);
            }
        }
        if !eval.blocked_eval.is_empty() {
            let blocked = quote(&id(&eval.blocked_eval, self.verbose));
            self.line(&format!("Evaluation {blocked} waiting for additional capacity to place remainder"));
        }
        PLACEMENT_FAILED
    }
}

/// What of a deployment stands on the screen.
#[derive(Default)]
struct Frame {
    block: String,
    lines: usize,
}

impl Frame {
    /// On a terminal the block is drawn over the one before, elsewhere it is printed anew when it has changed.
    fn show(&mut self, ui: &mut Ui, short_id: &str, block: &str, status: &str, is_done: bool) {
        let is_news = self.block != block;
        block.clone_into(&mut self.block);
        let now = ui.clock.now_text();
        if !ui.is_terminal {
            if is_news {
                ui.out(&format!("    \n{now}\n{block}"));
            }
            return;
        }
        let wiped = "\u{1b}[0G\u{1b}[2K\u{1b}[1A".repeat(self.lines);
        let head = match (is_done, status) {
            (false, _) => format!("  ⠙ Deployment {} in progress...", quote(short_id)),
            (true, "successful") => format!("  ✓ Deployment {} successful", quote(short_id)),
            (true, status) => format!("  ! Deployment {} {status}", quote(short_id)),
        };
        let body: String = block.lines().map(|line| format!("\n    {line}")).collect();
        let text = format!("{head}\n    \n    {now}{body}");
        self.lines = text.matches('\n').count();
        let end = if is_done { "\n" } else { "" };
        ui.write(format!("{wiped}\u{1b}[0G\u{1b}[2K{text}{end}").as_bytes());
    }
}
