//! Layers as they should be: what comes out, and that an overlay of them is the image.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tar::EntryType;

use crate::Case;
use crate::fake::Fake;
use crate::made::{Made, Tar};
use crate::support::{Place, names};

pub const CASES: &[Case] = &[
    ("layers::files_are_as_the_archive_says", files_are_as_the_archive_says),
    ("layers::an_overlay_of_them_is_the_image", an_overlay_of_them_is_the_image),
    ("layers::links_within_a_layer_are_followed_within_it", links_within_a_layer_are_followed_within_it),
    ("layers::equal_layers_count_once", equal_layers_count_once),
];

/// Pulls an image of these layers and gives it with all that keeps it.
fn pulled(tars: &[Vec<u8>]) -> (Place, drover_images::Image) {
    let made = Made::of(tars);
    let fake = Fake::start(move |seen| made.answer(seen));
    let place = Place::with(&fake.host);
    let image = place.pull(&format!("{}/a", fake.host)).unwrap();
    place.assert_clean();
    (place, image)
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = rustix::fs::lgetxattr(path, name, &mut value).ok()?;
    value.truncate(length);
    Some(value)
}

fn files_are_as_the_archive_says() {
    let long = format!("d/{}", "n".repeat(120));
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let tar = Tar::new()
        .entry(EntryType::Directory, "./", "", 0o751, b"")
        .dir("d/")
        .entry(EntryType::Regular, "d/setuid", "", 0o4755, b"#!")
        .hard_link("d/hard", "d/setuid")
        .symlink("d/abs", "/etc/passwd")
        .file("/absolute", "a")
        .file("no/parents/here", "b")
        .entry(EntryType::Fifo, "d/fifo", "", 0o620, b"")
        .entry(EntryType::Char, "d/char", "", 0o666, b"")
        .entry(EntryType::Block, "d/block", "", 0o666, b"")
        .pax(&[
            ("SCHILY.xattr.security.capability", &capability),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("path", long.as_bytes()),
        ])
        .file("short", "c")
        .file("twice", "first")
        .file("twice", "second")
        .dir("was-dir")
        .file("was-dir/x", "")
        .file("was-dir", "now a file")
        .end();
    let (_place, image) = pulled(&[tar]);
    let root = &image.layers[0];
    let meta = |name: &str| root.join(name).symlink_metadata().unwrap();
    assert_eq!(root.metadata().unwrap().mode() & 0o7777, 0o751);
    let setuid = meta("d/setuid");
    assert_eq!(
        (setuid.uid(), setuid.gid(), setuid.mode() & 0o7777, setuid.mtime()),
        (1234, 567, 0o4755, 1_000_000_000)
    );
    assert_eq!((setuid.ino(), setuid.nlink()), (meta("d/hard").ino(), 2));
    assert_eq!(root.join("d/abs").read_link().unwrap(), Path::new("/etc/passwd"));
    assert_eq!((meta("d/abs").uid(), meta("d/abs").mtime()), (1234, 1_000_000_000));
    assert_eq!(std::fs::read(root.join("absolute")).unwrap(), b"a");
    assert_eq!((meta("no/parents").uid(), meta("no/parents").mode() & 0o7777), (0, 0o755));
    assert!(meta("d/fifo").file_type().is_fifo() && meta("d/fifo").mode() & 0o7777 == 0o620);
    assert_eq!(names(&root.join("d")), ["abs", "fifo", "hard", &"n".repeat(120), "setuid"], "no device was made");
    let file = root.join(&long);
    assert_eq!(attribute(&file, "security.capability").unwrap(), capability);
    assert_eq!(attribute(&file, "trusted.overlay.redirect"), None);
    assert_eq!(attribute(&file, "user.overlay.opaque"), None);
    assert_eq!(std::fs::read(root.join("twice")).unwrap(), b"second");
    assert_eq!(std::fs::read(root.join("was-dir")).unwrap(), b"now a file");
    assert_eq!(image.config.env, ["PATH=/bin", "A=b"]);
    assert_eq!((image.config.user.as_str(), image.config.stop_signal.as_str()), ("1000", "SIGQUIT"));
    assert_eq!((image.config.entrypoint[0].as_str(), image.config.command[0].as_str()), ("/bin/app", "-x"));
    assert_eq!((image.config.exposed_ports[0].as_str(), image.config.volumes[0].as_str()), ("80/tcp", "/data"));
}

