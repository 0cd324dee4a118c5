//! A real registry on loopback with one image, made of busybox by Debian's tools; ended with the test.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// The tools, and how they come.
const TOOLS: &[&str] = &["docker-registry", "umoci", "skopeo", "busybox"];

/// The registry of this process.
pub struct Registry {
    dir: tempfile::TempDir,
    server: Child,
    /// `127.0.0.1:<port>`
    pub host: String,
}

/// The first of two arguments with which this program only writes the archive; the second is the file.
pub const SAVE: &str = "--save-image";
/// Names an archive that was made elsewhere, for a machine without those tools.
const SAVED: &str = "DROVER_SUITE_IMAGE";

/// Writes the archive.
pub fn save_archive(file: &Path) {
    std::fs::copy(archive(), file).unwrap();
    end();
}

/// Whether there is a registry: else the image comes from a file.
pub fn can_serve() -> bool {
    std::env::var_os(SAVED).is_none() && rustix::process::geteuid().is_root()
}

/// What is missing for it.
pub fn available() -> Result<(), String> {
    if !can_serve() {
        return Ok(());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |name: &&&str| !std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    match TOOLS.iter().find(is_there) {
        Some(missing) => Err(format!(
            "no {missing}; the Debian packages docker-registry, umoci, skopeo and busybox-static have what is needed"
        )),
        None => Ok(()),
    }
}

static REGISTRY: OnceLock<std::sync::Mutex<Option<Registry>>> = OnceLock::new();

/// The host of the registry, which is started by who asks first.
pub fn host() -> String {
    let registry = REGISTRY.get_or_init(|| std::sync::Mutex::new(Some(Registry::start())));
    registry.lock().unwrap().as_ref().expect("it is ended last").host.clone()
}

/// An archive with the image, as `docker save` makes them.
pub fn archive() -> PathBuf {
    if let Some(saved) = std::env::var_os(SAVED) {
        return saved.into();
    }
    host();
    let registry = REGISTRY.get().unwrap().lock().unwrap();
    registry.as_ref().unwrap().dir.path().join("saved.tar")
}

/// Ends it.
pub fn end() {
    if let Some(registry) = REGISTRY.get() {
        drop(registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
    }
}

fn run(dir: &Path, program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Registry {
    fn start() -> Registry {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        // The port is the system's choice; the registry says which in its log.
        let config = format!(
            "version: 0.1\nlog: {{level: info, formatter: json}}\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: 127.0.0.1:0\n",
            path.join("data").display()
        );
        std::fs::write(path.join("config.yml"), config).unwrap();
        let mut server = Command::new("docker-registry")
            .args(["serve", "config.yml"])
            .current_dir(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(server.stderr.take().unwrap()).lines();
        let host = lines.find_map(|line| {
            let line = line.unwrap();
            let (_, rest) = line.split_once("listening on ")?;
            let is_of_address = |letter: &char| letter.is_ascii_digit() || ".:".contains(*letter);
            Some(rest.chars().take_while(is_of_address).collect::<String>())
        });
        // Nobody else reads it, and a full pipe would stop the registry.
        std::thread::spawn(move || lines.for_each(drop));
        let registry = Registry { dir, server, host: host.expect("the registry says where it listens") };
        registry.push();
        registry
    }

    fn push(&self) {
        let path = self.dir.path();
        run(path, "umoci", &["init", "--layout", "img"]);
        run(path, "umoci", &["new", "--image", "img:one"]);
        run(path, "umoci", &["unpack", "--image", "img:one", "first"]);
        let root = path.join("first/rootfs");
        for dir in ["bin", "etc", "tmp", "home/app"] {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
        let busybox = if Path::new("/bin/busybox").exists() { "/bin/busybox" } else { "/usr/bin/busybox" };
        std::fs::copy(busybox, root.join("bin/busybox")).unwrap();
        for applet in [
            "sh", "sleep", "cat", "echo", "grep", "test", "id", "ls", "readlink", "cut", "head", "tr", "mknod",
            "touch", "pwd", "env", "hostname", "stat",
        ] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        std::fs::write(
            root.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\napp:x:1234:1235:app:/home/app:/bin/sh\n",
        )
        .unwrap();
        std::fs::write(root.join("etc/group"), "root:x:0:\napp:x:1235:\nextra:x:1300:\n").unwrap();
        std::fs::write(root.join("etc/gone"), "of the first layer").unwrap();
        run(path, "umoci", &["repack", "--image", "img:one", "first"]);
        run(path, "umoci", &["unpack", "--image", "img:one", "second"]);
        let root = path.join("second/rootfs");
        std::fs::remove_file(root.join("etc/gone")).unwrap();
        std::fs::write(root.join("etc/made"), "of the second layer\n").unwrap();
        run(path, "umoci", &["repack", "--image", "img:one", "second"]);
        run(
            path,
            "umoci",
            &[
                "config",
                "--image",
                "img:one",
                "--config.entrypoint",
                "/bin/sh",
                "--config.cmd",
                "-c",
                "--config.cmd",
                "echo from the image",
                "--config.env",
                "PATH=/bin",
                "--config.env",
                "OF_IMAGE=yes",
                "--config.workingdir",
                "/home/app",
                "--config.stopsignal",
                "SIGUSR1",
            ],
        );
        let to = format!("docker://{}/drover/app:v1", self.host);
        run(path, "skopeo", &["copy", "--dest-tls-verify=false", "oci:img:one", &to]);
        run(path, "skopeo", &["copy", "oci:img:one", "docker-archive:saved.tar:drover/saved:v1"]);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
