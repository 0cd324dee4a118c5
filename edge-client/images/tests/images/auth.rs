//! Logins: tokens, plain ones, from the job, the settings and a file; and who never sees one.

use std::sync::Arc;

use drover_images::{Credentials, PullError, PullRequest, Registry, Settings};

use crate::Case;
use crate::fake::{Fake, Reply, Seen};
use crate::made::{Made, Tar};
use crate::support::{Place, request, settings};

pub const CASES: &[Case] = &[
    ("auth::a_token_for_nobody_is_fetched", a_token_for_nobody_is_fetched),
    ("auth::a_token_is_fetched_with_the_login", a_token_is_fetched_with_the_login),
    ("auth::a_plain_login_is_shown_when_asked_for", a_plain_login_is_shown_when_asked_for),
    ("auth::logins_stand_in_settings_and_files", logins_stand_in_settings_and_files),
    ("auth::nobody_else_sees_the_login", nobody_else_sees_the_login),
    ("auth::nobody_else_can_ask_for_the_login", nobody_else_can_ask_for_the_login),
];

// "user:secret" and "user:wrong" in base64.
const RIGHT: &str = "Basic dXNlcjpzZWNyZXQ=";

fn image() -> Made {
    Made::of(&[Tar::new().file("a", "a").end()])
}

fn with_login(host: &str, password: &str) -> PullRequest {
    let credentials = Credentials { username: "user".to_owned(), password: password.to_owned() };
    PullRequest { credentials: Some(credentials), ..request(&format!("{host}/a")) }
}

fn pull(place: &Place, request: PullRequest) -> Result<drover_images::Image, Arc<PullError>> {
    place.store.pull(request, |_| {}).wait()
}

