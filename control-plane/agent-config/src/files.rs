//! Which files a list of paths stands for.

use std::path::{Path, PathBuf};

use drover_hcl::Source;

use crate::complaint::Complaint;

/// Most bytes of one file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The files of a path: itself, or all `*.hcl` and `*.json` of a directory in the order of their names.
pub fn files_of(path: &Path) -> Result<Vec<PathBuf>, Complaint> {
    let about = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => Complaint::plain(format!("stat {}: no such file or directory", path.display())),
        _ => Complaint::plain(format!("read {}: {e}", path.display())),
    };
    if !std::fs::metadata(path).map_err(about)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(about)? {
        let file = entry.map_err(about)?.path();
        let is_ours = file.extension().is_some_and(|ending| ending == "hcl" || ending == "json");
        if is_ours && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// The text of a file.
pub fn read(path: &Path) -> Result<Source, Complaint> {
    let about = |e: std::io::Error| Complaint::plain(format!("read {}: {e}", path.display()));
    let size = std::fs::metadata(path).map_err(about)?.len();
    if size > FILE_BYTES_MAX {
        return Err(Complaint::plain(format!("read {}: larger than {FILE_BYTES_MAX} bytes", path.display())));
    }
    let bytes = std::fs::read(path).map_err(about)?;
    let text =
        String::from_utf8(bytes).map_err(|_| Complaint::plain(format!("read {}: not UTF-8 text", path.display())))?;
    Ok(Source::new(path.display().to_string(), text))
}
