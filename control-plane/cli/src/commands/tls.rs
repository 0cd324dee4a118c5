//! `drover tls ca create|info`, `drover tls cert create|info`

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use drover_certs::RegionName;
use drover_certs::facts::Facts;
use drover_certs::own_authority::{OwnAuthority, OwnAuthorityOrder, OwnCertificateOrder, Pair, Subject};

use crate::call::{Call, Outcome, fail};
use crate::flags::{list, number, switch, text};
use crate::grammar::Command;
use crate::output::text::quote;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Five years.
const CA_DAYS: i64 = 1825;
const CERT_DAYS: i64 = 365;
/// More days than there is a year to write.
const DAYS_MAX: i64 = 150_000;
/// The domain of the names when nothing else is said; those of Nomad's domain are given beside it.
const DOMAIN: &str = "drover";
const NOMAD_DOMAIN: &str = "nomad";

const DOMAIN_FLAG: &str = "domain";

/// Makes an authority.
pub const CA_CREATE: Command = Command {
    path: "tls ca create",
    summary: "Make an authority of your own",
    about: "Makes an authority for certificates of your own and writes it into this folder: <domain>-agent-ca.pem and \
            <domain>-agent-ca-key.pem. Keep the key off the servers.\n\n\
            Nobody needs one: without tls { rpc = true } drover issues and renews its certificates itself.",
    flags: &[
        list("additional-domain", "name", "With -name-constraint: another domain whose names it may sign; repeatable."),
        text("common-name", "name", "The authority's name. Default: Drover Agent CA and its serial number"),
        text("country", "code", "The country in its name."),
        number("days", "How many days it lives. Default: 1825"),
        text(
            DOMAIN_FLAG,
            "name",
            "The domain: of the files' names, and with -name-constraint of the names it may sign. Default: drover",
        ),
        text("locality", "name", "The place in its name."),
        switch("name-constraint", "It may sign only names of its domains, of drover, nomad and localhost."),
        text("organization", "name", "The organization in its name."),
        text("organizational-unit", "name", "The unit in its name."),
        text("postal-code", "code", "The postal code in its name."),
        text("province", "name", "The province in its name."),
        text("street-address", "text", "The street in its name."),
    ],
    asks_agent: false,
    run: create_ca,
    ..Command::BASE
};

/// Shows an authority.
pub const CA_INFO: Command = Command {
    path: "tls ca info",
    summary: "Show an authority's certificate",
    arguments: "<file>",
    about: "Shows what stands in the certificate of an authority.",
    asks_agent: false,
    run: |call| info(call, true),
    ..Command::BASE
};

/// Makes a certificate.
pub const CERT_CREATE: Command = Command {
    path: "tls cert create",
    summary: "Make a certificate of your own authority",
    about: "Makes a certificate for a server, a client or this command line and writes it into this folder: \
            <region>-<role>-<domain>.pem and -key.pem. Its name states role and region: server.<region>.<domain>. Without -domain \
            it has the names of both domains that drover reads, drover and nomad.",
    flags: &[
        list("additional-dnsname", "name", "Another name it is good for; localhost always is. Repeatable."),
        list("additional-ipaddress", "address", "Another address it is good for; 127.0.0.1 always is. Repeatable."),
        text("ca", "path", "The authority's certificate. Default: <domain>-agent-ca.pem"),
        switch("cli", "For the command line, over https."),
        switch("client", "For a client."),
        number("days", "How many days it lives. Default: 365"),
        text(
            DOMAIN_FLAG,
            "name",
            "The domain of its names; for RPC drover reads those of drover and nomad. Default: drover",
        ),
        text("key", "path", "The authority's key. Default: <domain>-agent-ca-key.pem"),
        text("region", "name", "The region. Default: global"),
        switch("server", "For a server."),
    ],
    asks_agent: false,
    run: create_cert,
    ..Command::BASE
};

/// Shows a certificate.
pub const CERT_INFO: Command = Command {
    path: "tls cert info",
    summary: "Show a certificate",
    arguments: "<file>",
    about: "Shows what stands in a certificate.",
    asks_agent: false,
    run: |call| info(call, false),
    ..Command::BASE
};