/// A registry that wants a token of its own token service; `gives` decides whether the service gives one.
fn with_tokens(gives: impl Fn(&Seen) -> bool + Send + Sync + 'static) -> Fake {
    let made = image();
    Fake::start(move |seen| {
        if seen.target.starts_with("/token") {
            assert!(seen.target.contains("service=s%20x&scope=repository%3Aa%3Apull"), "{}", seen.target);
            let token = if gives(seen) { Reply::new(200, r#"{"access_token":"abc"}"#) } else { Reply::new(401, "") };
            return token;
        }
        match seen.header("authorization") {
            Some("Bearer abc") => made.answer(seen),
            _ => {
                let host = seen.header("host").unwrap();
                let challenge =
                    format!(r#"Bearer realm="http://{host}/token",service="s x",scope="repository:a:pull""#);
                Reply::new(401, "{}").header("WWW-Authenticate", challenge)
            }
        }
    })
}

fn a_token_for_nobody_is_fetched() {
    let fake = with_tokens(|seen| seen.header("authorization").is_none());
    let place = Place::with(&fake.host);
    pull(&place, request(&format!("{}/a", fake.host))).unwrap();
    assert_eq!(fake.count("/token"), 1, "one token serves the whole pull");
}

fn a_token_is_fetched_with_the_login() {
    let fake = with_tokens(|seen| seen.header("authorization") == Some(RIGHT));
    let place = Place::with(&fake.host);
    let nobody = pull(&place, request(&format!("{}/a", fake.host))).unwrap_err();
    assert_eq!(nobody.sentence(), format!("{0} gives {0}/a:latest only to others: it asks for a login", fake.host));
    assert!(!nobody.may_pass());
    let wrong = pull(&place, with_login(&fake.host, "wrong")).unwrap_err();
    assert_eq!(wrong.sentence(), format!("{0} gives {0}/a:latest only to others: it refuses the login", fake.host));
    pull(&place, with_login(&fake.host, "secret")).unwrap();

    // `auth_soft_fail`: the wrong login is forgotten.
    let fake = with_tokens(|seen| seen.header("authorization").is_none());
    let place = Place::with(&fake.host);
    assert!(pull(&place, with_login(&fake.host, "wrong")).is_err());
    pull(&place, PullRequest { without_login_too: true, ..with_login(&fake.host, "wrong") }).unwrap();
}

/// A registry with plain logins.
fn with_basic() -> Fake {
    let made = image();
    Fake::start(move |seen| match seen.header("authorization") {
        Some(RIGHT) => made.answer(seen),
        _ => Reply::new(401, "{}").header("WWW-Authenticate", r#"Basic realm="x""#),
    })
}

fn a_plain_login_is_shown_when_asked_for() {
    let fake = with_basic();
    let place = Place::with(&fake.host);
    assert!(pull(&place, request(&format!("{}/a", fake.host))).unwrap_err().sentence().contains("asks for a login"));
    assert!(pull(&place, with_login(&fake.host, "wrong")).unwrap_err().sentence().contains("refuses the login"));
    pull(&place, with_login(&fake.host, "secret")).unwrap();
}

fn logins_stand_in_settings_and_files() {
    let fake = with_basic();
    let name = format!("{}/a", fake.host);
    let mut in_settings = settings(&[&fake.host]);
    let credentials = Some(Credentials { username: "user".to_owned(), password: "secret".to_owned() });
    in_settings.registries.insert(fake.host.clone(), Registry { plain_http: true, credentials, ..Registry::default() });
    Place::new(in_settings).pull(&name).unwrap();

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!(r#"{{"auths":{{"{}":{{"auth":"dXNlcjpzZWNyZXQ="}}}}}}"#, fake.host)).unwrap();
    let in_file = Settings { auth_file: Some(file.path().to_owned()), ..settings(&[&fake.host]) };
    let place = Place::new(in_file);
    place.pull(&name).unwrap();
    std::fs::write(file.path(), "{").unwrap();
    let broken = place.refusal(&format!("{name}:other"));
    assert!(broken.contains("the login for") && broken.contains("line 1"), "{broken}");

    let helper = Settings { auth_helper: Some("does-not-exist".to_owned()), ..settings(&[&fake.host]) };
    let missing = Place::new(helper).refusal(&name);
    assert!(missing.contains("docker-credential-does-not-exist: No such file"), "{missing}");
}

fn nobody_else_sees_the_login() {
    // Layers lie elsewhere, as in the clouds, and the mirror is a third.
    let made = image();
    let stored = made.clone();
    let elsewhere = Fake::start(move |seen| stored.answer(seen));
    let to = elsewhere.host.clone();
    let registry = Fake::start(move |seen| match seen.header("authorization") {
        Some(RIGHT) if seen.target.contains("/blobs/") => {
            Reply::new(307, "").header("Location", format!("http://{to}{}", seen.target))
        }
        Some(RIGHT) => made.answer(seen),
        _ => Reply::new(401, "{}").header("WWW-Authenticate", "Basic"),
    });
    let mirror = Fake::start(|_| Reply::new(401, "{}").header("WWW-Authenticate", "Basic realm=x"));
    let mut settings = settings(&[&registry.host, &mirror.host]);
    settings.registries.get_mut(&registry.host).unwrap().mirrors = vec![mirror.host.clone()];
    let place = Place::new(settings);
    pull(&place, with_login(&registry.host, "secret")).unwrap();
    assert!(elsewhere.count("/blobs/") >= 2 && mirror.count("/v2/") >= 1);
    for other in elsewhere.seen().iter().chain(&mirror.seen()) {
        assert_eq!(other.header("authorization"), None, "{other:?}");
    }
}

fn nobody_else_can_ask_for_the_login() {
    // Where the layers lie, somebody names a token service of its own.
    let elsewhere = Fake::start(|seen| {
        let realm = format!("Bearer realm=\"http://{}/token\"", seen.header("host").unwrap());
        Reply::new(401, "{}").header("WWW-Authenticate", realm)
    });
    let (made, to) = (image(), elsewhere.host.clone());
    let registry = Fake::start(move |seen| match seen.header("authorization") {
        Some(RIGHT) if seen.target.contains("/blobs/") => {
            Reply::new(307, "").header("Location", format!("http://{to}{}", seen.target))
        }
        Some(RIGHT) => made.answer(seen),
        _ => Reply::new(401, "{}").header("WWW-Authenticate", "Basic"),
    });
    let place = Place::with(&registry.host);
    let refused = pull(&place, with_login(&registry.host, "secret")).unwrap_err().sentence();
    assert!(refused.contains("a demand for a login from where it redirects to"), "{refused}");
    assert_eq!((elsewhere.count("/blobs/"), elsewhere.count("/token")), (1, 0));
}
