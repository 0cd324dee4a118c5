//! Who is at the other end: the one place where a finished handshake becomes a [`Peer`] or a [`Candidate`], or is closed.
//!
//! The handshake has proved that the chain, if one was shown, ends at our roots and that the other side holds its key. It admits
//! expired certificates and none at all on every protocol. What that means for the protocol that was chosen is decided here.

use std::time::{Duration, SystemTime};

use drover_certs::presented::{read_end, read_identity, read_public_key};
use drover_certs::{Holder, Identity, PublicKey, RegionName, Role};
use quinn::crypto::rustls::HandshakeData;
use rustls::pki_types::CertificateDer;

use crate::close::CloseCode;
use crate::connection::Connection;
use crate::protocol::Protocol;

/// A machine whose identity has been proved and may speak the protocol it chose.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Who it is.
    pub identity: Identity,
    /// What was agreed to speak.
    pub protocol: Protocol,
    /// The last second of its certificate. The connection ends with it, so whoever needs one dials again before.
    pub not_after: SystemTime,
    /// The way to it.
    pub connection: Connection,
}

/// Somebody who wants a certificate and may have none yet. Its connection ends after a minute.
#[derive(Debug)]
pub struct Candidate {
    /// The certificate it has shown, valid or expired since at most the endpoint's `renew_max`.
    pub presented: Option<Presented>,
    /// The way to it.
    pub connection: Connection,
}

/// A certificate that a candidate has shown, and whose key it holds.
#[derive(Debug, Clone)]
pub struct Presented {
    /// Whose it is.
    pub identity: Identity,
    /// The certified key: a renewal is asked for with the same one.
    pub public_key: PublicKey,
    /// Its last second, which may have passed.
    pub not_after: SystemTime,
}

/// What an endpoint has accepted.
#[derive(Debug)]
pub enum Accepted {
    /// A proved peer, on any protocol but enrolment.
    Peer(Peer),
    /// A candidate, on the enrolment protocol.
    Candidate(Candidate),
}

/// A server that was dialled for enrolment: it has proved that it is a server of the region under the wanted root.
#[derive(Debug)]
pub struct Enrolment {
    /// The server.
    pub server: Identity,
    /// The root with the wanted fingerprint, in DER, to be kept as an anchor.
    pub root: CertificateDer<'static>,
    /// The way to it.
    pub connection: Connection,
}

/// Why somebody may not stay: what the connection is closed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: CloseCode,
    pub(crate) reason: String,
}

impl Refusal {
    pub(crate) fn new(code: CloseCode, reason: impl Into<String>) -> Refusal {
        Refusal { code, reason: reason.into() }
    }
}

/// What the handshake has shown about the other side.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) protocol: Option<Protocol>,
    pub(crate) certificate: Option<Certificate>,
}

/// What counts of a certificate that the other side has shown.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) holder: Holder,
    /// None where the key is of another kind than drover issues for.
    public_key: Option<PublicKey>,
    pub(crate) not_after: SystemTime,
}

/// Which side is asking, and what it wants of the other.
pub(crate) enum Wanted<'a> {
    /// This side listens, for a server of `region`.
    Caller { region: &'a RegionName, renew_max: Duration },
    /// This side dialled a server of `region`, or of any.
    Server { region: Option<&'a RegionName> },
}

/// Who the other side is. For a peer there is always a certificate that counts now; for a candidate there may be none.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) protocol: Protocol,
    pub(crate) certificate: Option<Certificate>,
}

impl Shown {
    /// Reads what the TLS session knows. With certificates of an own authority (`is_own`) a role will do; else there is a node.
    pub(crate) fn of(connection: &quinn::Connection, is_own: bool) -> Result<Shown, Refusal> {
        let handshake = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
        let name = handshake.and_then(|data| data.protocol);
        // Only the first certificate is the other side's own; strangers' may follow.
        let own = chain_of(connection).and_then(|chain| chain.into_iter().next());
        let certificate = own.map(|own| Certificate::of(&own, is_own)).transpose()?;
        Ok(Shown { protocol: name.and_then(|name| Protocol::from_alpn(&name)), certificate })
    }
}

