//! `drover operator api`: any call of the HTTP API, for people who know it.

use std::io::Read;

use drover_api_client::query::escape;
use drover_api_client::raw::RawCall;

use crate::call::{Call, Failure, Outcome, fail};
use crate::flags::{list, switch, text};
use crate::grammar::Command;
use crate::output::text::quote;

/// The command.
pub const COMMAND: Command = Command {
    path: "operator api",
    summary: "Make any call to the HTTP API",
    arguments: "<path>",
    about: "Asks for a path such as /v1/jobs and passes the answer on as it comes. What stands on standard input is sent \
            along as the body, by POST unless -X says otherwise. An URL is taken whole.\n\n\
            Exit status 0 for every answer, also one that is an error; 1 when none came.",
    flags: &[
        list("H", "name: value", "A header. May be repeated."),
        text("X", "method", "The method. Default: GET, or POST with a body"),
        switch("dryrun", "Show a call of curl that does the same, and do nothing."),
        text("filter", "expression", "Only what the expression admits."),
        switch("verbose", "Show on stderr what is sent and what is answered."),
    ],
    run,
    ..Command::BASE
};

/// No body is sent beyond this.
const BODY_BYTES_MAX: u64 = 64 << 20;
/// Bytes of an answer that are passed on at once.
const CHUNK_BYTES: usize = 64 << 10;

fn run(call: &mut Call) -> Outcome {
    let target = match call.flags.args.as_slice() {
        [target] => target.clone(),
        [] => return Err(Failure::Usage("A path or URL is required".to_owned())),
        several => {
            let count = several.len();
            return Err(Failure::Usage(format!(
                "operator api accepts exactly 1 argument, but {count} arguments were found"
            )));
        }
    };
    let verbose = call.verbose();
    let body = body(call, verbose)?;
    let method = match call.flags.text("X") {
        "" if body.is_some() => "POST".to_owned(),
        "" => "GET".to_owned(),
        method => method.to_owned(),
    };
    let headers = headers(call)?;
    let client = match target.split_once("://") {
        // Another agent than the one of flags and environment.
        Some((scheme, rest)) => {
            let host = rest.split(['/', '?']).next().unwrap_or_default();
            let mut settings = call.settings.clone();
            settings.address = format!("{scheme}://{host}");
            settings.client().map_err(|error| Failure::Error(format!("Error turning path into URL: {error}")))?
        }
        None => call.client()?,
    };
    let url = url(call, client.base(), &target);
    if call.flags.is_on("dryrun") {
        let line = curl(call, &method, body.is_some(), &headers, &url);
        call.ui.out(&line);
        return Ok(0);
    }
    let raw = RawCall { method, url, headers, body };
    if verbose {
        // The address of the agent is part of the URL, not of what is sent.
        let path = raw.url.strip_prefix(client.base()).unwrap_or(&raw.url).split('?').next().unwrap_or_default();
        call.ui.note(&format!("> {} {path} HTTP/1.1", raw.method));
        for (name, value) in &raw.headers {
            call.ui.note(&format!("> {name}: {value}"));
        }
        call.ui.note(">\n* Sending request and receiving response...");
    }
    let mut answer = client.raw(&raw).map_err(|error| Failure::Error(format!("Error performing request: {error}")))?;
    if verbose {
        call.ui.note(&format!("< {} {}", answer.protocol, answer.status));
        for (name, value) in &answer.headers {
            call.ui.note(&format!("< {name}: {value}"));
        }
    }
    let mut passed = 0;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match answer.body.read(&mut chunk) {
            Ok(0) => return Ok(0),
            Ok(count) if call.ui.write(&chunk[..count]) => passed += count,
            // Nobody reads any more.
            Ok(_) => return Ok(0),
            Err(error) => return fail(format!("Error reading response after {passed} bytes: {error}")),
        }
    }
}

