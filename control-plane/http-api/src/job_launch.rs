//! Launching jobs by hand: a periodic one before its time, a parameterized one.

use base64::DecodeError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use drover_server::launches::{DispatchRequest, Launched};
use serde_json::json;

use crate::body::Fields;
use crate::call::Call;
use crate::problem::Problem;
use crate::reply::Reply;

pub(crate) async fn force(call: Call) -> Result<Reply, Problem> {
    let launched = call.api.server.force_periodic_job(call.job_key()).await.map_err(Problem::of_write)?;
    let Launched { eval_id, index, .. } = launched;
    let body = json!({
        "EvalCreateIndex": if eval_id.is_some() { index } else { 0 },
        "EvalID": eval_id.map(|id| id.to_string()).unwrap_or_default(),
        "Index": index,
    });
    call.written(&body, index)
}

pub(crate) async fn dispatch(mut call: Call) -> Result<Reply, Problem> {
    let fields = call.take_fields().await?;
    if !matches!(fields.text("JobID")?, "") && fields.text("JobID")? != call.param("job_id") {
        return Err(Problem::Invalid("Job ID does not match".to_owned()));
    }
    let request = request(&fields)?;
    launch(call, request).await
}

fn request(fields: &Fields) -> Result<DispatchRequest, Problem> {
    // Line ends are no part of such text.
    let payload: String = fields.text("Payload")?.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let payload_bytes = BASE64.decode(&payload).map_err(|error| {
        let at = match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
            DecodeError::InvalidLength(at) => at,
            DecodeError::InvalidPadding => payload.len(),
        };
        Problem::Invalid(format!("illegal base64 data at input byte {at}"))
    })?;
    let priority = match fields.get("Priority") {
        None => None,
        // What is out of every range is refused by the same text.
        Some(value) => Some(value.as_i64().unwrap_or(i64::MAX)).filter(|priority| *priority != 0),
    };
    Ok(DispatchRequest {
        payload,
        payload_bytes: payload_bytes.len(),
        meta: fields.texts("Meta")?,
        id_prefix: fields.text("IdPrefixTemplate")?.to_owned(),
        priority,
        ..DispatchRequest::default()
    })
}

/// The body is the payload as it is.
pub(crate) async fn dispatch_payload(mut call: Call) -> Result<Reply, Problem> {
    let bytes = call.take_body().await?;
    let request =
        DispatchRequest { payload: BASE64.encode(&bytes), payload_bytes: bytes.len(), ..DispatchRequest::default() };
    launch(call, request).await
}

async fn launch(call: Call, request: DispatchRequest) -> Result<Reply, Problem> {
    let idempotency_token = call.query.text("idempotency_token").to_owned();
    let request = DispatchRequest { idempotency_token, ..request };
    let launched = call.api.server.dispatch_job(call.job_key(), request).await.map_err(Problem::of_write)?;
    let Launched { key, job_create_index, eval_id, index } = launched;
    let body = json!({
        "DispatchedJobID": key.id,
        "EvalCreateIndex": if eval_id.is_some() { index } else { 0 },
        "EvalID": eval_id.map(|id| id.to_string()).unwrap_or_default(),
        "Index": index,
        "JobCreateIndex": job_create_index,
    });
    call.written(&body, index)
}
