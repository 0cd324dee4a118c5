//! A region whose certificate has ended: all of its servers were off past its life, and the root's key, which renews it, is not
//! here. Nobody believes what it signs, so the server comes back as a new one does, by a token, but keeps its keys and its log.
//!
//! The first one takes a token for founding the region, made at the server with the root's key: with proof that the region's key is
//! here it gets a later certificate for it. The others take an ordinary one from the first.

use std::time::SystemTime;

use drover_certs::{Authority, AuthorityPem};
use drover_protocol::enrol::HeldRegion;

use crate::clock;
use crate::settings::StartError;

/// The authority if it can sign now, or as one that has ended.
///
/// # Errors
/// It has ended, and there is no token to get a later certificate with.
pub(crate) fn told_apart(
    kept: Option<Authority>,
    now: SystemTime,
    has_token: bool,
) -> Result<(Option<Authority>, Option<Authority>), StartError> {
    match kept {
        Some(authority) if now >= authority.not_after() => {
            let end = clock::date(authority.not_after()).to_rfc3339().unwrap_or_default();
            let region = authority.region().to_string();
            if !has_token {
                return Err(StartError::RegionEnded { region, end });
            }
            tracing::warn!(%region, %end, "the region's certificate has ended, a later one is asked for with the join token");
            Ok((None, Some(authority)))
        }
        kept => Ok((kept, None)),
    }
}

/// What shows that the region's key is here.
pub(crate) fn held(ended: &Authority) -> Result<HeldRegion, String> {
    let proof = ended.prove_key().map_err(|e| e.to_string())?;
    Ok(HeldRegion { certificate: ended.to_pem().intermediate, proof })
}

/// The same authority with a later certificate.
///
/// # Errors
/// It is not for this region's key, below another root, or not later.
pub(crate) fn renewed(ended: &Authority, certificate: String) -> Result<Authority, String> {
    let texts = AuthorityPem { intermediate: certificate, ..ended.to_pem() };
    let later = Authority::from_pem(&texts).map_err(|error| {
        format!("what was given does not go with the keys in this server's data_dir (server/tls), which are of {ended:?}: {error}")
    })?;
    if later.not_after() <= ended.not_after() {
        return Err("the certificate that was given ends no later than the one that has ended".to_owned());
    }
    Ok(later)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use drover_certs::Lifetimes;

    use super::*;

    #[test]
    fn what_has_ended_is_told_by_the_date() {
        let now = SystemTime::now();
        let hour = Duration::from_secs(3600);
        let lifetimes = Lifetimes { intermediate: 2 * hour, ..Lifetimes::default() };
        let made = Authority::create("west".parse().unwrap(), now, &lifetimes).unwrap().without_root_key();
        assert!(matches!(told_apart(Some(made.clone()), now + hour, false), Ok((Some(_), None))));
        assert!(matches!(told_apart(None, now, false), Ok((None, None))));
        assert!(matches!(told_apart(Some(made.clone()), now + 3 * hour, true), Ok((None, Some(_)))));
        let refused = told_apart(Some(made.clone()), now + 3 * hour, false).unwrap_err().to_string();
        assert!(
            refused.contains("drover server join-token create -region west") && !refused.contains('\n'),
            "{refused}"
        );
        // A clock that is behind keeps nobody apart.
        assert!(matches!(told_apart(Some(made), now - 3 * hour, false), Ok((Some(_), None))));
    }

    #[test]
    fn only_a_later_certificate_for_the_same_key_is_taken() {
        let now = SystemTime::now();
        let root = Authority::create("west".parse().unwrap(), now, &Lifetimes::default()).unwrap();
        let short = Lifetimes { intermediate: Duration::from_secs(3600), ..Lifetimes::default() };
        let ended = root.renew(now, &short).unwrap().without_root_key();
        let pem = |authority: Authority| authority.to_pem().intermediate;
        let later = renewed(&ended, pem(root.renew(now, &Lifetimes::default()).unwrap())).unwrap();
        assert!(later.not_after() > ended.not_after() && !later.has_root_key());
        assert!(renewed(&ended, pem(ended.clone())).unwrap_err().contains("no later"));
        let other_key = root.create_region("west".parse().unwrap(), now, &Lifetimes::default()).unwrap();
        assert!(renewed(&ended, pem(other_key)).unwrap_err().contains("does not go with the keys"));
        let other_root = Authority::create("west".parse().unwrap(), now, &Lifetimes::default()).unwrap();
        assert!(renewed(&ended, pem(other_root)).is_err());
    }
}
