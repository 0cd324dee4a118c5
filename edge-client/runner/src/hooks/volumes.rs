//! What of the host a task is shown: the volumes that its group asks for, where the task mounts them.

use std::path::{Component, Path, PathBuf};

use drover_drivers::{Driver, TaskMount};
use drover_model::group::Group;
use drover_model::node::Node;
use drover_model::task::Task;
use drover_model::volume::HostVolumeRequest;

use crate::decide::actual::StartFailure;
use crate::task_env::TaskEnv;

/// Before the start. The node may have been given other volumes since the alloc was placed on it.
pub fn prestart(
    driver: &dyn Driver,
    node: &Node,
    group: &Group,
    task: &Task,
    alloc_name: &str,
    env: &TaskEnv,
) -> Result<Vec<TaskMount>, StartFailure> {
    let failed = |text: String| StartFailure::Hook(format!("volumes: {text}"));
    let requests = HostVolumeRequest::all(group);
    let sources = requests.iter().map(|request| request.source(alloc_name));
    let missing: Vec<String> = sources.filter(|source| !node.host_volumes.contains_key(source)).collect();
    if !missing.is_empty() {
        let (count, plural) = (missing.len(), if missing.len() == 1 { "" } else { "s" });
        let lines: String = missing.iter().map(|source| format!("\t* missing {source}\n")).collect();
        return Err(failed(format!("host volume validation error: {count} error{plural} occurred:\n{lines}\n")));
    }
    let mut mounts = Vec::new();
    for mount in &task.volume_mounts {
        let text = |key: &str| env.text(mount[key].as_str().unwrap_or_default());
        let alias = text("Volume");
        let Some(request) = requests.iter().find(|request| request.alias == alias) else { continue };
        let volume = node.host_volumes.get(&request.source(alloc_name)).unwrap_or(&serde_json::Value::Null);
        let destination = text("Destination");
        let target = inside(&destination).ok_or_else(|| failed(format!("no place for a volume: {destination:?}")))?;
        let follows_host = match text("PropagationMode").as_str() {
            "" | "private" => false,
            "host-to-task" => true,
            other => return Err(failed(format!("propagation_mode {other:?} is not supported"))),
        };
        // What it leads to: a driver may show a link as a link, which leads elsewhere in the task's root.
        let path = Path::new(volume["Path"].as_str().unwrap_or_default());
        let source = path.canonicalize().map_err(|error| failed(format!("{}: {error}", path.display())))?;
        mounts.push(TaskMount {
            source,
            target,
            is_read_only: volume["ReadOnly"] == true || request.is_read_only || mount["ReadOnly"] == true,
            follows_host,
        });
    }
    if !mounts.is_empty() && !driver.takes_mounts() {
        let text = format!("task driver {:?} for {:?} does not support host volumes", task.driver, task.name);
        return Err(failed(text));
    }
    Ok(mounts)
}

/// The place as an absolute path of the task's own root; none for the root itself and for what leads out of it.
fn inside(destination: &str) -> Option<PathBuf> {
    let mut path = PathBuf::from("/");
    for component in Path::new(destination).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    (path != Path::new("/")).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_stay_inside() {
        let check = |given: &str, expected: Option<&str>| assert_eq!(inside(given), expected.map(PathBuf::from));
        check("/srv/data", Some("/srv/data"));
        check("data", Some("/data"));
        check("./a//b/.", Some("/a/b"));
        for given in ["", "/", ".", "..", "/srv/../../etc"] {
            check(given, None);
        }
    }
}
