//! A text from anywhere on the web, such as a job file that is named by its URL.

use std::io::Read;
use std::time::Duration;

use crate::tls::TlsOptions;

/// Redirects that are followed.
const REDIRECTS_MAX: u32 = 5;

/// The text behind a URL (`http` or `https`), of at most `bytes_max` bytes, within `patience`. Nothing that belongs to an
/// agent is sent along: no token, no client certificate. The error is a text for people.
pub fn text(url: &str, bytes_max: u64, patience: Duration) -> Result<String, String> {
    let is_https = url.starts_with("https://");
    // A plain URL may lead to an encrypted one: the authorities are read for both, and missed only when they are needed.
    let tls = TlsOptions::default();
    let tls = tls.load(true).or_else(|error| if is_https { Err(error) } else { tls.load(false) });
    let settings = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(REDIRECTS_MAX)
        .timeout_global(Some(patience))
        .user_agent("drover")
        .tls_config(tls.map_err(|error| error.to_string())?)
        .build();
    let response = ureq::Agent::new_with_config(settings).get(url).call().map_err(|error| error.to_string())?;
    if !response.status().is_success() {
        return Err(format!("bad response code: {}", response.status().as_u16()));
    }
    let mut bytes = Vec::new();
    let read = response.into_body().into_reader().take(bytes_max.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("more than {bytes_max} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "not a text in UTF-8".to_owned())
}