fn an_overlay_of_them_is_the_image() {
    let low = Tar::new()
        .dir("kept")
        .file("kept/a", "low")
        .file("kept/gone", "low")
        .dir("opaque")
        .file("opaque/hidden", "low")
        .dir("replaced")
        .file("replaced/hidden", "low")
        .dir("again")
        .file("again/hidden", "low")
        .dir("late")
        .file("late/hidden", "low")
        .file("file-then-dir", "low")
        .end();
    let high = Tar::new()
        .dir("kept")
        .file("kept/.wh.gone", "")
        .file("kept/.wh.never-was", "")
        .file("kept/b", "high")
        .dir("opaque")
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/new", "high")
        .file(".wh.replaced", "")
        .dir("replaced")
        .file("replaced/new", "high")
        // The same without an entry of its own, and with the removal at the end.
        .file(".wh.again", "")
        .file("again/new", "high")
        .dir("late")
        .file("late/new", "high")
        .file(".wh.late", "")
        .file("file-then-dir/x", "high")
        .file(".wh..wh.plnk", "")
        .end();
    let (place, image) = pulled(&[low, high]);
    let merged = place.path().join("merged");
    std::fs::create_dir(&merged).unwrap();
    // Relative to where all layers are, as a driver with many of them mounts: the highest first.
    let relative: Vec<&str> = image
        .layers
        .iter()
        .rev()
        .map(|layer| layer.strip_prefix(&image.layers_dir).unwrap().to_str().unwrap())
        .collect();
    assert!(relative.iter().all(|name| name.len() == 29));
    let lower: Vec<_> = image.layers.iter().rev().map(|layer| layer.to_str().unwrap()).collect();
    let data = std::ffi::CString::new(format!("lowerdir={}", lower.join(":"))).unwrap();
    mount("overlay", &merged, "overlay", MountFlags::RDONLY, Some(data.as_c_str())).unwrap();
    let seen = |folder: &str| names(&merged.join(folder));
    let found =
        [seen(""), seen("kept"), seen("opaque"), seen("replaced"), seen("again"), seen("late"), seen("file-then-dir")];
    unmount(&merged, UnmountFlags::empty()).unwrap();
    assert_eq!(found[0], ["again", "file-then-dir", "kept", "late", "opaque", "replaced"]);
    assert_eq!(found[1], ["a", "b"]);
    for folder in &found[2..6] {
        assert_eq!(*folder, ["new"]);
    }
    assert_eq!(found[6], ["x"]);
}

fn links_within_a_layer_are_followed_within_it() {
    let tar = Tar::new()
        .dir("usr/bin")
        .symlink("bin", "usr/bin")
        .symlink("sbin", "/usr/bin")
        .symlink("up", "../../../../usr/bin")
        .file("bin/a", "a")
        .file("sbin/b", "b")
        .file("up/c", "c")
        .end();
    let (_place, image) = pulled(&[tar]);
    assert_eq!(names(&image.layers[0].join("usr/bin")), ["a", "b", "c"]);
}

fn equal_layers_count_once() {
    let (a, b) = (Tar::new().file("x", "a").end(), Tar::new().file("x", "b").end());
    let (place, image) = pulled(&[a.clone(), b, a]);
    assert_eq!(image.layers.len(), 2);
    assert_eq!(std::fs::read(image.layers[1].join("x")).unwrap(), b"a");
    assert_eq!(place.names("layers").len(), 2);
}
