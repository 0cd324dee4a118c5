//! What the environment and the general flags say: a flag wins over a variable, drover's variable over Nomad's, any of
//! them over the default. Empty counts as not given.

use std::collections::BTreeMap;

use drover_api_client::{Client, Config, TlsOptions};

use crate::flags::{self, Parsed};
use crate::output::ui::Color;

/// The variables of the process.
#[derive(Clone, Debug, Default)]
pub struct Environment(pub BTreeMap<String, String>);

impl Environment {
    /// The process's own; what is not UTF-8 is left out.
    pub fn system() -> Self {
        let pairs =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self(pairs.collect())
    }

    /// `DROVER_<name>`, else `NOMAD_<name>`; empty when neither is set.
    pub fn ours(&self, name: &str) -> &str {
        let of =
            |prefix: &str| self.0.get(&format!("{prefix}_{name}")).map(String::as_str).filter(|text| !text.is_empty());
        of("DROVER").or_else(|| of("NOMAD")).unwrap_or_default()
    }

    /// Which of the two variables is set: `DROVER_<name>` or `NOMAD_<name>`.
    pub fn name_of(&self, name: &str) -> Option<String> {
        let names = ["DROVER", "NOMAD"].map(|prefix| format!("{prefix}_{name}"));
        names.into_iter().find(|name| self.0.get(name).is_some_and(|text| !text.is_empty()))
    }

    /// When colour is used. `-no-color` counts wherever it stands.
    pub fn color(&self, words: &[String], is_terminal: bool) -> Color {
        let stands =
            |name: &str| words.iter().any(|word| word.strip_prefix("--").or(word.strip_prefix('-')) == Some(name));
        if stands("no-color") || !self.ours("CLI_NO_COLOR").is_empty() {
            return Color { marks: false, lines: false };
        }
        let is_forced = stands("force-color") || !self.ours("CLI_FORCE_COLOR").is_empty();
        let no_lines = self.0.get("NO_COLOR").is_some_and(|text| !text.is_empty());
        Color { marks: is_terminal || is_forced, lines: is_terminal && !no_lines }
    }
}

/// Whom to ask, and as whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The agent's address.
    pub address: String,
    /// Empty is the agent's own.
    pub region: String,
    /// Empty is the default one.
    pub namespace: String,
    /// Empty is none.
    pub token: String,
    /// `user:password` for a proxy; empty is none.
    pub http_auth: String,
    /// For HTTPS.
    pub tls: TlsOptions,
}

impl Settings {
    /// Flags over environment over defaults.
    pub fn new(flags: &Parsed, environment: &Environment) -> Self {
        let pick = |flag: &str, variable: &str| {
            let given = flags.text(flag);
            if given.is_empty() { environment.ours(variable).to_owned() } else { given.to_owned() }
        };
        let address = pick("address", "ADDR");
        Self {
            address: if address.is_empty() { Config::default().address } else { address },
            region: pick("region", "REGION"),
            namespace: pick("namespace", "NAMESPACE"),
            token: pick("token", "TOKEN"),
            http_auth: environment.ours("HTTP_AUTH").to_owned(),
            tls: TlsOptions {
                ca_file: pick("ca-cert", "CACERT").into(),
                ca_dir: pick("ca-path", "CAPATH").into(),
                client_cert: pick("client-cert", "CLIENT_CERT").into(),
                client_key: pick("client-key", "CLIENT_KEY").into(),
                server_name: pick("tls-server-name", "TLS_SERVER_NAME"),
                // The flags can only switch it on.
                skip_verify: flags.is_on("tls-skip-verify")
                    || flags.is_on("insecure")
                    || flags::truth(environment.ours("SKIP_VERIFY")).unwrap_or(false),
            },
        }
    }

    /// A client that asks so.
    pub fn client(&self) -> Result<Client, drover_api_client::SetupError> {
        Client::new(Config {
            address: self.address.clone(),
            region: self.region.clone(),
            namespace: self.namespace.clone(),
            token: self.token.clone(),
            http_auth: self.http_auth.clone(),
            tls: self.tls.clone(),
            ..Config::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::AGENT_FLAGS;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn flag_over_drovers_variable_over_nomads_over_default() {
        let check = |words: &[&str], variables: &[(&str, &str)], expected: &str| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let parsed = flags::parse(&words, &[AGENT_FLAGS]).unwrap();
            assert_eq!(Settings::new(&parsed, &environment(variables)).address, expected);
        };
        check(&[], &[], "http://127.0.0.1:4646");
        check(&[], &[("NOMAD_ADDR", "n")], "n");
        check(&[], &[("NOMAD_ADDR", "n"), ("DROVER_ADDR", "d")], "d");
        check(&[], &[("NOMAD_ADDR", "n"), ("DROVER_ADDR", "")], "n");
        check(&["-address", "f"], &[("DROVER_ADDR", "d")], "f");
        check(&["-address="], &[("DROVER_ADDR", "d")], "d");
        check(&["-address="], &[("NOMAD_ADDR", "")], "http://127.0.0.1:4646");
    }

    #[test]
    fn files_and_names_for_https() {
        let check = |words: &[&str], variables: &[(&str, &str)], expected: TlsOptions| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let parsed = flags::parse(&words, &[AGENT_FLAGS]).unwrap();
            assert_eq!(Settings::new(&parsed, &environment(variables)).tls, expected, "{words:?} {variables:?}");
        };
        let unverified = || TlsOptions { skip_verify: true, ..TlsOptions::default() };
        check(&[], &[], TlsOptions::default());
        check(&["-insecure"], &[], unverified());
        check(&["-tls-skip-verify=false"], &[("NOMAD_SKIP_VERIFY", "1")], unverified());
        check(&[], &[("NOMAD_SKIP_VERIFY", "yes")], TlsOptions::default());
        let variables = [
            ("NOMAD_CACERT", "ca"),
            ("DROVER_CAPATH", "dir"),
            ("NOMAD_CLIENT_CERT", "c"),
            ("DROVER_CLIENT_KEY", "k"),
            ("NOMAD_TLS_SERVER_NAME", "server.global"),
        ];
        let tls = TlsOptions {
            ca_file: "other".into(),
            ca_dir: "dir".into(),
            client_cert: "c".into(),
            client_key: "k".into(),
            server_name: "server.global".to_owned(),
            skip_verify: false,
        };
        check(&["-ca-cert", "other"], &variables, tls);
    }

    #[test]
    fn colour() {
        let check = |words: &[&str], variables: &[(&str, &str)], terminal: bool, marks: bool, lines: bool| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(
                environment(variables).color(&words, terminal),
                Color { marks, lines },
                "{words:?} {variables:?}"
            );
        };
        check(&[], &[], false, false, false);
        check(&[], &[], true, true, true);
        check(&["x", "--", "-no-color"], &[], true, false, false);
        check(&["-force-color"], &[], false, true, false);
        check(&["-force-color", "-no-color"], &[], true, false, false);
        check(&[], &[("NO_COLOR", "1")], true, true, false);
        check(&[], &[("NOMAD_CLI_FORCE_COLOR", "1")], false, true, false);
    }
}
