//! Which devices a contained task may use. On cgroup v1 the rules are written into the cgroup's files; on v2 the kernel asks a small
//! program that stands at the task's cgroup.
//!
//! The program goes through the rules and allows what one of them allows. It needs nothing of the host but the system call: no compiler,
//! no library. Where the kernel takes no such program the task goes without the right to make device files
//! instead, and none that it finds opens but those of its `/dev`.

use std::cell::OnceCell;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::cgroup_files::{errno_text, write};
use crate::image_spec::Device;
use crate::spec::ContainerSpec;
use crate::sys;

/// The kernel's numbers: kinds of devices, and what is done with them.
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;
const MAKE: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;
const ALL: i32 = MAKE | READ | WRITE;

/// What every task may use, as on v1: null, zero, full, random, urandom, tty, console, ptmx, terminals of its own, tun.
const USUAL: [(i32, Option<i32>); 10] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
    (10, Some(200)),
];

/// One instruction of the kernel's machine.
pub(crate) type Instruction = [u8; 8];

/// What is allowed with some devices. None means all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    kind: i32,
    access: i32,
    major: Option<i32>,
    minor: Option<i32>,
}

/// The rules of an edge's tasks.
#[derive(Debug, Default)]
pub(crate) struct DeviceRules {
    /// The program of all tasks that were given no device.
    usual: OnceCell<OwnedFd>,
}

impl DeviceRules {
    /// Puts a task's rules on its cgroup, before anybody joins it.
    ///
    /// # Errors
    /// Why none can be enforced.
    pub(crate) fn put(&self, cgroup: &Path, container: &ContainerSpec) -> Result<(), String> {
        let Some(given) = given_rules(container) else { return Ok(()) };
        let own;
        let program = if given.is_empty() {
            self.usual(sys::load_device_program)?
        } else {
            let rules: Vec<Rule> = given.into_iter().chain(usual_rules()).collect();
            own = sys::load_device_program(&program(&rules)).map_err(|err| not_taken(&err))?;
            &own
        };
        // Whoever has the cgroups above may let nobody add any.
        File::open(cgroup).and_then(|dir| sys::attach_device_program(program, &dir)).map_err(|err| not_taken(&err))
    }

    /// Writes a task's rules into its part of the devices' hierarchy of cgroup v1, before anybody joins it.
    ///
    /// # Errors
    /// Why they are not enforced.
    pub(crate) fn write(dir: &Path, container: &ContainerSpec) -> Result<(), String> {
        let Some(given) = given_rules(container) else { return write(&dir.join("devices.allow"), "a") };
        write(&dir.join("devices.deny"), "a")?;
        let allowed = dir.join("devices.allow");
        given.iter().chain(&usual_rules()).try_for_each(|rule| write(&allowed, &rule.text()))
    }

    /// Whether the kernel takes rules at all.
    ///
    /// # Errors
    /// Why it does not.
    pub(crate) fn try_out(&self) -> Result<(), String> {
        self.usual(sys::load_device_program).map(drop)
    }

    /// What did not work once may work the next time: memory, or a bound on it, may have been short.
    fn usual(&self, load: impl FnOnce(&[Instruction]) -> io::Result<OwnedFd>) -> Result<&OwnedFd, String> {
        if let Some(usual) = self.usual.get() {
            return Ok(usual);
        }
        let loaded = load(&program(&usual_rules())).map_err(|err| not_taken(&err))?;
        Ok(self.usual.get_or_init(|| loaded))
    }
}

/// The rules for what a task was given beside the usual; none for one that may use everything.
fn given_rules(container: &ContainerSpec) -> Option<Vec<Rule>> {
    let image = container.image.as_deref();
    if image.is_some_and(|image| image.is_privileged) {
        return None;
    }
    let given = container.devices.iter().chain(image.into_iter().flat_map(|image| &image.devices));
    // What is not there is told by whoever makes it inside.
    Some(given.filter_map(Rule::of).collect())
}

fn not_taken(err: &io::Error) -> String {
    format!("the kernel takes no rules for devices: {}", errno_text(err))
}

impl Rule {
    fn of(device: &Device) -> Option<Rule> {
        let meta = std::fs::metadata(&device.host_path).ok()?;
        let kind = match meta.file_type() {
            kind if kind.is_char_device() => CHARACTER,
            kind if kind.is_block_device() => BLOCK,
            _ => return None,
        };
        let letter = |letter: char, bit: i32| if device.access.contains(letter) { bit } else { 0 };
        let number = |number: u32| i32::try_from(number).ok();
        Some(Rule {
            kind,
            access: letter('r', READ) | letter('w', WRITE) | letter('m', MAKE),
            major: Some(number(rustix::fs::major(meta.rdev()))?),
            minor: Some(number(rustix::fs::minor(meta.rdev()))?),
        })
    }