const SERVER_WARNING: &str = "==> WARNING: Server Certificates grants authority to become a
    server and access all state in the cluster including root keys
    and all ACL tokens. Do not distribute them to production hosts
    that are not server nodes. Store them as securely as CA keys.";

fn create_ca(call: &mut Call) -> Outcome {
    call.no_args()?;
    let lifetime = days(call, CA_DAYS)?;
    let domain = domain(call)?;
    let (certificate, key) = (format!("{domain}-agent-ca.pem"), format!("{domain}-agent-ca-key.pem"));
    not_there("CA certificate", &certificate)?;
    not_there("CA key", &key)?;
    let text = |name: &str| call.flags.text(name).to_owned();
    let mut domains = Vec::new();
    if call.flags.is_on("name-constraint") {
        let usual = [domain.as_str(), "localhost", DOMAIN, NOMAD_DOMAIN].map(str::to_owned);
        for name in usual.into_iter().chain(call.flags.texts("additional-domain").iter().cloned()) {
            if !domains.contains(&name) {
                domains.push(name);
            }
        }
    }
    let order = OwnAuthorityOrder {
        common_name: Some(text("common-name")).filter(|name| !name.is_empty()),
        subject: Subject {
            country: text("country"),
            province: text("province"),
            locality: text("locality"),
            street_address: text("street-address"),
            postal_code: text("postal-code"),
            organization: text("organization"),
            organizational_unit: text("organizational-unit"),
        },
        lifetime,
        domains,
    };
    let made = match OwnAuthority::create(&order, SystemTime::now()) {
        Ok(made) => made.to_pem(),
        Err(error) => return fail(format!("Error creating the authority: {}", whole(&error))),
    };
    save(&made, &certificate, &key)?;
    call.ui.out(&format!("==> CA certificate saved to: {certificate}"));
    call.ui.out(&format!("==> CA certificate key saved to: {key}"));
    Ok(0)
}

fn create_cert(call: &mut Call) -> Outcome {
    call.no_args()?;
    let roles: Vec<&str> = ["server", "client", "cli"].into_iter().filter(|role| call.flags.is_on(role)).collect();
    let [role] = roles[..] else { return fail("Please provide either -server, -client, or -cli") };
    let lifetime = days(call, CERT_DAYS)?;
    let domain = domain(call)?;
    let region = match call.flags.text("region") {
        "" => "global",
        region => region,
    };
    if let Err(error) = RegionName::new(region) {
        return fail(format!("Invalid -region value {}: {error}", quote(region)));
    }
    let (certificate, key) = (format!("{region}-{role}-{domain}.pem"), format!("{region}-{role}-{domain}-key.pem"));
    if role == "server" {
        call.ui.note(SERVER_WARNING);
    }
    not_there("Certificate", &certificate)?;
    not_there("Key", &key)?;
    let or = |flag: &str, otherwise: String| match call.flags.text(flag) {
        "" => otherwise,
        path => path.to_owned(),
    };
    let (ca, ca_key) = (or("ca", format!("{domain}-agent-ca.pem")), or("key", format!("{domain}-agent-ca-key.pem")));
    let authority = OwnAuthority::from_pem(&read("CA", &ca)?, &read("CA key", &ca_key)?);
    let authority = match authority {
        Ok(authority) => authority,
        Err(error) => return fail(format!("Error using CA {ca} with key {ca_key}: {}", whole(&error))),
    };

    let role_name = |domain: &str| format!("{role}.{region}.{domain}");
    let mut names = call.flags.texts("additional-dnsname").to_vec();
    names.push(role_name(&domain));
    if domain == DOMAIN {
        names.push(role_name(NOMAD_DOMAIN));
    }
    names.push("localhost".to_owned());
    let mut addresses = Vec::new();
    for text in call.flags.texts("additional-ipaddress") {
        match text.trim().parse::<IpAddr>() {
            Ok(address) => addresses.push(address),
            Err(_) => return fail(format!("Invalid -additional-ipaddress value {}: it is no IP address", quote(text))),
        }
    }
    if role != "cli" {
        addresses.push(IpAddr::from([127, 0, 0, 1]));
    }
    let order = OwnCertificateOrder { common_name: role_name(&domain), names, addresses, lifetime };
    let made = match authority.issue(&order, SystemTime::now()) {
        Ok(made) => made,
        Err(error) => return fail(format!("Error creating the certificate: {}", whole(&error))),
    };
    call.ui.out(&format!("==> Using CA file {ca} and CA key {ca_key}"));
    save(&made, &certificate, &key)?;
    let (what, what_key) = match role {
        "server" => ("Server", "Server"),
        "client" => ("Client", "Client"),
        _ => ("Cli", "CLI"),
    };
    call.ui.out(&format!("==> {what} Certificate saved to {certificate}"));
    call.ui.out(&format!("==> {what_key} Certificate key saved to {key}"));
    if role != "cli" && domain != DOMAIN && domain != NOMAD_DOMAIN {
        call.ui.note(&format!(
            "RPC does not take it: role and region are read from names of {DOMAIN} and {NOMAD_DOMAIN}."
        ));
    }
    Ok(0)
}

