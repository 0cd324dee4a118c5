//! docker-registry, with images that skopeo and umoci made: what the world really sends.

use std::io::BufRead;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use drover_images::{Credentials, Image, Pull, PullRequest};

use crate::Case;
use crate::support::{Place, eventually, request, settings};

pub const CASES: &[Case] =
    &[("real_registry::images_of_real_tools_are_pulled_and_run", images_of_real_tools_are_pulled_and_run)];

/// `user` with the password `secret`, as htpasswd writes it.
const USERS: &str = "user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

fn run(program: &str, args: &[&str], dir: &Path) {
    let output = Command::new(program).args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Ends with its value.
struct Real {
    process: Child,
    host: String,
}

impl Real {
    fn start(dir: &Path, auth: &str) -> Self {
        let name = if auth.is_empty() { "open" } else { "closed" };
        let storage = dir.join(name);
        let config = dir.join(format!("{name}.yml"));
        // The port is the system's choice; the registry says which in its log.
        let text = format!(
            "version: 0.1\nlog: {{level: info, formatter: json}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n{auth}http: {{addr: \"127.0.0.1:0\"}}\n",
            storage.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut process = Command::new("docker-registry");
        process.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = process.spawn().unwrap();
        let mut lines = std::io::BufReader::new(process.stderr.take().unwrap()).lines();
        let said = lines.find_map(|line| {
            let line = line.unwrap();
            let (_, rest) = line.split_once("listening on ")?;
            Some(
                rest.chars().take_while(|letter| letter.is_ascii_digit() || ".:".contains(*letter)).collect::<String>(),
            )
        });
        // Nobody else reads it, and a full pipe would stop the registry.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, host: said.unwrap() }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn images_of_real_tools_are_pulled_and_run() {
    if let Some(missing) = ["docker-registry", "skopeo", "umoci", "busybox"].iter().find(|program| !is_there(program)) {
        println!("skipped: no {missing} (Debian packages docker-registry skopeo umoci busybox-static)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let busybox = Command::new("sh").args(["-c", "command -v busybox"]).output().unwrap();
    let busybox = String::from_utf8(busybox.stdout).unwrap();
    run("umoci", &["init", "--layout", "img"], at);
    run("umoci", &["new", "--image", "img:t1"], at);
    run("umoci", &["unpack", "--image", "img:t1", "b1"], at);
    run(
        "sh",
        &[
            "-c",
            &format!(
                "mkdir -p b1/rootfs/bin b1/rootfs/gone b1/rootfs/etc && cp {} b1/rootfs/bin/busybox && ln b1/rootfs/bin/busybox b1/rootfs/bin/sh && echo low > b1/rootfs/gone/x && echo low > b1/rootfs/etc/x",
                busybox.trim()
            ),
        ],
        at,
    );
    run("umoci", &["repack", "--image", "img:t1", "b1"], at);
    run("umoci", &["unpack", "--image", "img:t1", "b2"], at);
    run("sh", &["-c", "rm -r b2/rootfs/gone && echo high > b2/rootfs/etc/x && chown 123:45 b2/rootfs/etc/x"], at);
    run("umoci", &["repack", "--image", "img:t1", "b2"], at);
    run("umoci", &["config", "--image", "img:t1", "--config.cmd", "/bin/sh", "--config.env", "A=b"], at);

    let open = Real::start(at, "");
    let closed = Real::start(
        at,
        "auth: {htpasswd: {realm: r, path: users}}\n".replace("users", at.join("users").to_str().unwrap()).as_str(),
    );
    std::fs::write(at.join("users"), USERS).unwrap();
    let push = |extra: &[&str], to: &str| {
        run(
            "skopeo",
            &[&["copy", "--insecure-policy", "--dest-tls-verify=false"][..], extra, &["oci:img:t1", to]].concat(),
            at,
        );
    };
    push(&[], &format!("docker://{}/app:oci", open.host));
    push(&["--format", "v2s2"], &format!("docker://{}/app:v2s2", open.host));
    push(&["--dest-compress-format", "zstd"], &format!("docker://{}/app:zstd", open.host));
    push(&["--dest-creds", "user:secret"], &format!("docker://{}/app:1", closed.host));
    push(&[], "docker-archive:saved.tar:app:1");
    push(&[], "oci-archive:layout.tar:1");

    // Each into a store of its own, so that nothing is there from before.
    let place = || Place::new(settings(&[&open.host, &closed.host]));
    let check = |pull: &dyn Fn(&Place) -> Pull| {
        let place = place();
        let image = pull(&place).wait().unwrap();
        runs(&place, &image);
        place.assert_clean();
    };
    for tag in ["oci", "v2s2", "zstd"] {
        check(&|place| place.store.pull(request(&format!("{}/app:{tag}", open.host)), |_| {}));
    }
    let credentials = Some(Credentials { username: "user".to_owned(), password: "secret".to_owned() });
    let with_login = PullRequest { credentials, ..request(&format!("{}/app:1", closed.host)) };
    check(&|place| place.store.pull(with_login.clone(), |_| {}));
    let without = place().refusal(&format!("{}/app:1", closed.host));
    assert!(without.contains("asks for a login"), "{without}");
    let archive = |name: &str| std::fs::File::open(at.join(name)).unwrap();
    check(&|place| place.store.load(archive("saved.tar"), Some("app:1".parse().unwrap()), |_| {}));
    check(&|place| place.store.load(archive("layout.tar"), None, |_| {}));
}

/// The image is whole: it is mounted, entered and run.
fn runs(place: &Place, image: &Image) {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    assert_eq!(image.config.command, ["/bin/sh"]);
    assert!(image.config.env.contains(&"A=b".to_owned()));
    let merged = place.path().join("merged");
    std::fs::create_dir(&merged).unwrap();
    let lower: Vec<_> = image.layers.iter().rev().map(|layer| layer.to_str().unwrap()).collect();
    let data = std::ffi::CString::new(format!("lowerdir={}", lower.join(":"))).unwrap();
    mount("overlay", &merged, "overlay", MountFlags::RDONLY, Some(data.as_c_str())).unwrap();
    let script = "/bin/busybox cat /etc/x; /bin/busybox stat -c %u:%g /etc/x; /bin/busybox ls -d /gone /bin/sh";
    let output = Command::new("chroot").arg(&merged).args(["/bin/sh", "-c", script]).output().unwrap();
    eventually("the mount is free", || unmount(&merged, UnmountFlags::empty()).ok());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "high\n123:45\n/bin/sh\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
