//! A short text from a plain HTTP service nearby, such as the one by which a cloud tells a machine what it is.

use std::time::Duration;

use crate::error::PullError;
use crate::http::{self, Method, Request};
use crate::url::Url;
use crate::watch::{Cancelled, Watch};

/// The longest answer, in bytes.
const ANSWER_MAX: usize = 1 << 20;

/// What is asked of it.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Where, with `http://`.
    pub url: &'a str,
    /// As PUT, not as GET.
    pub is_put: bool,
    /// Lines of the head, by their names.
    pub headers: &'a [(&'a str, &'a str)],
    /// How long it may take, connecting included.
    pub within: Duration,
}

/// The status and the text of the answer. Blocks; follows no redirect.
///
/// # Errors
/// There is no answer in time, or one that is no HTTP, or too long.
pub fn ask(question: &Question<'_>) -> Result<(u16, String), PullError> {
    let answer = |what: &str, host: String| PullError::Answer { host, what: what.to_owned() };
    let url = Url::parse(question.url).filter(|url| !url.is_https);
    let url = url.ok_or_else(|| answer("nothing: it is no address of a plain service", question.url.to_owned()))?;
    // What ends a line would begin another one.
    if question.headers.iter().any(|(_, value)| value.contains(char::is_control)) {
        return Err(answer("nothing: a line of the head can't be sent", url.authority()));
    }
    let watch = Watch::new(Cancelled::default(), question.within, question.within);
    let method = if question.is_put { Method::Put } else { Method::Get };
    let request = Request { method, headers: question.headers, ..Request::default() };
    let mut response = http::send(&url, None, &request, &watch)?;
    let whole = response.read_whole(ANSWER_MAX).map_err(|err| http::explain(err, &url, &watch))?;
    let whole = whole.ok_or_else(|| answer("more than it may", url.authority()))?;
    Ok((response.status, String::from_utf8_lossy(&whole).into_owned()))
}
