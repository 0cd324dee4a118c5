//! The node's id, made once and kept in `<data_dir>/client/client-id`, and the key that it comes from.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use drover_certs::NodeKey;
use drover_model::NodeId;

const FILE: &str = "client-id";

const KEY_FILE: &str = "node-key.pem";

/// Reads the id, or makes one. It is derived from a key that lies beside it: with certificates of the operator's own the node says
/// by it who it is.
pub fn load_or_make(dir: &Path) -> Result<NodeId> {
    let path = dir.join(FILE);
    let key = load_key(dir)?;
    match (fs::read_to_string(&path), key) {
        (Ok(text), key) => {
            let text = text.trim();
            if key.is_some_and(|key| key.node() != text) {
                bail!("{} and {KEY_FILE} beside it do not belong together", path.display());
            }
            text.parse().with_context(|| format!("{} holds no node id", path.display()))
        }
        (Err(error), key) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = match key {
                // The agent was killed between the two.
                Some(key) => key,
                None => {
                    let key = NodeKey::generate().context("make a node's key")?;
                    write_durably(&dir.join(KEY_FILE), key.to_pem().as_bytes(), 0o600)?;
                    key
                }
            };
            write_durably(&path, key.node().as_bytes(), 0o644)?;
            key.node().parse().context("use the id of a new key")
        }
        (Err(error), _) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// The key that the id was derived from; none in a directory that was made before there were such keys.
pub fn load_key(dir: &Path) -> Result<Option<NodeKey>> {
    let path = dir.join(KEY_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => NodeKey::from_pem(&text).map(Some).with_context(|| format!("{} holds no key", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
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
        let key = load_key(dir.path()).unwrap().unwrap();
        assert_eq!(key.node(), id.to_string());
        // Killed before the id was written: the key counts.
        fs::remove_file(dir.path().join(FILE)).unwrap();
        assert_eq!(load_or_make(dir.path()).unwrap(), id);
        fs::write(dir.path().join(FILE), "nonsense").unwrap();
        assert!(load_or_make(dir.path()).is_err());
        // An id from before there were keys stays.
        fs::remove_file(dir.path().join(KEY_FILE)).unwrap();
        fs::write(dir.path().join(FILE), "abababab-abab-4bab-abab-abababababab").unwrap();
        assert_eq!(load_or_make(dir.path()).unwrap().to_string(), "abababab-abab-4bab-abab-abababababab");
        assert!(load_key(dir.path()).unwrap().is_none());
    }
}
