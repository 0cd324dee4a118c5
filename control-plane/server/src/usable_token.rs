//! The join token that a server was given: whether it is one for it.

use drover_certs::{JoinToken, RegionName, Role};

use crate::settings::{Settings, StartError};

/// The token to use. A server that begins its region alone needs none, unless the token is for founding that region below another's
/// root; one with certificates of its own never does.
pub(crate) fn usable_token(settings: &Settings, region: &RegionName) -> Result<Option<JoinToken>, StartError> {
    let Some(text) = &settings.join_token else { return Ok(None) };
    if settings.own_tls.is_some() {
        tracing::warn!("the join token is not used: tls {{ rpc = true }} names certificates of your own");
        return Ok(None);
    }
    let forms_alone = settings.bootstrap_expect == 1;
    let refused = |text: String| Err(StartError::JoinToken(text.into()));
    let token: JoinToken = match text.parse() {
        Ok(token) => token,
        Err(_) if forms_alone => return Ok(None),
        Err(error) => return Err(StartError::JoinToken(Box::new(error))),
    };
    let founds = token.at.is_some();
    if forms_alone && !founds {
        return Ok(None);
    }
    if token.role != Role::Server {
        return refused(format!("it is for a {}, this is a server", token.role));
    }
    if token.region != *region {
        let (theirs, help) = (&token.region, "drover server join-token create");
        let help = if founds { format!("{help} -region {region}") } else { help.to_owned() };
        return refused(format!(
            "it is for region {theirs}, this server is of region {region}: make one with `{help}`"
        ));
    }
    Ok(Some(token))
}