impl Certificate {
    fn of(der: &[u8], is_own: bool) -> Result<Certificate, Refusal> {
        let refused = |reason: String| Refusal::new(CloseCode::CERTIFICATE_REFUSED, reason);
        let holder = if is_own { Holder::of_own(der) } else { read_identity(der).map(Holder::from) };
        let holder = holder.map_err(|error| refused(format!("cannot tell whose certificate it is: {error}")))?;
        let public_key = read_public_key(der);
        if !is_own && let Err(error) = &public_key {
            return Err(refused(format!("cannot tell whose certificate it is: {error}")));
        }
        let not_after = read_end(der).ok_or_else(|| refused("the certificate's dates cannot be read".to_owned()))?;
        Ok(Certificate { holder, public_key: public_key.ok(), not_after })
    }

    /// What counts of it for enrolment; nothing where it names no node.
    pub(crate) fn as_presented(&self) -> Option<Presented> {
        let Certificate { holder: Holder { region, role, node }, public_key, not_after } = self.clone();
        let identity = Identity { region, role, node: node? };
        Some(Presented { identity, public_key: public_key?, not_after })
    }
}

/// The one decision: who is it, and may it stay?
pub(crate) fn judge(shown: Shown, wanted: &Wanted<'_>, now: SystemTime) -> Result<Judged, Refusal> {
    let Shown { protocol, certificate } = shown;
    let protocol = protocol.ok_or_else(|| Refusal::new(CloseCode::WRONG_ROLE, "no known protocol was chosen"))?;
    let (region, renew_max) = match wanted {
        Wanted::Caller { region, renew_max } => (*region, *renew_max),
        Wanted::Server { region } => {
            let shown =
                certificate.ok_or_else(|| Refusal::new(CloseCode::NO_CERTIFICATE, "no certificate was shown"))?;
            is_server_of(&shown.holder, *region)?;
            check_end(&shown, now, Duration::ZERO)?;
            return Ok(Judged { protocol, certificate: Some(shown) });
        }
    };
    let Some(mut shown) = certificate else {
        if protocol == Protocol::Enrol {
            return Ok(Judged { protocol, certificate: None });
        }
        return Err(Refusal::new(CloseCode::NO_CERTIFICATE, "a certificate is needed here: enrol first"));
    };
    check_end(&shown, now, if protocol == Protocol::Enrol { renew_max } else { Duration::ZERO })?;
    shown.holder.role = protocol.admits(&shown.holder, region)?;
    Ok(Judged { protocol, certificate: Some(shown) })
}

fn is_server_of(holder: &Holder, region: Option<&RegionName>) -> Result<(), Refusal> {
    if holder.role != Role::Server {
        return Err(Refusal::new(CloseCode::WRONG_ROLE, format!("{holder} is no server")));
    }
    match region {
        Some(region) if holder.region != *region => {
            Err(Refusal::new(CloseCode::WRONG_REGION, format!("{holder} is not of region {region}")))
        }
        _ => Ok(()),
    }
}

fn check_end(shown: &Certificate, now: SystemTime, grace: Duration) -> Result<(), Refusal> {
    match now.duration_since(shown.not_after) {
        Ok(ago) if ago > grace => {
            let reason = format!("the certificate of {} ended {} s ago", shown.holder, ago.as_secs());
            Err(Refusal::new(CloseCode::CERTIFICATE_ENDED, reason))
        }
        _ => Ok(()),
    }
}

/// The certificates that the other side has shown, its own first.
pub(crate) fn chain_of(connection: &quinn::Connection) -> Option<Vec<CertificateDer<'static>>> {
    Some(*connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?)
}
