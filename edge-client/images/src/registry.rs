//! The talk with one registry about one repository: addresses, logins, redirects, and what its refusals mean.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use serde::Deserialize;

use crate::credentials::Login;
use crate::error::PullError;
use crate::http::{self, Request, Response};
use crate::settings::Settings;
use crate::tls;
use crate::url::{Url, encode};
use crate::watch::Watch;

/// How many redirects are followed.
const REDIRECTS_MAX: usize = 5;
/// How often a request is made again after a failure that may pass.
pub(crate) const TRIES_MAX: u32 = 5;
/// The longest pause that a registry can ask for.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// The longest text of a refusal that is read, in bytes.
const REFUSAL_MAX: usize = 8 << 10;
/// The longest answer of a token service, in bytes.
const TOKEN_BYTES_MAX: usize = 256 << 10;

/// A registry, asked for one repository.
pub(crate) struct Repository {
    /// What it is called in messages.
    pub(crate) host: String,
    /// The image's name in messages.
    name: String,
    path: String,
    base: Url,
    tls: Option<Arc<ClientConfig>>,
    login: Option<Login>,
    without_login_too: bool,
    tries_max: u32,
    /// The header that proved to be right.
    authorization: Mutex<Option<String>>,
    pub(crate) watch: Watch,
}

/// What a repository is reached with.
pub(crate) struct Access<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) login: Option<Login>,
    pub(crate) without_login_too: bool,
    /// How often a request is made before it counts as failed.
    pub(crate) tries_max: u32,
}

impl Repository {
    /// Finds out how `host` is reached; says nothing to it yet.
    pub(crate) fn new(
        host: &str,
        path: &str,
        name: &str,
        access: Access<'_>,
        watch: &Watch,
    ) -> Result<Self, PullError> {
        let own = access.settings.registries.get(host);
        let is_https = own.is_none_or(|registry| !registry.plain_http);
        // The one registry whose name is not its address.
        let address = if host == "docker.io" { "registry-1.docker.io" } else { host };
        let unusable = |reason: String| PullError::Unreachable { host: host.to_owned(), reason };
        let base = Url::of_host(address, is_https).ok_or_else(|| unusable("its name is no host".to_owned()))?;
        let files = [access.settings.ca_file.as_deref(), own.and_then(|registry| registry.ca_file.as_deref())];
        let files: Vec<_> = files.into_iter().flatten().collect();
        // Also for a plain registry, which may redirect to an encrypted store; without certificates only that fails.
        let tls = match tls::client_config(&files) {
            Ok(tls) => Some(tls),
            Err(reason) if is_https => return Err(unusable(reason)),
            Err(_) => None,
        };
        Ok(Self {
            host: host.to_owned(),
            name: name.to_owned(),
            path: path.to_owned(),
            base,
            tls,
            login: access.login,
            without_login_too: access.without_login_too,
            tries_max: access.tries_max,
            authorization: Mutex::new(None),
            watch: watch.clone(),
        })
    }

    /// Gets `/v2/<repository>/<kind>/<what>` from byte `from` on. Asked again while a failure may pass. The answer is 200 or 206, or 416
    /// where `from` is not 0.
    pub(crate) fn get(&self, kind: &str, what: &str, accept: &str, from: u64) -> Result<Response, PullError> {
        let url = self.base.with_target(format!("/v2/{}/{kind}/{what}", self.path));
        let mut tries = 0;
        loop {
            tries += 1;
            let pause = match self.get_authorized(&url, accept, from) {
                Ok(mut response) => match response.status {
                    200 | 206 => return Ok(response),
                    416 if from > 0 => return Ok(response),
                    408 | 429 | 500..=599 if tries < self.tries_max => {
                        asked_pause(&response).unwrap_or_else(|| backoff(tries))
                    }
                    _ => return Err(self.refusal(&mut response)),
                },
                Err(PullError::Unreachable { .. }) if tries < self.tries_max => backoff(tries),
                Err(error) => return Err(error),
            };
            self.watch.pause(pause)?;
        }
    }

