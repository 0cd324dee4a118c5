//! The text that lets a machine on another host join: whom to believe, as what, and the secret that pays for it.
//!
//! Its limits (uses, lifetime, pool) are kept by the servers under the hash of the secret and do not stand in the text.

use std::fmt;
use std::str::FromStr;

use crate::anchors::Fingerprint;
use crate::identity::Role;
use crate::region::RegionName;
use crate::secret::Secret;

/// The first part of every token; the digit is the version of the form.
const PREFIX: &str = "drover1";

/// A token's content. Its debug form hides the secret; [`JoinToken::reveal`] gives the text to hand to the joiner.
#[derive(Debug, Clone)]
pub struct JoinToken {
    /// What the joiner may become.
    pub role: Role,
    /// The region that it joins.
    pub region: RegionName,
    /// The region whose servers admit it, where that is another one: the joiner is then the first server of its own.
    pub at: Option<RegionName>,
    /// The root that the region's servers must show.
    pub fingerprint: Fingerprint,
    /// What the joiner sends once the other side has shown that root.
    pub secret: Secret,
}

/// The text is no join token; the text is not repeated, it may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a join token: the form is drover1.<role>.<region>[@<region>].<fingerprint>.<secret>")]
pub struct JoinTokenError;

impl JoinToken {
    /// The token as text, secret included: `drover1.<role>.<region>.<fingerprint>.<secret>`; of a new region
    /// `<region>@<where it is founded>`.
    pub fn reveal(&self) -> String {
        format!("{}.{}", self.open_part(), self.secret.reveal())
    }

    fn open_part(&self) -> String {
        let JoinToken { role, region, at, fingerprint, .. } = self;
        let at = at.as_ref().map(|at| format!("@{at}")).unwrap_or_default();
        format!("{PREFIX}.{role}.{region}{at}.{fingerprint}")
    }
}

impl fmt::Display for JoinToken {
    /// The part that is no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..", self.open_part())
    }
}

impl FromStr for JoinToken {
    type Err = JoinTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.trim().splitn(6, '.').collect();
        let [PREFIX, role, region, fingerprint, secret] = parts[..] else {
            return Err(JoinTokenError);
        };
        let (region, at) = match region.split_once('@') {
            Some((region, at)) => (region, Some(at.parse().map_err(|_| JoinTokenError)?)),
            None => (region, None),
        };
        Ok(JoinToken {
            at,
            role: role.parse().map_err(|_| JoinTokenError)?,
            region: region.parse().map_err(|_| JoinTokenError)?,
            fingerprint: fingerprint.parse().map_err(|_| JoinTokenError)?,
            secret: secret.parse().map_err(|_| JoinTokenError)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_hides_its_secret() {
        let secret = Secret::generate().unwrap();
        let token = JoinToken {
            role: Role::Client,
            region: "west".parse().unwrap(),
            at: None,
            fingerprint: "ab".repeat(32).parse().unwrap(),
            secret: secret.clone(),
        };
        let read: JoinToken = format!("{}\n", token.reveal()).parse().unwrap();
        assert_eq!(read.reveal(), token.reveal());
        let founding = JoinToken { at: Some("east".parse().unwrap()), ..token.clone() };
        let read: JoinToken = founding.reveal().parse().unwrap();
        assert_eq!((read.region.as_str(), read.at.unwrap().as_str()), ("west", "east"));
        for shown in [format!("{token:?}"), token.to_string()] {
            assert!(!shown.contains(&secret.reveal()));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let good = format!("drover1.client.west.{}.{}", "ab".repeat(32), "cd".repeat(32));
        assert!(good.parse::<JoinToken>().is_ok());
        for bad in [
            String::new(),
            "drover1".into(),
            good.replace("drover1", "drover2"),
            good.replace("client", "root"),
            good.replace("west", "West"),
            good.replace("west", "west@"),
            good.replace("west", "west@east@north"),
            format!("{good}.more"),
            good[..good.len() - 1].to_owned(),
        ] {
            assert!(bad.parse::<JoinToken>().is_err(), "{bad}");
        }
    }
}