fn info(call: &mut Call, is_authority: bool) -> Outcome {
    let path = call.only_arg("<certificate file>")?;
    let text = read(if is_authority { "CA file" } else { "certificate" }, &path)?;
    let facts = match Facts::of_pem(&text) {
        Ok(facts) => facts,
        Err(error) => return fail(format!("Error reading {path}: {error}")),
    };
    let end = facts.not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let end = jiff::Timestamp::from_second(i64::try_from(end.as_secs()).unwrap_or(i64::MAX));
    let end = end.map(|end| end.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()).unwrap_or_default();
    let addresses: Vec<String> = facts.addresses.iter().map(ToString::to_string).collect();
    let mut rows = vec![
        ("Serial Number", facts.serial),
        ("Issuer CN", facts.issuer),
        ("Common Name", facts.subject),
        ("Expiry Date", end),
    ];
    if is_authority {
        rows.push(("Permitted DNS Domains", format!("[{}]", facts.permitted.join(" "))));
    } else {
        rows.push(("DNS Names", format!("[{}]", facts.names.join(" "))));
        rows.push(("IP Addresses", format!("[{}]", addresses.join(" "))));
    }
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:width$}  {value}")).collect();
    call.ui.out(&lines.join("\n"));
    Ok(0)
}

fn days(call: &Call, otherwise: i64) -> Result<Duration, crate::call::Failure> {
    match call.flags.number("days").unwrap_or(otherwise) {
        days @ 1..=DAYS_MAX => Ok(DAY * u32::try_from(days).unwrap_or_default()),
        _ => fail(format!("-days must be a number from 1 to {DAYS_MAX}")),
    }
}

/// The domain: it becomes part of files' names.
fn domain(call: &Call) -> Result<String, crate::call::Failure> {
    let domain = match call.flags.text(DOMAIN_FLAG) {
        "" => DOMAIN,
        domain => domain,
    };
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    if !domain.bytes().all(fits) || domain.starts_with(['.', '-']) || domain.ends_with(['.', '-']) {
        return fail(format!("Invalid -domain value {}: it must be a lower-case DNS name", quote(domain)));
    }
    Ok(domain.to_owned())
}

fn not_there(what: &str, name: &str) -> Result<(), crate::call::Failure> {
    if Path::new(name).exists() { fail(format!("{what} file '{name}' already exists")) } else { Ok(()) }
}

fn read(what: &str, path: &str) -> Result<String, crate::call::Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fail(format!("Error reading {what}: open {path}: no such file or directory"))
        }
        Err(error) => fail(format!("Error reading {what}: open {path}: {error}")),
    }
}

/// The key first: a certificate without its key is of no use.
fn save(pair: &Pair, certificate: &str, key: &str) -> Result<(), crate::call::Failure> {
    for (name, text, mode) in [(key, &pair.key, 0o600), (certificate, &pair.certificate, 0o644)] {
        let file = File::options().write(true).create_new(true).mode(mode).open(name);
        if let Err(error) = file.and_then(|mut file| file.write_all(text.as_bytes())) {
            return fail(format!("Error writing {name}: {error}"));
        }
    }
    Ok(())
}

/// An error with its sources.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