    /// As cgroup v1 takes it: `c 1:3 rwm`.
    fn text(&self) -> String {
        let kind = if self.kind == BLOCK { 'b' } else { 'c' };
        let number = |number: Option<i32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        let letters = [(READ, 'r'), (WRITE, 'w'), (MAKE, 'm')];
        let access: String =
            letters.iter().filter(|(bit, _)| self.access & bit != 0).map(|(_, letter)| letter).collect();
        format!("{kind} {}:{} {access}", number(self.major), number(self.minor))
    }
}

/// Device files may be made, and be of no use then.
fn usual_rules() -> Vec<Rule> {
    let made = |kind| Rule { kind, access: MAKE, major: None, minor: None };
    let used = |(major, minor)| Rule { kind: CHARACTER, access: ALL, major: Some(major), minor };
    [BLOCK, CHARACTER].map(made).into_iter().chain(USUAL.map(used)).collect()
}

/// Instructions: the code, the registers (target in the lower half, source in the upper), how far to jump, a number.
fn instruction(code: u8, registers: u8, jump: i16, number: i32) -> Instruction {
    let ([jump_low, jump_high], [a, b, c, d]) = (jump.to_ne_bytes(), number.to_ne_bytes());
    [code, registers, jump_low, jump_high, a, b, c, d]
}

