//! Refuses users that a driver may not run tasks as.

use crate::decide::actual::StartFailure;

/// Drivers whose tasks may not run as just anybody.
const CHECKED_DRIVERS: &[&str] = &["exec", "qemu", "java"];
/// Users that their tasks may not run as.
const DENIED_USERS: &[&str] = &["root", "Administrator"];

/// Before the start.
pub fn prestart(driver: &str, user: &str) -> Result<(), StartFailure> {
    let name = user.split(':').next().unwrap_or(user);
    if CHECKED_DRIVERS.contains(&driver) && DENIED_USERS.contains(&name) {
        return Err(StartFailure::Hook(format!("validate: running as user {name:?} is disallowed")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_for_raw_exec_only() {
        let check = |driver: &str, user: &str, is_allowed: bool| assert_eq!(prestart(driver, user).is_ok(), is_allowed);
        check("exec", "root", false);
        check("exec", "root:web", false);
        check("exec", "web", true);
        check("exec", "", true);
        check("raw_exec", "root", true);
    }
}
