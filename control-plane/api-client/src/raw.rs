//! A call as it is, for people who know the API: any method, any path, any header; the answer comes as bytes.

use std::io::Read;

use crate::client::Client;
use crate::error::Error;

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct RawCall {
    /// `GET`, `PUT` and so on.
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// Beside those of every call; one named here stands in place of the client's own.
    pub headers: Vec<(String, String)>,
    /// None sends no body.
    pub body: Option<Vec<u8>>,
}

/// What was answered, whatever the status.
pub struct RawAnswer {
    /// As in `HTTP/1.1`.
    pub protocol: String,
    /// The status and its words.
    pub status: String,
    /// In the order they came.
    pub headers: Vec<(String, String)>,
    /// The body as it comes.
    pub body: Box<dyn Read + Send>,
}

impl Client {
    /// Sends it. Only an answer that never came is an error.
    pub fn raw(&self, call: &RawCall) -> Result<RawAnswer, Error> {
        let unanswered =
            |problem: String| Error::Unanswered { method: method_name(&call.method), url: call.url.clone(), problem };
        let mut request = ureq::http::Request::builder().method(call.method.as_str()).uri(&call.url);
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        for (name, value) in self.standing_headers() {
            if !call.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name)) {
                request = request.header(name, value);
            }
        }
        let response = match &call.body {
            Some(body) => {
                let request = request.body(body.clone()).map_err(|error| unanswered(error.to_string()))?;
                self.run_any(request)
            }
            None => {
                let request = request.body(()).map_err(|error| unanswered(error.to_string()))?;
                self.run_any(request)
            }
        };
        let response = response.map_err(|error| unanswered(self.why_unanswered(error)))?;
        let status = response.status();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        Ok(RawAnswer {
            protocol: format!("{:?}", response.version()),
            status: format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default()),
            headers: headers.collect(),
            body: Box::new(response.into_body().into_reader()),
        })
    }
}

/// The method as messages about calls name it.
fn method_name(method: &str) -> &'static str {
    match method {
        "GET" => "Get",
        "PUT" => "Put",
        "POST" => "Post",
        "DELETE" => "Delete",
        "HEAD" => "Head",
        "OPTIONS" => "Options",
        "PATCH" => "Patch",
        _ => "Call",
    }
}
