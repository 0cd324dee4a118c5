//! Where in the tree of cgroup v2 this edge may make its own: in the part that was handed to it, else, for root, right below the top.
//!
//! ```text
//! <unit>/agent   is where we were started --> <unit>/drover/<node>    systemd: Delegate=yes, DelegateSubgroup=agent
//! <given>/<leaf> is where we were started --> <given>/drover/<node>   somebody gave <given> to our user
//! anywhere else                           --> /drover/<node>
//! ```
//! Only a leaf will do: a cgroup that hands controllers down has no processes of its own, and the agent is one. A slice is nobody's
//! but its service manager's, whoever owns the directory: in a session of a user all of them belong to that user.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};

use crate::cgroup::short_node;

/// Longest text that is read of a file or an attribute, in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// A place in the tree; both paths are below the top, and empty for the top itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Home {
    /// What was handed to us.
    pub(crate) path: PathBuf,
    /// Where this process goes back to when it has nothing left to own.
    pub(crate) origin: PathBuf,
}

impl Home {
    /// Finds it. Tasks that are somewhere already stay there: `remembered` is the file that knows of the place of an earlier supervisor.
    pub(crate) fn find(root: &Path, parent: &Path, node_id: &str, remembered: &Path) -> Home {
        let memory = std::fs::read_to_string(remembered).ok().and_then(|text| serde_json::from_str::<Home>(&text).ok());
        let is_used = |home: &Home| root.join(&home.path).join(parent).join(short_node(node_id)).is_dir();
        if let Some(home) = memory.filter(|home| home.is_plain() && is_used(home)) {
            return home;
        }
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let home = Home::of_process(&own, |dir| is_given(&root.join(dir)));
        let forgotten = match home.path.as_os_str().is_empty() {
            true => std::fs::remove_file(remembered),
            false => serde_json::to_vec(&home).map_err(Into::into).and_then(|text| std::fs::write(remembered, text)),
        };
        // It matters only where a later supervisor is started from elsewhere.
        drop(forgotten);
        home
    }

    fn of_process(own: &str, is_given: impl Fn(&Path) -> bool) -> Home {
        let path = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let home = Path::new(path).parent().map(Path::to_owned).unwrap_or_default();
        match home.as_os_str().is_empty() || !is_given(&home) {
            true => Home::default(),
            false => Home { path: home, origin: PathBuf::from(path) },
        }
    }

    /// No path of the file leads out of the tree.
    fn is_plain(&self) -> bool {
        let is_plain = |path: &Path| path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        is_plain(&self.path) && is_plain(&self.origin)
    }
}

/// Whether a cgroup is ours to divide: its manager says so, or it belongs to this user, who is not root.
fn is_given(dir: &Path) -> bool {
    if is_managers(dir) {
        return false;
    }
    let has = |name: &str| {
        let mut value = [0; TEXT_BYTES_MAX];
        let length = rustix::fs::getxattr(dir, name, &mut value).unwrap_or(0);
        value.get(..length) == Some(b"1")
    };
    // The second is for root's eyes only, and all that older managers set.
    if has("user.delegate") || has("trusted.delegate") {
        return is_writable(dir);
    }
    use std::os::unix::fs::MetadataExt;
    let user = rustix::process::geteuid();
    let is_own = std::fs::metadata(dir).is_ok_and(|meta| meta.uid() == user.as_raw());
    !user.is_root() && is_own && is_writable(dir)
}

/// Slices, and the unit that a user's own service manager was given.
fn is_managers(dir: &Path) -> bool {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".slice") || name.starts_with("user@") && name.ends_with(".service")
}

fn is_writable(dir: &Path) -> bool {
    let files = ["", "cgroup.procs", "cgroup.subtree_control"];
    files.iter().all(|file| access(dir.join(file), Access::WRITE_OK).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_leaf_of_a_part_that_was_given_has_a_home() {
        let check = |own: &str, expected: (&str, &str)| {
            let home = Home::of_process(own, |dir| dir == Path::new("system.slice/edge.service"));
            assert_eq!((home.path.to_str().unwrap(), home.origin.to_str().unwrap()), expected, "{own}");
        };
        let leaf = "system.slice/edge.service/agent";
        check(&format!("0::/{leaf}\n"), ("system.slice/edge.service", leaf));
        check("0::/system.slice/edge.service\n", ("", ""));
        check("0::/\n", ("", ""));
        check("0::/leaf\n", ("", ""));
        check("9:memory:/system.slice/edge.service/agent\n", ("", ""));
    }

    #[test]
    fn what_a_service_manager_divides_was_not_given_to_us() {
        let dir = tempfile::tempdir().unwrap();
        let check = |name: &str, expected: bool| {
            let part = dir.path().join(name);
            std::fs::create_dir(&part).unwrap();
            for file in ["cgroup.procs", "cgroup.subtree_control"] {
                std::fs::write(part.join(file), "").unwrap();
            }
            // What systemd says of a part that it has given away; the file system may not be able to hold it.
            let is_marked = rustix::fs::setxattr(&part, "user.delegate", b"1", rustix::fs::XattrFlags::empty()).is_ok();
            let is_expected = expected && (is_marked || !rustix::process::geteuid().is_root());
            assert_eq!(is_given(&part), is_expected, "{name}");
        };
        check("app.slice", false);
        check("user@1000.service", false);
        check("edge.service", true);
        check("given", true);
    }

    #[test]
    fn a_place_that_is_in_use_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (root, remembered) = (dir.path().join("tree"), dir.path().join("home"));
        let find = || Home::find(&root, Path::new("drover"), "n", &remembered).path;
        let write = |path: &str| {
            let home = Home { path: path.into(), origin: "given/leaf".into() };
            std::fs::write(&remembered, serde_json::to_vec(&home).unwrap()).unwrap();
        };
        std::fs::create_dir_all(root.join("given/drover/n")).unwrap();
        write("given");
        assert_eq!(find(), Path::new("given"));
        write("given/../given");
        assert_eq!(find(), Path::new(""), "no such path is ever written");
        write("other");
        assert_eq!(find(), Path::new(""), "nothing of ours is there");
        assert!(!remembered.exists());
    }
}
