use super::*;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

/// An alloc's directory beside something that nobody may reach.
struct Bed {
    base: tempfile::TempDir,
}

impl Bed {
    fn new() -> Bed {
        let base = tempfile::tempdir().unwrap();
        let bed = Bed { base };
        for dir in ["alloc/logs", "t/local/deep", "t/secrets", "t/private"] {
            std::fs::create_dir_all(bed.root().join(dir)).unwrap();
        }
        std::fs::create_dir(bed.base.path().join("outside")).unwrap();
        std::fs::write(bed.base.path().join("outside/secret"), "OUTSIDE").unwrap();
        std::fs::write(bed.root().join("t/local/f"), "inside").unwrap();
        std::fs::write(bed.root().join("t/secrets/token"), "TOKEN").unwrap();
        bed
    }

    fn root(&self) -> PathBuf {
        self.base.path().join("a1")
    }

    fn place(&self, path: &str) -> Place {
        Place::new(self.root(), path.to_owned())
    }

    /// The same without the kernel's guard.
    fn unguarded(&self, path: &str) -> Place {
        Place { is_unguarded: true, ..self.place(path) }
    }

    fn read(&self, path: &str) -> Result<String, String> {
        Self::read_at(&self.place(path))
    }

    fn read_at(place: &Place) -> Result<String, String> {
        let file = place.open_file().map_err(|error| error.to_string())?;
        let mut text = vec![0; 100];
        let length = file.read_at(&mut text, 0).unwrap();
        Ok(String::from_utf8_lossy(&text[..length]).into_owned())
    }
}

const ESCAPES: &str = "Path escapes the alloc directory";

#[test]
fn files_are_listed_and_read() {
    let bed = Bed::new();
    let names = |path: &str| -> Vec<String> {
        bed.place(path).list().unwrap().into_iter().map(|file| format!("{} {}", file.mode, file.name)).collect()
    };
    assert_eq!(names("/"), ["drwxr-xr-x alloc", "drwxr-xr-x t"]);
    assert_eq!(names("t/local"), ["drwxr-xr-x deep", "-rw-r--r-- f"]);
    assert_eq!(names("t/secrets"), ["-rw-r--r-- token"]);
    let found = bed.place("t/local/../local/f").stat().unwrap();
    let expected = ("f", false, 6, "text/plain; charset=utf-8");
    assert_eq!((found.name.as_str(), found.is_dir, found.size, found.content_type.as_str()), expected);
    assert!(bed.place("t/local").stat().unwrap().is_dir);
    assert_eq!(bed.read("/t/local/f"), Ok("inside".to_owned()));
    // A link that stays inside is followed.
    symlink("f", bed.root().join("t/local/link")).unwrap();
    symlink("../../alloc", bed.root().join("t/local/shared")).unwrap();
    assert_eq!(bed.read("t/local/link"), Ok("inside".to_owned()));
    assert!(bed.place("t/local/shared").stat().unwrap().is_dir);
    assert_eq!(mode_text(FileType::Directory, 0o41777), "dtrwxrwxrwx");
    assert_eq!(mode_text(FileType::Fifo, 0o10600), "prw-------");
}

#[test]
fn a_list_is_whole_or_refused() {
    let bed = Bed::new();
    let dir = bed.root().join("t/local/many");
    std::fs::create_dir(&dir).unwrap();
    for number in 0..FILES_MAX {
        std::fs::hard_link(bed.root().join("t/local/f"), dir.join(number.to_string()))
            .or_else(|_| std::fs::write(dir.join(number.to_string()), ""))
            .unwrap();
    }
    assert_eq!(bed.place("t/local/many").list().unwrap().len(), FILES_MAX);
    std::fs::write(dir.join("more"), "").unwrap();
    let refused = bed.place("t/local/many").list().unwrap_err().to_string();
    assert_eq!(refused, "read directory: it has more than 65536 files");
}

#[test]
fn what_is_not_there_is_said_in_words() {
    let bed = Bed::new();
    let root = bed.root().display().to_string();
    let text = |error: RpcError| error.to_string();
    assert_eq!(text(bed.place("no").stat().unwrap_err()), format!("stat {root}/no: no such file or directory"));
    assert_eq!(text(bed.place("no").list().unwrap_err()), format!("open {root}/no: no such file or directory"));
    assert_eq!(text(bed.place("t/local/f").list().unwrap_err()), format!("open {root}/t/local/f: not a directory"));
    assert_eq!(bed.read("t"), Err("file \"t\" is a directory".to_owned()));
    assert_eq!(bed.read("t/secrets/token"), Err("Reading secret file prohibited: t/secrets/token".to_owned()));
    // By another way it is secret all the same.
    symlink("../secrets", bed.root().join("t/local/way")).unwrap();
    assert!(bed.read("t/local/way/token").unwrap_err().starts_with("Reading secret file prohibited"));
    assert_eq!(bed.place("t/local/way/token").stat().unwrap().content_type, "");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        bed.root().join("t/local/fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert_eq!(bed.read("t/local/fifo"), Err("file \"t/local/fifo\" is not a regular file".to_owned()));
}

