//! A deployment.

use drover_api_client::deployments::{Deployment, GroupState};

use crate::output::table::{Fields, table};
use crate::output::text::id;
use crate::output::time::Clock;

/// Its fields, then its groups under a title that `bold` dresses.
pub fn deployment(deployment: &Deployment, verbose: bool, clock: &Clock, bold: impl Fn(&str) -> String) -> String {
    let mut fields = Fields::new();
    fields
        .add("ID", id(&deployment.id, verbose))
        .add("Job ID", deployment.job_id.as_str())
        .add("Job Version", deployment.job_version.to_string())
        .add("Status", deployment.status.as_str())
        .add("Description", deployment.status_description.as_str());
    with_groups(fields, deployment, clock, bold)
}

/// The same beneath its job, without what the job says already.
pub fn latest(deployment: &Deployment, verbose: bool, clock: &Clock, bold: impl Fn(&str) -> String) -> String {
    let mut fields = Fields::new();
    fields
        .add("ID", id(&deployment.id, verbose))
        .add("Status", deployment.status.as_str())
        .add("Description", deployment.status_description.as_str());
    with_groups(fields, deployment, clock, bold)
}

fn with_groups(fields: Fields, deployment: &Deployment, clock: &Clock, bold: impl Fn(&str) -> String) -> String {
    if deployment.task_groups.is_empty() {
        return fields.text();
    }
    format!("{}\n\n{}\n{}", fields.text(), bold("Deployed"), groups(deployment, clock))
}

/// A column stands only when a group uses it.
fn groups(deployment: &Deployment, clock: &Clock) -> String {
    let any = |uses: fn(&GroupState) -> bool| deployment.task_groups.values().any(uses);
    let reverts = any(|group| group.auto_revert);
    let has_canaries = any(|group| group.desired_canaries > 0);
    let has_deadline = any(|group| group.progress_deadline != 0 || !group.require_progress_by.is_empty());
    let mut head = vec!["Task Group"];
    let optional = |head: &mut Vec<&'static str>, shown: bool, title: &'static str| {
        if shown {
            head.push(title);
        }
    };
    optional(&mut head, reverts, "Auto Revert");
    optional(&mut head, has_canaries, "Promoted");
    head.push("Desired");
    optional(&mut head, has_canaries, "Canaries");
    head.extend(["Placed", "Healthy", "Unhealthy"]);
    optional(&mut head, has_deadline, "Progress Deadline");
    let rows: Vec<Vec<String>> = deployment
        .task_groups
        .iter()
        .map(|(name, group)| {
            let of_canaries = |text: String| if group.desired_canaries > 0 { text } else { "N/A".to_owned() };
            let mut row = vec![name.clone()];
            if reverts {
                row.push(group.auto_revert.to_string());
            }
            if has_canaries {
                row.push(of_canaries(group.promoted.to_string()));
            }
            row.push(group.desired_total.to_string());
            if has_canaries {
                row.push(of_canaries(group.desired_canaries.to_string()));
            }
            row.extend(
                [group.placed_allocs, group.healthy_allocs, group.unhealthy_allocs].map(|count| count.to_string()),
            );
            if has_deadline {
                let deadline = clock.absolute_text(&group.require_progress_by);
                row.push(if deadline.is_empty() { "N/A".to_owned() } else { deadline });
            }
            row
        })
        .collect();
    table(&head, &rows)
}

/// Deployments in a table, newest first.
pub fn list(deployments: &[Deployment], verbose: bool) -> String {
    if deployments.is_empty() {
        return "No deployments found".to_owned();
    }
    let mut sorted: Vec<&Deployment> = deployments.iter().collect();
    sorted.sort_by_key(|deployment| std::cmp::Reverse(deployment.create_index));
    let rows: Vec<Vec<String>> = sorted
        .into_iter()
        .map(|deployment| {
            vec![
                id(&deployment.id, verbose),
                deployment.job_id.clone(),
                deployment.job_version.to_string(),
                deployment.status.clone(),
                deployment.status_description.clone(),
            ]
        })
        .collect();
    table(&["ID", "Job ID", "Job Version", "Status", "Description"], &rows)
}
