//! Users and groups read from `/etc/passwd` and `/etc/group`.
//!
//! The edge binary is static, where the C library's lookups would load modules of another build. Users that live only
//! in LDAP or the like are named by their number.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// A user to run as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Login name, where the number has one.
    pub name: Option<String>,
    /// User number.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups, the primary one among them.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: Option<String>,
}

/// Why a user could not be found.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No such name or number.
    #[error("user: unknown user {0}")]
    UnknownUser(String),
    /// No such group name.
    #[error("group: unknown group {0}")]
    UnknownGroup(String),
    /// The files could not be read.
    #[error("read {path}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Finds `name`, `uid`, `name:group` or `uid:gid` on this host.
pub fn lookup(user: &str) -> Result<User, UserError> {
    lookup_in(user, &read(Path::new("/etc/passwd"))?, &read(Path::new("/etc/group"))?)
}

fn read(path: &Path) -> Result<String, UserError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(UserError::Read { path: path.display().to_string(), source }),
    }
}

pub(crate) fn lookup_in(wanted: &str, passwd: &str, group: &str) -> Result<User, UserError> {
    let (wanted_user, wanted_group) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (wanted, None),
    };
    let number = wanted_user.parse::<u32>().ok();
    let mut user = passwd
        .lines()
        .filter_map(passwd_line)
        .find(|entry| entry.name.as_deref() == Some(wanted_user) || number == Some(entry.uid))
        .or_else(|| number.map(|uid| User { name: None, uid, gid: uid, groups: vec![uid], home: None }))
        .ok_or_else(|| UserError::UnknownUser(wanted_user.to_owned()))?;
    match wanted_group {
        Some(name) => {
            user.gid = group_number(name, group).ok_or_else(|| UserError::UnknownGroup(name.to_owned()))?;
            user.groups = vec![user.gid];
        }
        None => {
            let name = user.name.clone().unwrap_or_default();
            user.groups = vec![user.gid];
            for line in group.lines() {
                let mut fields = line.split(':').skip(2);
                let gid = fields.next().and_then(|gid| gid.parse().ok());
                let is_member = fields.next().is_some_and(|members| members.split(',').any(|member| member == name));
                if let (Some(gid), true, false) = (gid, is_member, name.is_empty())
                    && !user.groups.contains(&gid)
                {
                    user.groups.push(gid);
                }
            }
        }
    }
    Ok(user)
}

fn passwd_line(line: &str) -> Option<User> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _password, uid, gid, _comment, home, ..] = fields.as_slice() else {
        return None;
    };
    Some(User {
        name: Some((*name).to_owned()),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        groups: Vec::new(),
        home: Some((*home).to_owned()),
    })
}

pub(crate) fn group_number(name: &str, group: &str) -> Option<u32> {
    let by_name = group.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    by_name.or_else(|| name.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:w:/srv/web:/bin/false\nbroken line\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nlogs:x:50:root,web\nother:x:51:webmaster\n";

    fn check(wanted: &str, expected: Result<(u32, u32, &[u32]), &str>) {
        let found = lookup_in(wanted, PASSWD, GROUP);
        match (found, expected) {
            (Ok(user), Ok((uid, gid, groups))) => {
                assert_eq!((user.uid, user.gid, user.groups.as_slice()), (uid, gid, groups), "{wanted}")
            }
            (Err(err), Err(text)) => assert_eq!(err.to_string(), text, "{wanted}"),
            (found, expected) => panic!("{wanted}: found {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        check("web", Ok((33, 34, &[34, 50])));
        check("33", Ok((33, 34, &[34, 50])));
        check("4711", Ok((4711, 4711, &[4711])));
        check("web:logs", Ok((33, 50, &[50])));
        check("1:2", Ok((1, 2, &[2])));
        check("nobody-here", Err("user: unknown user nobody-here"));
        check("web:nope", Err("group: unknown group nope"));
        check("", Err("user: unknown user "));
    }
}