/// What lies outside, by its name, its size or its content, as each way of asking would show it.
fn escapes(place: &Place) -> usize {
    let read = Bed::read_at(place).is_ok_and(|text| text != "inside" && text != "TOKEN");
    let listed = place.list().is_ok_and(|files| files.iter().any(|file| file.name == "secret" && file.size == 7));
    let stat = place.stat().is_ok_and(|found| found.size == 7 && !found.is_dir);
    usize::from(read) + usize::from(listed) + usize::from(stat)
}

fn hostile_names(bed: &Bed) -> Vec<String> {
    let outside = bed.base.path().join("outside");
    symlink(&outside, bed.root().join("t/local/abs")).unwrap();
    symlink("../../../outside", bed.root().join("t/local/rel")).unwrap();
    symlink("abs", bed.root().join("t/local/chain")).unwrap();
    symlink("/proc/self/root", bed.root().join("t/local/magic")).unwrap();
    symlink("loop", bed.root().join("t/local/loop")).unwrap();
    let parts = [
        "..", ".", "", "/", "t", "local", "abs", "rel", "chain", "magic", "loop", "secret", "outside", "f", "secrets",
        "token", "...", "..\\", "%2e%2e", "\u{202e}", " ", "~", "proc", "self", "root", "etc", "passwd", "a1", "deep",
        "\n",
    ];
    let ways = [
        "",
        "../",
        "/../",
        "t/../../",
        "t/local/abs/",
        "t/local/rel/",
        "t/local/chain/../",
        "t/local/deep/../../../../",
    ];
    let mut seed = 7u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap()
    };
    let mut names: Vec<String> =
        ["../outside/secret", "/../outside/secret", "t/local/abs/secret", "t/local/rel/secret", "t/local/chain/secret"]
            .map(str::to_owned)
            .to_vec();
    names.push(outside.join("secret").display().to_string());
    names.push(format!("t/local/magic{}/secret", outside.display()));
    names.push(format!("{}x", "../".repeat(2000)));
    names.push("t/\0/f".to_owned());
    while names.len() < 5000 {
        let count = 1 + next() % 9;
        let way = ways[next() % ways.len()];
        names.push(way.to_owned() + &(0..count).map(|_| parts[next() % parts.len()]).collect::<Vec<_>>().join("/"));
    }
    names
}

#[test]
fn five_thousand_hostile_names_lead_nowhere() {
    let bed = Bed::new();
    let names = hostile_names(&bed);
    let mut refused = 0;
    for name in &names {
        let place = bed.place(name);
        assert_eq!(escapes(&place), 0, "{name:?}");
        refused += usize::from(Bed::read_at(&place) == Err(ESCAPES.to_owned()));
    }
    assert!(refused > 1000, "the names are not hostile: {refused}");
    let escaped = names.iter().filter(|name| escapes(&bed.unguarded(name)) > 0).count();
    assert!(escaped > 20, "without the guard only {escaped} names would be noticed");
}

#[test]
fn a_link_that_is_swapped_leads_nowhere() {
    let bed = Bed::new();
    let inside = bed.root().join("t/local/real");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(inside.join("secret"), "inside").unwrap();
    let local = bed.root().join("t/local");
    // A directory on the way and a file at its end.
    let targets = [(local.join("swap"), "real", "outside"), (local.join("file"), "real/secret", "outside/secret")];
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            let (mut swaps, spare) = (0, local.join("spare"));
            // Bounded: nobody stops it where an assertion below fails.
            while swaps < 1_000_000 && !stop.load(Ordering::Relaxed) {
                for (link, inside, outside) in &targets {
                    let target = if swaps % 2 == 0 { inside.into() } else { bed.base.path().join(outside) };
                    let _ = std::fs::remove_file(&spare);
                    symlink(target, &spare).unwrap();
                    std::fs::rename(&spare, link).unwrap();
                }
                swaps += 1;
            }
            swaps
        });
        let mut noticed = 0;
        for path in ["t/local/swap/secret", "t/local/swap", "t/local/file"] {
            let (mut well, mut refused) = (0, 0);
            let (mut round, noticed_before) = (0, noticed);
            // More where the other thread has not had its turns yet.
            while round < 10_000 || (round < 1_000_000 && (well == 0 || refused == 0 || noticed <= noticed_before + 50))
            {
                round += 1;
                let place = bed.place(path);
                assert_eq!(escapes(&place), 0, "{path}");
                match place.stat() {
                    Ok(_) => well += 1,
                    Err(_) => refused += 1,
                }
                if round % 10 == 0 {
                    noticed += escapes(&bed.unguarded(path));
                }
            }
            assert!(well > 0 && refused > 0, "{path}: {well} inside, {refused} refused");
        }
        stop.store(true, Ordering::Relaxed);
        let swaps = swapping.join().unwrap();
        assert!(swaps > 100, "{swaps} swaps");
        assert!(noticed > 100, "without the guard only {noticed} looks would have been noticed");
    });
}