    fn get_authorized(&self, url: &Url, accept: &str, from: u64) -> Result<Response, PullError> {
        let known = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut response = self.follow(url, accept, from, known.as_deref())?;
        if response.status != 401 {
            return Ok(response);
        }
        let mut found = self.authorize(&response, self.login.as_ref());
        let is_refused = matches!(found, Err(PullError::Denied { .. })) && self.login.is_some();
        if is_refused && self.without_login_too {
            found = self.authorize(&response, None);
        }
        let Some(authorization) = found? else { return Ok(response) };
        response = self.follow(url, accept, from, Some(&authorization))?;
        if response.status == 401 && self.login.is_some() && self.without_login_too {
            if let Some(anonymous) = self.authorize(&response, None)? {
                response = self.follow(url, accept, from, Some(&anonymous))?;
            }
            return Ok(response);
        }
        if response.status < 400 {
            *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(authorization);
        }
        Ok(response)
    }

    /// Sends, and goes where a redirect leads. A login is shown to the registry only.
    fn follow(&self, url: &Url, accept: &str, from: u64, authorization: Option<&str>) -> Result<Response, PullError> {
        let mut at = url.clone();
        for _ in 0..=REDIRECTS_MAX {
            self.watch.check()?;
            let shown = authorization.filter(|_| at.is_same_origin(&self.base));
            let request = Request { accept, authorization: shown, from, ..Request::default() };
            let response = self.send(&at, &request)?;
            // Whoever that is would name the place where the registry's login is to be sent.
            if response.status == 401 && !at.is_same_origin(&self.base) {
                return Err(self.answer("a demand for a login from where it redirects to"));
            }
            if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let target = response.header("location").and_then(|location| at.join(location));
            let next = target.ok_or_else(|| self.answer("a redirect to nowhere"))?;
            if at.is_https && !next.is_https {
                return Err(self.answer("a redirect from HTTPS to plain HTTP"));
            }
            at = next;
        }
        Err(self.answer("more redirects than are followed"))
    }

    fn send(&self, url: &Url, request: &Request<'_>) -> Result<Response, PullError> {
        let tls = match (&self.tls, url.is_https) {
            (_, false) => None,
            (Some(tls), true) => Some(Arc::clone(tls)),
            (None, true) => return Err(self.answer("a redirect to HTTPS, and this host has no list of certificates")),
        };
        http::send(url, tls, request, &self.watch)
    }

    fn answer(&self, what: impl Into<String>) -> PullError {
        PullError::Answer { host: self.host.clone(), what: what.into() }
    }

    fn denied(&self, reason: impl Into<String>) -> PullError {
        PullError::Denied { name: self.name.clone(), host: self.host.clone(), reason: reason.into() }
    }

    /// What the challenge of a 401 asks for; `None` when there is nothing to show.
    fn authorize(&self, response: &Response, login: Option<&Login>) -> Result<Option<String>, PullError> {
        if let Some(Login::Registry(token)) = login {
            return header_safe(token)
                .map(|token| Some(format!("Bearer {token}")))
                .ok_or_else(|| self.denied("its token is none"));
        }
        let challenges: Vec<_> = response.headers("www-authenticate").filter_map(Challenge::parse).collect();
        if let Some(challenge) = challenges.iter().find(|challenge| challenge.scheme == "bearer") {
            return self.ask_for_token(challenge, login).map(Some);
        }
        if challenges.iter().any(|challenge| challenge.scheme == "basic") {
            return Ok(login.and_then(Login::basic));
        }
        Ok(None)
    }

