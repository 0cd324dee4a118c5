//! Logins, and where they are looked for: the job, the agent's settings, a file like Docker's, a helper program.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::image::nullable;
use crate::settings::Settings;
use crate::watch::{LOOK, Watch};

/// The most bytes of a file with logins, or of a helper's answer.
const FILE_MAX: u64 = 1 << 20;
/// What helpers give as a name when the secret is an identity token.
const TOKEN_NAME: &str = "<token>";

/// A name and its secret. The secret is never printed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password, or what stands for one.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// How one proves to a registry who one is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Login {
    /// By name and password.
    Password(Credentials),
    /// By a token that the registry's token service takes for others.
    Identity(String),
    /// By a token that the registry itself takes.
    Registry(String),
}

impl Login {
    /// The header that says it, where it can be said to the registry or its token service directly.
    pub(crate) fn basic(&self) -> Option<String> {
        match self {
            Self::Password(Credentials { username, password }) => {
                Some(format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
            }
            Self::Identity(_) | Self::Registry(_) => None,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DockerConfig {
    #[serde(deserialize_with = "nullable")]
    auths: BTreeMap<String, Entry>,
    #[serde(rename = "credHelpers", deserialize_with = "nullable")]
    helpers: BTreeMap<String, String>,
    #[serde(rename = "credsStore", deserialize_with = "nullable")]
    store: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    #[serde(deserialize_with = "nullable")]
    auth: String,
    #[serde(deserialize_with = "nullable")]
    username: String,
    #[serde(deserialize_with = "nullable")]
    password: String,
    #[serde(rename = "identitytoken", deserialize_with = "nullable")]
    identity_token: String,
    #[serde(rename = "registrytoken", deserialize_with = "nullable")]
    registry_token: String,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entry")
    }
}

#[derive(Deserialize)]
struct HelperAnswer {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: String,
}

/// The login for a host, from the settings, the file and the helper, in this order.
pub(crate) fn find(settings: &Settings, host: &str, watch: &Watch) -> Result<Option<Login>, String> {
    if let Some(found) = settings.registries.get(host).and_then(|registry| registry.credentials.clone()) {
        return Ok(Some(Login::Password(found)));
    }
    if let Some(path) = &settings.auth_file
        && let Some(found) = from_file(path, host, watch)?
    {
        return Ok(Some(found));
    }
    match &settings.auth_helper {
        Some(helper) => ask_helper(helper, host, watch),
        None => Ok(None),
    }
}

/// The names under which a file may hold a host's login.
fn is_for(key: &str, host: &str) -> bool {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let name = bare.split('/').next().unwrap_or_default();
    let is_hub = |name: &str| matches!(name, "docker.io" | "index.docker.io" | "registry-1.docker.io");
    name.eq_ignore_ascii_case(host) || (is_hub(name) && is_hub(host))
}

fn from_file(path: &Path, host: &str, watch: &Watch) -> Result<Option<Login>, String> {
    let refuse = |reason: String| format!("{}: {reason}", path.display());
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(|err| refuse(err.to_string()))?;
    file.take(FILE_MAX).read_to_end(&mut text).map_err(|err| refuse(err.to_string()))?;
    // What serde says of a text can hold pieces of it, and this one is full of secrets: the place only.
    let config: DockerConfig = serde_json::from_slice(&text)
        .map_err(|err| refuse(format!("not understood at line {}, column {}", err.line(), err.column())))?;
    let helper = config.helpers.iter().find(|(key, _)| is_for(key, host)).map(|(_, helper)| helper);
    if let Some(helper) = helper.or((!config.store.is_empty()).then_some(&config.store))
        && let Some(found) = ask_helper(helper, host, watch)?
    {
        return Ok(Some(found));
    }
    let Some((_, entry)) = config.auths.into_iter().find(|(key, _)| is_for(key, host)) else { return Ok(None) };
    if !entry.registry_token.is_empty() {
        return Ok(Some(Login::Registry(entry.registry_token)));
    }
    if !entry.identity_token.is_empty() {
        return Ok(Some(Login::Identity(entry.identity_token)));
    }
    if entry.auth.is_empty() {
        let Entry { username, password, .. } = entry;
        return Ok((!username.is_empty()).then_some(Login::Password(Credentials { username, password })));
    }
    let unreadable = || refuse(format!("`auth` of {host} is not the base64 of user:password"));
    let plain = STANDARD.decode(entry.auth.trim()).map_err(|_| unreadable())?;
    let plain = String::from_utf8(plain).map_err(|_| unreadable())?;
    let (username, password) = plain.split_once(':').ok_or_else(unreadable)?;
    let password = password.trim_end_matches('\0').to_owned();
    Ok(Some(Login::Password(Credentials { username: username.to_owned(), password })))
}

/// Runs `docker-credential-<suffix> get`, which reads the host and writes JSON.
fn ask_helper(suffix: &str, host: &str, watch: &Watch) -> Result<Option<Login>, String> {
    let program = format!("docker-credential-{suffix}");
    let refuse = |reason: String| format!("{program}: {reason}");
    if suffix.is_empty() || !suffix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err(refuse("no name of a helper".to_owned()));
    }
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|err| refuse(err.to_string()))?;
    let server = if host == "docker.io" { "https://index.docker.io/v1/" } else { host };
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read has ended, which its status tells.
        let _ = stdin.write_all(server.as_bytes());
    }
    let stdout = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut answer = Vec::new();
        stdout.map(|stdout| stdout.take(FILE_MAX).read_to_end(&mut answer));
        answer
    });
    let begin = std::time::Instant::now();
    let status = loop {
        match child.try_wait().map_err(|err| refuse(err.to_string()))? {
            Some(status) => break status,
            None if watch.check().is_ok() && begin.elapsed() < watch.silence => std::thread::sleep(LOOK / 10),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(refuse("gave no answer".to_owned()));
            }
        }
    };
    // A grandchild may hold the pipe for ever; then the thread waits for it, not the pull.
    while !reader.is_finished() {
        if watch.check().is_err() || begin.elapsed() >= watch.silence {
            return Err(refuse("left its output open".to_owned()));
        }
        std::thread::sleep(LOOK / 10);
    }
    let answer = reader.join().map_err(|_| refuse("its answer could not be read".to_owned()))?;
    if !status.success() {
        let is_unknown = String::from_utf8_lossy(&answer).contains("credentials not found");
        return if is_unknown { Ok(None) } else { Err(refuse(status.to_string())) };
    }
    let answer: HelperAnswer =
        serde_json::from_slice(&answer).map_err(|_| refuse("its answer can not be understood".to_owned()))?;
    Ok(Some(if answer.username == TOKEN_NAME {
        Login::Identity(answer.secret)
    } else {
        Login::Password(Credentials { username: answer.username, password: answer.secret })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Cancelled;
    use std::time::Duration;

    fn find_in(text: &str, host: &str) -> Result<Option<String>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let settings = Settings { auth_file: Some(file.path().to_owned()), ..Settings::default() };
        let watch = Watch::new(Cancelled::default(), Duration::from_secs(5), Duration::from_secs(5));
        let found = find(&settings, host, &watch);
        found.map(|login| {
            login.map(|login| match login {
                Login::Password(it) => format!("{}:{}", it.username, it.password),
                Login::Identity(token) => format!("identity {token}"),
                Login::Registry(token) => format!("registry {token}"),
            })
        })
    }

    #[test]
    fn a_file_like_dockers_is_understood() {
        let text = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},"h:5000":{"username":"a","password":"b:c"},
            "i.io":{"identitytoken":"it","auth":"dTpw"},"r.io":{"registrytoken":"rt"},"empty.io":{}},"credHelpers":null}"#;
        let check =
            |host: &str, found: Option<&str>| assert_eq!(find_in(text, host).unwrap().as_deref(), found, "{host}");
        check("docker.io", Some("u:p"));
        check("h:5000", Some("a:b:c"));
        check("h", None);
        check("i.io", Some("identity it"));
        check("r.io", Some("registry rt"));
        check("empty.io", None);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_without_its_secrets() {
        let error = find_in(r#"{"auths":{"h":{"auth":"c2VjcmV0"}}}"#, "h").unwrap_err();
        assert!(error.contains("user:password") && !error.contains("secret") && !error.contains("c2Vj"), "{error}");
        let error = find_in(r#"{"auths":{"h":"c2VjcmV0"}}"#, "h").unwrap_err();
        assert!(error.contains("line 1") && !error.contains("c2Vj"), "{error}");
        assert!(!format!("{:?}", Credentials { username: "u".into(), password: "secret".into() }).contains("secret"));
    }
}
