//! Why a request was not done, and the status it is answered with. The one file that knows status numbers.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};

use crate::reply::Meta;

/// Why a request was not done. The text is what the caller reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The request is wrong.
    Invalid(String),
    /// There is no such thing.
    NotFound(String),
    /// A read found nothing; it carries the headers of a read, so that a caller can wait for the thing to come.
    Missing(String, Meta),
    /// No such path.
    NoRoute(String),
    /// The path has no such method; these it has.
    Method(String),
    /// The caller may not.
    Forbidden(String),
    /// The body is too large.
    TooLarge(String),
    /// The body did not come in time.
    TooSlow(String),
    /// The form asked for is not given here.
    NotEnabled(String),
    /// Agents of another role answer this, not this one.
    OtherRole,
    /// It can't be done as things stand.
    Failed(String),
}

/// No more connections are taken: written before anything was read.
pub const TOO_MANY_CONNECTIONS: &[u8] =
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 20\r\nConnection: close\r\n\r\ntoo many connections";

/// Plain HTTP on a port that takes TLS.
pub const HTTPS_ONLY: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 26\r\nConnection: close\r\n\r\nthis port takes HTTPS only";

impl Problem {
    fn status(&self) -> StatusCode {
        match self {
            Problem::Invalid(_) => StatusCode::BAD_REQUEST,
            Problem::NotFound(_) | Problem::Missing(..) | Problem::NoRoute(_) => StatusCode::NOT_FOUND,
            Problem::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Problem::Forbidden(_) => StatusCode::FORBIDDEN,
            Problem::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Problem::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Problem::NotEnabled(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Problem::OtherRole => StatusCode::NOT_IMPLEMENTED,
            Problem::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What the caller reads.
    pub fn text(&self) -> &str {
        match self {
            Problem::Method(_) | Problem::OtherRole => "Invalid method",
            Problem::Invalid(text)
            | Problem::NotFound(text)
            | Problem::Missing(text, _)
            | Problem::NoRoute(text)
            | Problem::Forbidden(text)
            | Problem::TooLarge(text)
            | Problem::TooSlow(text)
            | Problem::NotEnabled(text)
            | Problem::Failed(text) => text,
        }
    }

    /// The same, when what was not found was to be written: the API answers that as a failure.
    pub fn of_write(error: drover_server::Error) -> Self {
        match error {
            drover_server::Error::NotFound(text) => Problem::Failed(text),
            other => other.into(),
        }
    }

    /// A job that is not taken: the request is wrong, or what it asks for can't be.
    pub fn of_refusal(refusal: drover_jobspec::Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            drover_jobspec::Refusal::Request(_) => Problem::Invalid(text),
            drover_jobspec::Refusal::Preparation(_) | drover_jobspec::Refusal::Problems(_) => Problem::Failed(text),
        }
    }

    /// The answer.
    pub fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.text().to_owned()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        match &self {
            Problem::Missing(_, meta) => meta.put(headers),
            Problem::Method(allow) => {
                if let Ok(allow) = HeaderValue::from_str(allow) {
                    headers.insert(header::ALLOW, allow);
                }
            }
            Problem::Invalid(_)
            | Problem::NotFound(_)
            | Problem::NoRoute(_)
            | Problem::Forbidden(_)
            | Problem::TooLarge(_)
            | Problem::TooSlow(_)
            | Problem::NotEnabled(_)
            | Problem::OtherRole
            | Problem::Failed(_) => {}
        }
        response
    }
}

impl From<drover_server::Error> for Problem {
    fn from(error: drover_server::Error) -> Self {
        use drover_server::Error;
        let text = error.to_string();
        match error {
            Error::NotFound(_) => Problem::NotFound(text),
            Error::Invalid(_) => Problem::Invalid(text),
            Error::Forbidden(_) => Problem::Forbidden(text),
            Error::Conflict(_) | Error::NoLeader | Error::Unavailable(_) => Problem::Failed(text),
            Error::Internal { private, .. } => {
                tracing::error!(error = %private, "request failed");
                Problem::Failed(text)
            }
        }
    }
}

/// An answer without a body to a question about a path (OPTIONS).
pub fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// An answer of a health question: the body says which half is not well.
pub fn unwell(body: Response<Body>) -> Response<Body> {
    let mut response = body;
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

/// An answer about servers that are not all well.
pub fn servers_unwell(body: Response<Body>) -> Response<Body> {
    let mut response = body;
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    response
}

/// An answer after which the connection speaks another language.
pub fn switching(reply: &mut Response<Body>) {
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
}

/// Done, and nothing to say.
pub fn done() -> Response<Body> {
    Response::new(Body::empty())
}

/// Gives an answer that another agent made its status.
pub fn set_status(reply: &mut Response<Body>, status: u16) {
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_server_have_their_status() {
        let check = |error: drover_server::Error, status: u16| {
            assert_eq!(Problem::from(error.clone()).into_response().status().as_u16(), status, "{error:?}");
        };
        check(drover_server::Error::NotFound("alloc not found".into()), 404);
        check(drover_server::Error::Invalid("x".into()), 400);
        check(drover_server::Error::Conflict("x".into()), 500);
        check(drover_server::Error::Forbidden("x".into()), 403);
        check(drover_server::Error::NoLeader, 500);
        check(drover_server::Error::Unavailable("x".into()), 500);
        check(drover_server::Error::Internal { public: "x".into(), private: "y".into() }, 500);
        let write = Problem::of_write(drover_server::Error::NotFound("node not found".into()));
        assert_eq!(write, Problem::Failed("node not found".into()));
    }
}