    /// Asks the token service that a challenge names: with the login, or as nobody.
    fn ask_for_token(&self, challenge: &Challenge, login: Option<&Login>) -> Result<String, PullError> {
        let realm = challenge.value("realm").and_then(Url::parse);
        let realm = realm.ok_or_else(|| self.answer("a demand for a token from nowhere"))?;
        if self.base.is_https && !realm.is_https {
            return Err(self.answer("a demand to send a login over plain HTTP"));
        }
        let scope = format!("repository:{}:pull", self.path);
        let scope = encode(challenge.value("scope").unwrap_or(&scope));
        let service = encode(challenge.value("service").unwrap_or_default());
        let response = if let Some(Login::Identity(token)) = login {
            let form = format!(
                "grant_type=refresh_token&service={service}&scope={scope}&client_id=drover&refresh_token={}",
                encode(token)
            );
            self.send(&realm, &Request { form: Some(&form), ..Request::default() })
        } else {
            let parted = if realm.target.contains('?') { '&' } else { '?' };
            let url = realm.with_target(format!("{}{parted}service={service}&scope={scope}", realm.target));
            let basic = login.and_then(Login::basic);
            self.send(&url, &Request { authorization: basic.as_deref(), ..Request::default() })
        };
        let mut response = response?;
        match response.status {
            200 => {}
            401 | 403 if login.is_some() => return Err(self.denied("it refuses the login")),
            401 | 403 => return Err(self.denied("it asks for a login")),
            status => return Err(self.answer(format!("{status} when it was asked for a token"))),
        }
        let body = response.read_whole(TOKEN_BYTES_MAX).map_err(|err| http::explain(err, &realm, &self.watch))?;
        let body = body.ok_or_else(|| self.answer("a token without an end"))?;
        let token: Token = serde_json::from_slice(&body).map_err(|_| self.answer("what is no token"))?;
        let token = [token.token, token.access_token]
            .into_iter()
            .flatten()
            .find_map(|token| header_safe(&token).map(str::to_owned));
        token.map(|token| format!("Bearer {token}")).ok_or_else(|| self.answer("what is no token"))
    }

    /// What a status that is no success means.
    fn refusal(&self, response: &mut Response) -> PullError {
        let status = response.status;
        let body = response.read_whole(REFUSAL_MAX).ok().flatten().unwrap_or_default();
        let said = serde_json::from_slice::<Refusals>(&body).ok().and_then(|it| it.errors.into_iter().next());
        let said = said.map(|it| if it.message.is_empty() { it.code } else { it.message }).unwrap_or_default();
        let said: String = said.chars().filter(|letter| !letter.is_control()).take(200).collect();
        match status {
            404 => PullError::NotFound { name: self.name.clone(), host: self.host.clone() },
            401 | 403 if self.login.is_some() => self.denied("it refuses the login"),
            401 | 403 => self.denied("it asks for a login"),
            _ if said.is_empty() => self.answer(status.to_string()),
            _ => self.answer(format!("{status} ({said})")),
        }
    }
}

/// A token that can stand in a header.
fn header_safe(token: &str) -> Option<&str> {
    (!token.is_empty() && token.bytes().all(|byte| (0x21..0x7f).contains(&byte))).then_some(token)
}

/// Longer with each try, and not the same for all.
pub(crate) fn backoff(tries: u32) -> Duration {
    let mut random = [0; 2];
    // Without randomness there is only the jitter to lose.
    let _ = getrandom::fill(&mut random);
    let base = 100_u64 << tries.min(6);
    Duration::from_millis(base + base * u64::from(u16::from_le_bytes(random)) / u64::from(u16::MAX))
}

fn asked_pause(response: &Response) -> Option<Duration> {
    let seconds = response.header("retry-after")?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(PAUSE_MAX))
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct Refusals {
    errors: Vec<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// `Bearer realm="…",service="…",scope="…"`.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    /// In lower case.
    scheme: String,
    values: Vec<(String, String)>,
}

impl Challenge {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, mut rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut values = Vec::new();
        while let Some((key, tail)) = rest.split_once('=') {
            let (value, tail) = match tail.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => tail.split_at(tail.find(',').unwrap_or(tail.len())),
            };
            let key = key.trim_matches(|letter: char| letter == ',' || letter.is_whitespace());
            values.push((key.to_ascii_lowercase(), value.to_owned()));
            rest = tail;
        }
        Some(Self { scheme: scheme.to_ascii_lowercase(), values })
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.values.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let text = r#"Bearer realm="https://a/token",service="a b",scope="repository:x:pull,push", error=invalid"#;
        let challenge = Challenge::parse(text).unwrap();
        assert_eq!(challenge.scheme, "bearer");
        assert_eq!(challenge.value("realm"), Some("https://a/token"));
        assert_eq!(challenge.value("scope"), Some("repository:x:pull,push"));
        assert_eq!(challenge.value("error"), Some("invalid"));
        assert_eq!(Challenge::parse("Basic").unwrap().values, []);
        assert_eq!(Challenge::parse("Basic realm=\"x"), None);
    }
}
