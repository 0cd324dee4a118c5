//! What only containers of images have.

use drover_drivers::{StartError, TaskDevice};
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::cases::Outcome::{self, NotHere, Passed};
use crate::registry;
use crate::subject::{Deed, Subject};

type Case = fn(&'static dyn Subject) -> Outcome;

pub const CASES: &[(&str, Case)] = &[
    ("the_image_says_how_it_is_run", the_image_says_how_it_is_run),
    ("the_job_says_it_otherwise", the_job_says_it_otherwise),
    ("mounts_stay_in_the_alloc", mounts_stay_in_the_alloc),
    ("an_image_comes_from_a_file", an_image_comes_from_a_file),
    ("an_image_that_is_not_there_is_told_in_one_sentence", an_image_that_is_not_there_is_told_in_one_sentence),
    ("rights_are_the_operators_to_give", rights_are_the_operators_to_give),
    ("the_stop_signal_is_the_images", the_stop_signal_is_the_images),
];

fn run(bed: &Bed, config: &[(&str, Value)]) -> String {
    let mut task = bed.task("web", Deed::Hello).unwrap();
    task.config.remove("args");
    for (key, value) in config {
        task.config.insert((*key).to_owned(), value.clone());
    }
    let before = bed.log("web", "stdout").len();
    let exit = bed.run(task);
    assert!(exit.is_success(), "{exit:?}: {}", bed.log("web", "stderr"));
    bed.log("web", "stdout")[before..].to_owned()
}

fn refused(bed: &Bed, config: &[(&str, Value)]) -> String {
    let mut task = bed.task("web", Deed::Hello).unwrap();
    for (key, value) in config {
        task.config.insert((*key).to_owned(), value.clone());
    }
    bed.start(task).unwrap_err().to_string()
}

fn shell(script: &str) -> (&'static str, Value) {
    ("args", json!(["-c", script]))
}

fn the_image_says_how_it_is_run(subject: &'static dyn Subject) -> Outcome {
    let bed = Bed::new(subject);
    assert_eq!(run(&bed, &[]), "from the image\n");
    let script = "pwd; echo $OF_IMAGE $NOMAD_TASK_NAME $HOME; id -u; cat /etc/made; test -e /etc/gone || echo gone; \
                  echo x >/etc/mine && cat /etc/mine; ls -d /alloc /local /secrets /private 2>/dev/null; \
                  touch /alloc/logs/x 2>/dev/null || echo logs are read-only; grep NoNewPrivs /proc/self/status";
    let lines = run(&bed, &[shell(script)]);
    let expected = "/home/app\nyes web /root\n0\nof the second layer\ngone\nx\n/alloc\n/local\n/secrets\n\
                    logs are read-only\nNoNewPrivs:\t0\n";
    assert_eq!(lines, expected);
    // What it wrote into its root is gone with it.
    assert_eq!(run(&bed, &[shell("test -e /etc/mine || echo new")]), "new\n");
    Passed
}

fn the_job_says_it_otherwise(subject: &'static dyn Subject) -> Outcome {
    let bed = Bed::new(subject);
    let lines = run(
        &bed,
        &[("entrypoint", json!(["/bin/echo", "own"])), ("command", json!("entry")), ("args", json!(["point"]))],
    );
    assert_eq!(lines, "own entry point\n");
    let script = "pwd; hostname; cat /etc/hostname; grep -c 10.1.2.3 /etc/hosts; cat /etc/resolv.conf; ulimit -n; \
                  touch /x 2>/dev/null || echo read-only; touch /fresh/x && echo fresh; cat /proc/sys/kernel/msgmax; id -G; \
                  ls /dev/full; stat -c %s /dev/zeros 2>/dev/null; grep CapEff /proc/self/status";
    let lines = run(
        &bed,
        &[
            shell(script),
            ("work_dir", json!("/made/for/it")),
            ("hostname", json!("box")),
            ("extra_hosts", json!(["db:10.1.2.3"])),
            ("dns_servers", json!(["10.9.9.9"])),
            ("dns_search_domains", json!(["lan"])),
            ("dns_options", json!(["ndots:2"])),
            ("ulimit", json!([{"nofile": "100:200"}])),
            ("readonly_rootfs", json!(true)),
            ("tmpfs", json!(["/fresh:size=1m"])),
            ("sysctl", json!([{"kernel.msgmax": "4096"}])),
            ("group_add", json!(["extra"])),
            ("cap_drop", json!(["all"])),
            ("cap_add", json!(["kill"])),
            ("labels", json!([{"a": "b"}])),
        ],
    );
    let expected = "/made/for/it\nbox\nbox\n1\nsearch lan\nnameserver 10.9.9.9\noptions ndots:2\n100\nread-only\nfresh\n4096\n0 1300\n\
                    /dev/full\nCapEff:\t0000000000000020\n";
    assert_eq!(lines, expected);
    let mut task = bed.task("app", Deed::Hello).unwrap();
    task.user = "app".to_owned();
    task.config.insert("args".to_owned(), json!(["-c", "id -u; id -g; echo $HOME; grep CapEff /proc/self/status"]));
    bed.run(task);
    assert_eq!(bed.log("app", "stdout"), "1234\n1235\n/home/app\nCapEff:\t0000000000000000\n");
    let mut task = bed.task("nobody", Deed::Hello).unwrap();
    task.user = "no-such-user".to_owned();
    let error = bed.start(task).unwrap_err().to_string();
    assert!(error.contains("unable to find user \"no-such-user\" in the image"), "{error}");
    Passed
}

fn mounts_stay_in_the_alloc(subject: &'static dyn Subject) -> Outcome {
    let bed = Bed::new(subject);
    let volumes = json!(["local/own:/own", "../alloc/data:/shared:ro"]);
    let lines =
        run(&bed, &[shell("echo 1 >/own/f; touch /shared/x 2>/dev/null || echo read-only"), ("volumes", volumes)]);
    assert_eq!(lines, "read-only\n");
    assert_eq!(std::fs::read_to_string(bed.path("alloc-1/web/local/own/f")).unwrap(), "1\n");

    let disabled = refused(&bed, &[("volumes", json!(["/etc:/x"]))]);
    assert!(disabled.contains("volumes are not enabled; cannot mount host path"), "{disabled}");
    let above = refused(&bed, &[("volumes", json!(["../../../x:/x"]))]);
    assert!(above.contains("volumes are not enabled"), "{above}");
    // A link that the task has left leads nowhere.
    std::os::unix::fs::symlink("/etc", bed.path("alloc-1/web/local/link")).unwrap();
    let out = refused(&bed, &[("volumes", json!(["local/link:/x"]))]);
    assert!(out.contains("local/link"), "{out}");
    std::os::unix::fs::symlink("..", bed.path("alloc-1/web/local/up")).unwrap();
    let out = refused(&bed, &[("volumes", json!(["local/up:/x"]))]);
    assert!(out.contains("it leads out of"), "{out}");
    // Who could write to these could have the next start follow a link of its own to anywhere on the host.
    for own in ["..", ".", "../other", "container/etc", "private", "../other/private/x"] {
        let out = refused(&bed, &[("volumes", json!([format!("{own}:/x")]))]);
        assert!(out.contains("belongs to the agent"), "{own}: {out}");
    }
    let swapped = |place: &str| {
        let (place, kept) = (bed.path(place), bed.path("kept"));
        std::fs::rename(&place, &kept).unwrap();
        std::os::unix::fs::symlink("/etc", &place).unwrap();
        let out = refused(&bed, &[]);
        std::fs::remove_file(&place).unwrap();
        std::fs::rename(&kept, &place).unwrap();
        assert!(out.contains("it leads out of"), "{out}");
    };
    if registry::can_serve() {
        // Else the image itself lies there.
        swapped("alloc-1/web/local");
    }
    swapped("alloc-1/web/secrets");
    // One file, and a link that stays where it is.
    std::fs::write(bed.path("alloc-1/web/local/file"), "of the file\n").unwrap();
    std::os::unix::fs::symlink("file", bed.path("alloc-1/web/local/current")).unwrap();
    let volumes = json!(["local/file:/a", "local/current:/b", "made/new:/c"]);
    assert_eq!(run(&bed, &[shell("cat /a /b; ls /c"), ("volumes", volumes)]), "of the file\nof the file\n");
    let mount = json!([{"type": "tmpfs", "target": "/t", "tmpfs_options": [{"size": 1048576, "mode": 511}]},
                       {"type": "bind", "source": "local/own", "target": "/o", "readonly": true}]);
    let lines = run(&bed, &[shell("stat -c %a /t; cat /o/f; touch /o/x 2>/dev/null || echo ro"), ("mount", mount)]);
    assert_eq!(lines, "777\n1\nro\n");
    Passed
}

fn an_image_comes_from_a_file(subject: &'static dyn Subject) -> Outcome {
    let bed = Bed::new(subject);
    let task = bed.task("web", Deed::Hello).unwrap();
    std::fs::copy(registry::archive(), task.dirs.task_dir.join("local/saved.tar")).unwrap();
    let config = [("image", json!("drover/saved:v1")), ("load", json!("saved.tar")), shell("cat /etc/made")];
    assert_eq!(run(&bed, &config), "of the second layer\n");
    let error = refused(&bed, &[("image", json!("drover/saved:v1")), ("load", json!("../../../../etc/passwd"))]);
    assert!(error.contains("unable to open image archive"), "{error}");
    Passed
}

fn an_image_that_is_not_there_is_told_in_one_sentence(subject: &'static dyn Subject) -> Outcome {
    if !registry::can_serve() {
        return NotHere("needs a registry");
    }
    let bed = Bed::new(subject);
    let host = registry::host();
    let zeros = "0".repeat(64);
    for image in [format!("{host}/drover/none:v1"), format!("{host}/drover/app@sha256:{zeros}")] {
        let mut task = bed.task("web", Deed::Hello).unwrap();
        task.config.insert("image".to_owned(), json!(image));
        let error = bed.start(task).unwrap_err();
        assert!(matches!(error, StartError::Failed(_)), "the restart policy is followed: {error:?}");
        let text = error.to_string();
        assert!(text.starts_with(&format!("Failed to pull `{image}`: ")) && !text.contains('\n'), "{text}");
    }
    let text = refused(&bed, &[("image", json!("UPPER CASE"))]);
    assert!(text.starts_with("invalid image \"UPPER CASE\": "), "{text}");
    Passed
}

fn rights_are_the_operators_to_give(subject: &'static dyn Subject) -> Outcome {
    let bed = Bed::new(subject);
    let check = |config: &[(&str, Value)], expected: &str| {
        let text = refused(&bed, config);
        assert!(text.contains(expected), "{text}");
    };
    check(&[("privileged", json!(true))], "privileged mode is disabled");
    check(&[("devices", json!([{"host_path": "/dev/null"}]))], "volumes are not enabled; cannot use host device");
    let mut task = bed.task("web", Deed::Hello).unwrap();
    task.devices = vec![TaskDevice { path: "/srv/modem".into(), access: "rw".to_owned() }];
    let elsewhere = bed.start(task).unwrap_err().to_string();
    assert!(elsewhere.contains("device \"/srv/modem\": a container has devices below /dev only"), "{elsewhere}");
    check(&[("cap_add", json!(["sys_admin"]))], "driver does not allow the following capabilities: sys_admin");
    check(&[("pid_mode", json!("host"))], "cannot apply \"pid_mode\" configuration");
    check(&[("network_mode", json!("bridge"))], "needs a network of the group's own");
    check(&[("ports", json!(["http"]))], "Port \"http\" not found, check network block");
    check(&[("tty", json!(true))], "\"tty\" is not supported");
    let lines =
        run(&bed, &[shell("cat /proc/net/dev | grep -c :; ls /sys/class/net"), ("network_mode", json!("none"))]);
    assert_eq!(lines, "1\nlo\n");
    Passed
}

fn the_stop_signal_is_the_images(subject: &'static dyn Subject) -> Outcome {
    let mut bed = Bed::new(subject);
    let handle = bed.start_ready(bed.task("web", Deed::Ignore).unwrap());
    assert_eq!(bed.driver().stop_signal(&handle).as_deref(), Some("SIGUSR1"));
    // The next agent knows it too, and has the image still.
    bed.lose_agent();
    bed.come_back();
    assert_eq!(bed.driver().stop_signal(&handle).as_deref(), Some("SIGUSR1"));
    bed.driver().kill(&handle).unwrap();
    bed.exit(&handle);
    bed.driver().destroy(&handle).unwrap();
    Passed
}
