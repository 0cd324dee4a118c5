//! The client: one base address, the defaults of every call, and the two ways to call (read, write).

use std::io::{self, Read};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::unversioned::transport::DefaultConnector;

use crate::address::{Address, At};
use crate::error::{Error, SetupError};
use crate::query::{QueryOptions, escape};
use crate::shape::typed;
use crate::tls::TlsOptions;
use crate::unix::ToSocket;

/// No answer is read beyond this; an agent that sends more is not an agent.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// No error text is read beyond this.
const ERROR_BYTES_MAX: u64 = 1 << 20;

/// How to reach an agent and what every call carries.
#[derive(Clone, Debug)]
pub struct Config {
    /// `http://host:port`, `https://host:port` or `unix:///path`.
    pub address: String,
    /// The region asked for; empty is the agent's own.
    pub region: String,
    /// The namespace asked for; empty is `default`.
    pub namespace: String,
    /// The secret sent along; empty sends none.
    pub token: String,
    /// `user:password` for a proxy before the agent that asks for one (HTTP basic authentication); empty sends none.
    pub http_auth: String,
    /// How long an answer may take to begin, beyond the time that a blocking call waits.
    pub timeout: Duration,
    /// For HTTPS.
    pub tls: TlsOptions,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: "http://127.0.0.1:4646".to_owned(),
            region: String::new(),
            namespace: String::new(),
            token: String::new(),
            http_auth: String::new(),
            timeout: Duration::from_secs(60),
            tls: TlsOptions::default(),
        }
    }
}

/// What an answer says beside its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The state's index of what was asked for, or of the write.
    pub index: u64,
    /// The answering server knew a leader.
    pub known_leader: bool,
    /// How long ago the answering server had heard of the leader.
    pub last_contact: Duration,
    /// Begins the next page; empty when there is none.
    pub next_token: String,
}

/// An answer: typed, as it came, and what was said beside it.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    /// The body.
    pub value: T,
    /// The body as it came.
    pub raw: Value,
    /// The headers.
    pub meta: Meta,
}

/// A blocking client. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    agent: ureq::Agent,
    pub(crate) address: Address,
    pub(crate) config: Config,
}

#[derive(Clone, Copy)]
enum Method {
    Get,
    Put,
    Post,
    Delete,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Method::Get => "Get",
            Method::Put => "Put",
            Method::Post => "Post",
            Method::Delete => "Delete",
        }
    }
}

impl Client {
    /// Checks the address and the files for HTTPS; connects only when something is asked.
    pub fn new(config: Config) -> Result<Self, SetupError> {
        let address = Address::parse(&config.address)?;
        let settings = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_connect(Some(config.timeout))
            .user_agent("drover")
            .tls_config(config.tls.load(address.is_https)?)
            .build();
        let at = At::new(&address.base)?;
        let agent = match &address.socket {
            Some(path) => ureq::Agent::with_parts(settings, ToSocket(path.clone()), at),
            None => ureq::Agent::with_parts(settings, DefaultConnector::default(), at),
        };
        Ok(Self { agent, address, config })
    }

    /// The address, without a slash at the end.
    pub fn base(&self) -> &str {
        &self.address.base
    }

    /// What every call carries.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The same agent with another region and namespace; empty text keeps the present one.
    pub fn scoped(&self, region: &str, namespace: &str) -> Self {
        let mut scoped = self.clone();
        for (slot, text) in [(&mut scoped.config.region, region), (&mut scoped.config.namespace, namespace)] {
            if !text.is_empty() {
                text.clone_into(slot);
            }
        }
        scoped
    }

    /// The same agent, asked for itself and not for a region.
    pub fn of_no_region(&self) -> Self {
        let mut own = self.clone();
        own.config.region.clear();
        own
    }

    /// GET: path segments are taken as they are; escape what comes from outside.
    pub fn read<T: DeserializeOwned>(&self, path: &str, options: &QueryOptions) -> Result<Answer<T>, Error> {
        self.ask(Method::Get, path, None, options)
    }

