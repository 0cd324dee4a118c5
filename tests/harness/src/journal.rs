//! What programs did to a disk, in order, and what a power cut at any moment of it may leave.
//!
//! The rules are the strictest that POSIX allows: bytes of a file are kept from its `fsync` on, a name in a directory from
//! that directory's `fsync` on, and nothing else is. What was not synced may be there, in any choice; a write may be there
//! up to a sector of it. A rename inside one directory happens or does not.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::{fs, io};

use crate::dice::Dice;

/// A file or directory.
pub type Inode = u64;
/// The directory at the top.
pub const ROOT: Inode = 1;
/// A write that is cut apart is cut at a multiple of this.
const SECTOR_BYTES: usize = 512;

/// One thing that was done.
#[derive(Clone, Debug)]
pub enum Step {
    /// A new thing, not yet under any name, and its permission bits.
    New {
        /// The thing.
        inode: Inode,
        /// It is a directory.
        is_dir: bool,
    },
    /// Names of one directory changed at one moment: what each stands for from then on, nothing when it is gone.
    Names {
        /// The directory.
        dir: Inode,
        /// Its names.
        changes: Vec<(OsString, Option<Inode>)>,
    },
    /// Other permission bits.
    Mode {
        /// Of what.
        inode: Inode,
        /// The bits.
        mode: u32,
    },
    /// Bytes were written.
    Write {
        /// The file.
        inode: Inode,
        /// Where.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// The file was cut or made longer.
    Length {
        /// The file.
        inode: Inode,
        /// Its length since.
        len: u64,
    },
    /// A file or directory was synced, and that was answered.
    Sync {
        /// Which.
        inode: Inode,
    },
}

/// What becomes of that which was not synced.
#[derive(Clone, Debug)]
pub enum Unsynced {
    /// It is gone.
    Lost,
    /// It is all there: nothing but the end of the program.
    Kept,
    /// Some of it is there, by chance.
    Some(Dice),
}

/// All that was done.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    steps: Vec<Step>,
}

/// What is on the disk after a cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    dirs: BTreeMap<Inode, BTreeMap<OsString, Inode>>,
    files: BTreeMap<Inode, Vec<u8>>,
    modes: BTreeMap<Inode, u32>,
}

impl Journal {
    /// Notes a step.
    pub fn push(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Nothing was done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The step before which a cut at that place happens.
    pub fn step(&self, place: usize) -> Option<&Step> {
        self.steps.get(place)
    }

    /// The disk after a cut before step `place`.
    pub fn cut(&self, place: usize, mut unsynced: Unsynced) -> Image {
        let steps = &self.steps[..place.min(self.steps.len())];
        let mut image = Image::default();
        image.dirs.insert(ROOT, BTreeMap::new());
        let mut synced: BTreeMap<Inode, usize> = BTreeMap::new();
        for (number, step) in steps.iter().enumerate() {
            if let Step::Sync { inode } = step {
                synced.insert(*inode, number);
            }
        }
        let is_synced = |inode: Inode, number: usize| synced.get(&inode).is_some_and(|at| number < *at);
        // Names of a directory are kept in their order: once one is lost, all later ones are.
        let mut ended: BTreeMap<Inode, bool> = BTreeMap::new();
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::New { inode, is_dir: true } => {
                    image.dirs.insert(*inode, BTreeMap::new());
                }
                Step::New { inode, is_dir: false } => {
                    image.files.insert(*inode, Vec::new());
                }
                Step::Mode { inode, mode } => {
                    image.modes.insert(*inode, *mode);
                }
                Step::Names { dir, changes } => {
                    let is_over = ended.entry(*dir).or_default();
                    *is_over = *is_over || !(is_synced(*dir, number) || is_kept(&mut unsynced));
                    if !*is_over {
                        image.rename(*dir, changes);
                    }
                }
                Step::Write { inode, offset, bytes } => {
                    let len = if is_synced(*inode, number) { bytes.len() } else { part(&mut unsynced, bytes.len()) };
                    image.write(*inode, *offset, &bytes[..len]);
                }
                Step::Length { inode, len } => {
                    if is_synced(*inode, number) || is_kept(&mut unsynced) {
                        let len = usize::try_from(*len).expect("a file of a test is small");
                        image.files.entry(*inode).or_default().resize(len, 0);
                    }
                }
                Step::Sync { .. } => {}
            }
        }
        image
    }
}

fn is_kept(unsynced: &mut Unsynced) -> bool {
    match unsynced {
        Unsynced::Lost => false,
        Unsynced::Kept => true,
        Unsynced::Some(dice) => dice.roll(2) == 0,
    }
}

