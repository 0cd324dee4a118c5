//! `drover deployment promote`, `pause`, `resume`, `fail` and `unblock`

use drover_api_client::QueryOptions;

use crate::call::{Call, Doing, Failure, Outcome};
use crate::commands::{monitor, resolve};
use crate::flags::{Flag, list, switch};
use crate::grammar::Command;
use crate::output::text::quote;

const DETACH: Flag = switch("detach", "Do not follow what happens.");
const VERBOSE: Flag = switch("verbose", "Full ids.");

/// Lets canaries take over.
pub const PROMOTE: Command = Command {
    path: "deployment promote",
    summary: "Let the canaries of a deployment take over",
    arguments: "<deployment id>",
    flags: &[DETACH, list("group", "name", "Only this group. May be repeated. Default: all groups"), VERBOSE],
    run: promote,
    ..Command::BASE
};

/// Stops it for a while.
pub const PAUSE: Command = Command {
    path: "deployment pause",
    summary: "Place nothing more for a deployment",
    arguments: "<deployment id>",
    flags: &[VERBOSE],
    run: pause,
    ..Command::BASE
};

/// Goes on with it.
pub const RESUME: Command = Command {
    path: "deployment resume",
    summary: "Go on with a paused deployment",
    arguments: "<deployment id>",
    flags: &[DETACH, VERBOSE],
    run: resume,
    ..Command::BASE
};

/// Ends it.
pub const FAIL: Command = Command {
    path: "deployment fail",
    summary: "End a deployment as failed",
    arguments: "<deployment id>",
    about: "Ends a deployment as failed. Groups with auto_revert go back to the last good version of the job.",
    flags: &[DETACH, VERBOSE],
    run: fail,
    ..Command::BASE
};

/// Lets one go on that waits for other regions.
pub const UNBLOCK: Command = Command {
    path: "deployment unblock",
    summary: "Let a deployment go on that waits for other regions",
    arguments: "<deployment id>",
    flags: &[DETACH, VERBOSE],
    run: unblock,
    ..Command::BASE
};

/// The deployment that the argument means, and a client for its namespace.
fn chosen(call: &Call) -> Result<(drover_api_client::Client, String), Failure> {
    let wanted = call.only_arg("<deployment id>")?;
    let client = call.client()?;
    let found = resolve::deployment(&client, &wanted)?;
    Ok((client.scoped("", &found.namespace), found.id))
}

fn promote(call: &mut Call) -> Outcome {
    let (client, deployment_id) = chosen(call)?;
    let groups = call.flags.texts("group").to_vec();
    let promoted = client.promote_deployment(&deployment_id, &groups, &QueryOptions::default());
    let written = promoted.doing("promoting deployment")?.value;
    monitor::follow(call, &client, &written.eval_id)
}

fn pause(call: &mut Call) -> Outcome {
    let (client, deployment_id) = chosen(call)?;
    client.pause_deployment(&deployment_id, true, &QueryOptions::default()).doing("pausing deployment")?;
    call.ui.out(&format!("Deployment {} paused", quote(&deployment_id)));
    Ok(0)
}

fn resume(call: &mut Call) -> Outcome {
    let (client, deployment_id) = chosen(call)?;
    let resumed = client.pause_deployment(&deployment_id, false, &QueryOptions::default());
    let written = resumed.doing("resuming deployment")?.value;
    call.ui.out(&format!("Deployment {} resumed", quote(&deployment_id)));
    follow_below(call, &client, &written.eval_id)
}

fn fail(call: &mut Call) -> Outcome {
    let (client, deployment_id) = chosen(call)?;
    let failed = client.fail_deployment(&deployment_id, &QueryOptions::default());
    let written = failed.doing("failing deployment")?.value;
    let name = quote(&deployment_id);
    call.ui.out(&match written.reverted_job_version {
        Some(version) => format!("Deployment {name} failed. Auto-reverted to job version {version}."),
        None => format!("Deployment {name} failed"),
    });
    follow_below(call, &client, &written.eval_id)
}

fn unblock(call: &mut Call) -> Outcome {
    let (client, deployment_id) = chosen(call)?;
    let unblocked = client.unblock_deployment(&deployment_id, &QueryOptions::default());
    let written = unblocked.doing("unblocking deployment")?.value;
    call.ui.out(&format!("Deployment {} unblocked", quote(&deployment_id)));
    follow_below(call, &client, &written.eval_id)
}

/// Follows the eval, an empty line beneath what was said.
fn follow_below(call: &mut Call, client: &drover_api_client::Client, eval_id: &str) -> Outcome {
    if !call.flags.is_on("detach") && !eval_id.is_empty() {
        call.ui.out("");
    }
    monitor::follow(call, client, eval_id)
}