    /// PUT with a JSON body.
    pub fn write<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        options: &QueryOptions,
    ) -> Result<Answer<T>, Error> {
        let body = self.encoded(Method::Put, path, body)?;
        self.ask(Method::Put, path, Some(body), options)
    }

    /// POST with a JSON body.
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        options: &QueryOptions,
    ) -> Result<Answer<T>, Error> {
        let body = self.encoded(Method::Post, path, body)?;
        self.ask(Method::Post, path, Some(body), options)
    }

    /// DELETE.
    pub fn delete<T: DeserializeOwned>(&self, path: &str, options: &QueryOptions) -> Result<Answer<T>, Error> {
        self.ask(Method::Delete, path, None, options)
    }

    /// GET of bytes that come as they are made; the reader ends when the agent ends the answer.
    pub fn stream(&self, path: &str, options: &QueryOptions) -> Result<Box<dyn Read + Send>, Error> {
        let url = self.url(path, options);
        let response = self.send(Method::Get, &url, None, options)?;
        Ok(Box::new(response.into_body().into_reader()))
    }

    fn encoded(&self, method: Method, path: &str, body: &impl Serialize) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(body).map_err(|error| Error::Unanswered {
            method: method.name(),
            url: path.to_owned(),
            problem: error.to_string(),
        })
    }

    pub(crate) fn url(&self, path: &str, options: &QueryOptions) -> String {
        let mut url = format!("{}{path}", self.address.base);
        let pairs = options.pairs(&self.config.region, &self.config.namespace);
        for (position, (name, value)) in pairs.iter().enumerate() {
            url.push(if position == 0 { '?' } else { '&' });
            url.push_str(&format!("{name}={}", escape(value)));
        }
        url
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        options: &QueryOptions,
    ) -> Result<Answer<T>, Error> {
        let url = self.url(path, options);
        let response = self.send(method, &url, body, options)?;
        let meta = meta_of(response.headers());
        let unreadable = |problem: String| Error::Unreadable { method: method.name(), url: url.clone(), problem };
        let mut bytes = Vec::new();
        read_at_most(response, ANSWER_BYTES_MAX, &mut bytes).map_err(|error| unreadable(error.to_string()))?;
        let raw: Value = if bytes.iter().all(u8::is_ascii_whitespace) {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?
        };
        let value = typed(&raw).map_err(|error| unreadable(error.to_string()))?;
        Ok(Answer { value, raw, meta })
    }

    fn send(
        &self,
        method: Method,
        url: &str,
        body: Option<Vec<u8>>,
        options: &QueryOptions,
    ) -> Result<ureq::http::Response<ureq::Body>, Error> {
        // The server adds up to a sixteenth of the wait.
        let patience = self.config.timeout + options.wait.map_or(Duration::ZERO, |wait| wait + wait / 16);
        let request = self.builder(method, url);
        let sent = match body {
            Some(body) => self.sent(request.header("Content-Type", "application/json").body(body), patience),
            None => self.sent(request.body(()), patience),
        };
        self.answered(method, url, sent)
    }

    /// GET of an answer that takes longer than others to come, and is long.
    pub(crate) fn get_slow(&self, url: &str, patience: Duration) -> Result<ureq::http::Response<ureq::Body>, Error> {
        let sent = self.sent(self.builder(Method::Get, url).body(()), patience);
        self.answered(Method::Get, url, sent)
    }

    /// PUT of `length` bytes, read as they are sent. An agent that refuses says so before they are.
    pub(crate) fn put_stream(
        &self,
        url: &str,
        mut bytes: impl Read,
        length: u64,
        patience: Duration,
    ) -> Result<ureq::http::Response<ureq::Body>, Error> {
        let request = self
            .builder(Method::Put, url)
            .header("Content-Type", "application/octet-stream")
            .header("Content-Length", length)
            .header("Expect", "100-continue");
        let sent = self.sent(request.body(ureq::SendBody::from_reader(&mut bytes)), patience);
        self.answered(Method::Put, url, sent)
    }

    fn builder(&self, method: Method, url: &str) -> ureq::http::request::Builder {
        // The name that the certificate must have is the one that is asked; the resolver knows where that is.
        let named = match self.config.tls.server_name.as_str() {
            name if !name.is_empty() && self.address.is_https => {
                url.replacen(&self.address.base, &self.address.base_of(name), 1)
            }
            _ => url.to_owned(),
        };
        let mut request = ureq::http::Request::builder().uri(named).method(match method {
            Method::Get => "GET",
            Method::Put => "PUT",
            Method::Post => "POST",
            Method::Delete => "DELETE",
        });
        for (name, value) in self.standing_headers() {
            request = request.header(name, value);
        }
        request
    }

    fn sent(
        &self,
        request: Result<ureq::http::Request<impl ureq::AsSendBody>, ureq::http::Error>,
        patience: Duration,
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let request = self.agent.configure_request(request?).timeout_recv_response(Some(patience)).build();
        self.agent.run(request)
    }

    fn answered(
        &self,
        method: Method,
        url: &str,
        sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<ureq::http::Response<ureq::Body>, Error> {
        let unanswered = |problem: String| Error::Unanswered { method: method.name(), url: url.to_owned(), problem };
        let response = sent.map_err(|error| unanswered(self.why_unanswered(error)))?;
        let status = response.status().as_u16();
        if response.status().is_success() {
            return Ok(response);
        }
        let mut bytes = Vec::new();
        // A cut-off error text is still the best there is to show.
        let _ = read_at_most(response, ERROR_BYTES_MAX, &mut bytes);
        Err(Error::Refused { status, body: String::from_utf8_lossy(&bytes).trim().to_owned() })
    }

    /// What every call carries beside its parameters.
    pub(crate) fn standing_headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        if !self.config.token.is_empty() {
            headers.push(("X-Nomad-Token", self.config.token.clone()));
        }
        if !self.config.http_auth.is_empty() {
            headers.push(("Authorization", format!("Basic {}", STANDARD.encode(&self.config.http_auth))));
        }
        headers
    }

    /// Sends what was made elsewhere, of any method.
    pub(crate) fn run_any(
        &self,
        request: ureq::http::Request<impl ureq::AsSendBody>,
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let request = self.agent.configure_request(request).allow_non_standard_methods(true);
        self.agent.run(request.timeout_recv_response(Some(self.config.timeout)).build())
    }

    pub(crate) fn why_unanswered(&self, error: ureq::Error) -> String {
        if let (Some(socket), ureq::Error::Io(error)) = (&self.address.socket, &error) {
            let reason = match error.kind() {
                io::ErrorKind::NotFound => "no such file or directory",
                io::ErrorKind::ConnectionRefused => "connection refused",
                io::ErrorKind::PermissionDenied => "permission denied",
                io::ErrorKind::UnexpectedEof => return "EOF".to_owned(),
                _ => return error.to_string(),
            };
            return format!("dial unix {}: connect: {reason}", socket.display());
        }
        let address = &self.address.host_port;
        match error {
            ureq::Error::Io(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => format!("dial tcp {address}: connect: connection refused"),
                io::ErrorKind::HostUnreachable => format!("dial tcp {address}: connect: no route to host"),
                io::ErrorKind::NetworkUnreachable => format!("dial tcp {address}: connect: network is unreachable"),
                io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
                _ if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => format!("tls: {error}"),
                _ => error.to_string(),
            },
            ureq::Error::ConnectionFailed => format!("dial tcp {address}: connect: connection refused"),
            ureq::Error::HostNotFound => {
                let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
                format!("dial tcp: lookup {host}: no such host")
            }
            ureq::Error::Timeout(ureq::Timeout::Connect) => format!("dial tcp {address}: i/o timeout"),
            other => other.to_string(),
        }
    }
}

/// Reads the body; one that is longer than the limit is an error, after as much as fits was kept.
fn read_at_most(response: ureq::http::Response<ureq::Body>, limit: u64, into: &mut Vec<u8>) -> io::Result<()> {
    let read = response.into_body().into_reader().take(limit + 1).read_to_end(into)?;
    if read as u64 > limit {
        into.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        return Err(io::Error::other(format!("more than {limit} bytes")));
    }
    Ok(())
}

fn meta_of(headers: &ureq::http::HeaderMap) -> Meta {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Meta {
        index: text("x-nomad-index").parse().unwrap_or(0),
        known_leader: text("x-nomad-knownleader") == "true",
        last_contact: Duration::from_millis(text("x-nomad-lastcontact").parse().unwrap_or(0)),
        next_token: text("x-nomad-nexttoken").to_owned(),
    }
}

#[cfg(test)]
mod tests;