/// How many bytes of a write are kept.
fn part(unsynced: &mut Unsynced, len: usize) -> usize {
    match unsynced {
        Unsynced::Lost => 0,
        Unsynced::Kept => len,
        Unsynced::Some(dice) => match dice.roll(4) {
            0 => 0,
            1 => (dice.roll(len / SECTOR_BYTES + 1)) * SECTOR_BYTES,
            _ => len,
        },
    }
}

impl Image {
    fn rename(&mut self, dir: Inode, changes: &[(OsString, Option<Inode>)]) {
        let names = self.dirs.entry(dir).or_default();
        for (name, inode) in changes {
            match inode {
                Some(inode) => names.insert(name.clone(), *inode),
                None => names.remove(name),
            };
        }
    }

    fn write(&mut self, inode: Inode, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let file = self.files.entry(inode).or_default();
        let start = usize::try_from(offset).expect("a file of a test is small");
        let end = start + bytes.len();
        if file.len() < end {
            file.resize(end, 0);
        }
        file[start..end].copy_from_slice(bytes);
    }

    /// Puts it into a directory, which must be there.
    ///
    /// # Errors
    /// It is not taken.
    pub fn place(&self, to: &Path) -> io::Result<()> {
        self.place_dir(ROOT, to)
    }

    fn place_dir(&self, dir: Inode, to: &Path) -> io::Result<()> {
        for (name, inode) in self.dirs.get(&dir).into_iter().flatten() {
            let path = to.join(name);
            if self.dirs.contains_key(inode) {
                fs::create_dir(&path)?;
                self.place_dir(*inode, &path)?;
            } else {
                fs::write(&path, self.files.get(inode).map_or(&[][..], Vec::as_slice))?;
            }
            if let Some(mode) = self.modes.get(inode) {
                use std::os::unix::fs::PermissionsExt as _;
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode & 0o7777))?;
            }
        }
        Ok(())
    }

    /// All files by their paths from the top, and their lengths.
    pub fn paths(&self) -> BTreeMap<String, usize> {
        let mut paths = BTreeMap::new();
        let mut open = vec![(ROOT, String::new())];
        while let Some((dir, before)) = open.pop() {
            for (name, inode) in self.dirs.get(&dir).into_iter().flatten() {
                let path = format!("{before}/{}", name.display());
                match self.dirs.contains_key(inode) {
                    true => open.push((*inode, path)),
                    false => drop(paths.insert(path, self.files.get(inode).map_or(0, Vec::len))),
                }
            }
        }
        paths
    }

    /// The bytes of a file by its path from the top.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        let mut inode = ROOT;
        for name in path.split('/') {
            inode = *self.dirs.get(&inode)?.get(&OsString::from(name))?;
        }
        self.files.get(&inode).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file written beside, synced, renamed over the old one, and the directory synced.
    fn replaced() -> Journal {
        let mut journal = Journal::default();
        let name = |from: &str, inode| (OsString::from(from), inode);
        for (inode, text) in [(2, b"old".to_vec()), (3, vec![b'n'; 2000])] {
            journal.push(Step::New { inode, is_dir: false });
            journal.push(Step::Names { dir: ROOT, changes: vec![name("new", Some(inode))] });
            journal.push(Step::Write { inode, offset: 0, bytes: text });
            journal.push(Step::Sync { inode });
            journal.push(Step::Names { dir: ROOT, changes: vec![name("new", None), name("file", Some(inode))] });
            journal.push(Step::Sync { inode: ROOT });
        }
        journal
    }

    #[test]
    fn what_was_synced_is_kept_in_every_case() {
        let journal = replaced();
        for seed in 0..200 {
            for place in 6..=journal.len() {
                for fate in [Unsynced::Lost, Unsynced::Kept, Unsynced::Some(Dice::new(seed))] {
                    let image = journal.cut(place, fate);
                    let file = image.file("file").expect("the old one or the new one");
                    assert!(file == b"old" || file == [b'n'; 2000], "{place} {seed}");
                    assert!(place < 12 || file.len() == 2000, "{place} {seed}");
                }
            }
        }
    }

    #[test]
    fn what_was_not_synced_may_be_lost_or_torn() {
        let journal = replaced();
        assert_eq!(journal.cut(5, Unsynced::Lost).file("file"), None);
        assert_eq!(journal.cut(5, Unsynced::Kept).file("file"), Some(&b"old"[..]));
        let lengths: std::collections::BTreeSet<usize> = (0..200)
            .filter_map(|seed| journal.cut(9, Unsynced::Some(Dice::new(seed))).file("new").map(<[u8]>::len))
            .collect();
        assert!(lengths.is_superset(&[0, 512, 1024, 1536, 2000].into()), "{lengths:?}");
    }
}