/// The program for some rules. The kernel hands it what is about to be done: kind and access in one word, major, minor.
fn program(rules: &[Rule]) -> Vec<Instruction> {
    const LOAD: u8 = 0x61;
    const COPY: u8 = 0xbf;
    const AND: u8 = 0x57;
    const SHIFT_RIGHT: u8 = 0x77;
    const JUMP_UNLESS_EQUAL: u8 = 0x55;
    const SET: u8 = 0xb7;
    const EXIT: u8 = 0x95;
    // r1 is what the kernel hands over.
    let (access, kind, major, minor, scratch) = (2, 3, 4, 5, 6);
    let from_r1 = |register: u8| register | 1 << 4;
    let mut code = vec![
        instruction(LOAD, from_r1(access), 0, 0),
        instruction(COPY, kind | access << 4, 0, 0),
        instruction(AND, kind, 0, 0xffff),
        instruction(SHIFT_RIGHT, access, 0, 16),
        instruction(LOAD, from_r1(major), 4, 0),
        instruction(LOAD, from_r1(minor), 8, 0),
    ];
    for rule in rules {
        // What is compared; whatever differs leads behind this rule.
        let mut compared = vec![(kind, rule.kind)];
        let mut before = Vec::new();
        if rule.access != ALL {
            // Nothing is left of what is to be done but what the rule allows.
            before.push(instruction(COPY, scratch | access << 4, 0, 0));
            before.push(instruction(AND, scratch, 0, ALL & !rule.access));
            compared.push((scratch, 0));
        }
        compared.extend(rule.major.map(|number| (major, number)));
        compared.extend(rule.minor.map(|number| (minor, number)));
        code.extend(before);
        for (place, (register, number)) in compared.iter().enumerate() {
            // Over the other comparisons and the two instructions after them; there are four at the most.
            let jump = i16::try_from(compared.len() - place + 1).unwrap_or(0);
            code.push(instruction(JUMP_UNLESS_EQUAL, *register, jump, *number));
        }
        code.extend([instruction(SET, 0, 0, 1), instruction(EXIT, 0, 0, 0)]);
    }
    code.extend([instruction(SET, 0, 0, 0), instruction(EXIT, 0, 0, 0)]);
    code
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    /// A cgroup of version 2, with controllers or not; none without the rights to make one.
    struct Made(PathBuf);

    impl Made {
        fn new() -> Option<Made> {
            let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
            let root = mounts.lines().find_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
                [_, path, "cgroup2", ..] => Some(PathBuf::from(path)),
                _ => None,
            })?;
            let dir = root.join(format!("drover-device-rules-{}", std::process::id()));
            std::fs::create_dir(&dir).ok().map(|()| Made(dir))
        }
    }

    impl Drop for Made {
        fn drop(&mut self) {
            // The kernel takes a moment to see that nobody is left in it.
            for _ in 0..6000 {
                match std::fs::remove_dir(&self.0) {
                    Err(err) if err.kind() == std::io::ErrorKind::ResourceBusy => {
                        std::thread::park_timeout(std::time::Duration::from_millis(10));
                    }
                    _ => return,
                }
            }
        }
    }

    #[test]
    fn what_did_not_work_once_is_tried_again_and_its_reason_told() {
        let rules = DeviceRules::default();
        let refused = rules.usual(|_| Err(io::Error::from_raw_os_error(libc::EPERM))).map(drop);
        assert_eq!(refused, Err("the kernel takes no rules for devices: operation not permitted".to_owned()));
        let loaded = || File::open("/dev/null").map(OwnedFd::from);
        rules.usual(|_| loaded()).unwrap();
        rules.usual(|_| panic!("it is loaded")).unwrap();
    }

    /// Why no rules can be tried out here: the kernel takes not even the shortest program, or device files in a directory are of no
    /// use for anybody. What it says against a program of ours alone is no reason.
    fn obstacle(cgroup: &Path, dir: &Path) -> Option<String> {
        let shortest = [instruction(0xb7, 0, 0, 1), instruction(0x95, 0, 0, 0)];
        let taken = sys::load_device_program(&shortest)
            .and_then(|program| sys::attach_device_program(&program, &File::open(cgroup)?));
        if let Err(err) = taken {
            return Some(not_taken(&err));
        }
        let script = format!("mknod {0} c 1 3 && : >{0} && rm {0}", dir.join("null").display());
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    #[test]
    fn a_task_uses_what_it_was_given_and_nothing_else() {
        let known = ["/dev/fuse", "/dev/loop-control", "/dev/kmsg"];
        let Some(given) = known.into_iter().find(|path| File::open(path).is_ok()) else {
            return println!("skipped: no device to try it with");
        };
        let dir = tempfile::tempdir().unwrap();
        let check = |devices: Vec<Device>, expected: &str| {
            let Some(cgroup) = Made::new() else { return println!("skipped: needs cgroup v2 and root") };
            let container = ContainerSpec { devices, ..ContainerSpec::new("/".into(), Vec::new()) };
            if let Some(reason) = obstacle(&cgroup.0, dir.path()) {
                return println!("skipped: {reason}");
            }
            DeviceRules::default().put(&cgroup.0, &container).unwrap();
            let made = dir.path().join("made");
            let script = format!(
                "echo $$ >{cgroup}/cgroup.procs || exit 9\n\
                 ( : </dev/zero ) && ( : >/dev/null ) && echo -n usual\n\
                 ( : <{given} ) && echo -n ' read'\n\
                 ( : >{given} ) && echo -n ' write'\n\
                 mknod {made} c $(stat -c '0x%t 0x%T' {given}) && echo -n ' made'\n\
                 ( : <{made} ) && echo -n ' read'\n\
                 rm -f {made}",
                cgroup = cgroup.0.display(),
                made = made.display(),
            );
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(said, expected, "{given}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let with =
            |access: &str| vec![Device { host_path: given.into(), path: given.into(), access: access.to_owned() }];
        check(Vec::new(), "usual made");
        check(with("r"), "usual read made read");
        check(with("rw"), "usual read write made read");
        check(vec![Device { host_path: "/dev/nowhere".into(), path: "/x".into(), access: "rw".into() }], "usual made");
    }

    #[test]
    fn rules_read_as_the_first_version_takes_them() {
        let mut texts: Vec<String> = usual_rules().iter().map(Rule::text).collect();
        texts.push(Rule { kind: BLOCK, access: READ | WRITE, major: Some(8), minor: Some(0) }.text());
        assert_eq!(texts[..3], ["b *:* m", "c *:* m", "c 1:3 rwm"]);
        assert!(texts.contains(&"c 136:* rwm".to_owned()), "{texts:?}");
        assert_eq!(texts.last().unwrap(), "b 8:0 rw");
    }

    #[test]
    fn every_jump_leads_to_the_next_rule() {
        let code = program(&usual_rules());
        for (place, [code_of, _, low, high, ..]) in code.iter().enumerate().filter(|(_, code)| code[0] == 0x55) {
            let target = place + 1 + usize::try_from(i16::from_ne_bytes([*low, *high])).unwrap();
            // What stands before it is the end of the rule.
            assert_eq!((*code_of, code[target - 1][0]), (0x55, 0x95), "{place}");
        }
    }
}