fn body(call: &mut Call, verbose: bool) -> Result<Option<Vec<u8>>, Failure> {
    if !call.ui.is_stdin_given {
        return Ok(None);
    }
    if verbose {
        call.ui.note("* Reading request body from stdin.");
    }
    let mut bytes = Vec::new();
    let read = (&mut call.ui.stdin).take(BODY_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::Error(format!("Error reading stdin: {error}")))?;
    if bytes.len() as u64 > BODY_BYTES_MAX {
        return fail(format!("Error reading stdin: more than {BODY_BYTES_MAX} bytes"));
    }
    Ok(Some(bytes))
}

fn headers(call: &Call) -> Result<Vec<(String, String)>, Failure> {
    let read = |text: &String| match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
        _ => fail(format!("Error parsing flags: Headers must be in the form 'Key: Value' but found: {}", quote(text))),
    };
    call.flags.texts("H").iter().map(read).collect()
}

/// The whole URL; region and namespace are added where the path has none.
fn url(call: &Call, base: &str, target: &str) -> String {
    let path = match target.split_once("://") {
        Some((_, rest)) => rest.find(['/', '?']).map_or("", |start| &rest[start..]),
        None => target,
    };
    let slash = if path.starts_with(['/', '?']) || path.is_empty() { "" } else { "/" };
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut pairs: Vec<String> = query.split('&').filter(|pair| !pair.is_empty()).map(str::to_owned).collect();
    let filter = call.flags.text("filter");
    if !filter.is_empty() {
        pairs.retain(|pair| !pair.starts_with("filter="));
        pairs.push(format!("filter={}", escape(filter)));
    }
    for (name, value) in [("namespace", &call.settings.namespace), ("region", &call.settings.region)] {
        let has = |pair: &String| pair.strip_prefix(name).is_some_and(|rest| rest.starts_with('=') && rest.len() > 1);
        if !value.is_empty() && !pairs.iter().any(has) {
            pairs.push(format!("{name}={}", escape(value)));
        }
    }
    pairs.sort();
    let query = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
    format!("{base}{slash}{path}{query}")
}

/// The same for curl. Secrets of the environment stay there, under their names.
fn curl(call: &Call, method: &str, has_body: bool, headers: &[(String, String)], url: &str) -> String {
    let mut parts = vec!["curl".to_owned()];
    if call.verbose() {
        parts.push("--verbose".to_owned());
    }
    if method != "GET" {
        parts.push(format!("-X {method}"));
    }
    if has_body {
        parts.push("--data-binary @-".to_owned());
    }
    if let Some(socket) = call.settings.address.strip_prefix("unix://") {
        parts.push(format!("--unix-socket {}", quote(socket)));
    }
    let tls = &call.settings.tls;
    let files =
        [("cacert", &tls.ca_file), ("capath", &tls.ca_dir), ("cert", &tls.client_cert), ("key", &tls.client_key)];
    for (flag, path) in files {
        if !path.as_os_str().is_empty() {
            parts.push(format!("--{flag} {}", quote(&path.to_string_lossy())));
        }
    }
    if tls.skip_verify {
        parts.push("--insecure".to_owned());
    }
    let mut url = url.to_owned();
    if let (false, Some((scheme, rest))) = (tls.server_name.is_empty(), url.split_once("://")) {
        // curl checks the certificate against the host of the URL.
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, port) = rest[..end].rsplit_once(':').unwrap_or((&rest[..end], "443"));
        let name = &tls.server_name;
        parts.push(format!("--connect-to \"{name}:{port}:{host}:{port}\""));
        url = format!("{scheme}://{name}:{port}{}", &rest[end..]);
    }
    parts.extend(headers.iter().map(|(name, value)| format!("-H '{name}: {value}'")));
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("X-Nomad-Token")) {
        match (call.flags.text("token"), call.environment.name_of("TOKEN")) {
            ("", None) => {}
            ("", Some(variable)) => parts.push(format!("-H \"X-Nomad-Token: ${{{variable}}}\"")),
            (token, _) => parts.push(format!("-H 'X-Nomad-Token: {token}'")),
        }
    }
    if let Some(variable) = call.environment.name_of("HTTP_AUTH") {
        parts.push(format!("-u \"${variable}\""));
    }
    parts.push(url);
    parts.join(" \\\n  ")
}
