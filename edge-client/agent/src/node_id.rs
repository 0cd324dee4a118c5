//! The node's id, made once and kept in `<data_dir>/client/client-id`.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use drover_model::NodeId;

const FILE: &str = "client-id";

/// Reads the id, or makes one.
pub fn load_or_make(dir: &Path) -> Result<NodeId> {
    let path = dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().with_context(|| format!("{} holds no node id", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut bytes = [0; 16];
            getrandom::fill(&mut bytes).map_err(|error| anyhow!("get random bytes for a node id: {error}"))?;
            let id = NodeId::from_random(bytes);
            write_durably(&path, id.to_string().as_bytes(), 0o644)?;
            Ok(id)
        }
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// Puts a file in place as a whole: after a power cut it is the old one or the new one.
pub fn write_durably(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let write = || -> std::io::Result<()> {
        let new = path.with_extension("new");
        let mut file = File::options().write(true).create(true).truncate(true).mode(mode).open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        match path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    };
    write().with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let id = load_or_make(dir.path()).unwrap();
        assert_eq!(load_or_make(dir.path()).unwrap(), id);
        fs::write(dir.path().join(FILE), "nonsense").unwrap();
        assert!(load_or_make(dir.path()).is_err());
    }
}
