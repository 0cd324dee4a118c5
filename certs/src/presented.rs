//! Reads the identity out of a certificate that somebody presented.
//!
//! The TLS library has checked the chain, the dates, the purpose and the region's name constraints, but constraints bind only names
//! that are present. So this reader refuses every certificate that says less, more or other than one role name and one node: no name
//! of another kind, no wildcard, no second role or region. It does not check signatures.

use std::time::SystemTime;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::der;
use crate::identity::{Identity, Role};
use crate::key::PublicKey;
use crate::region::RegionName;

/// Why a presented certificate names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PresentedError {
    /// The bytes are no X.509 certificate, or have something behind it.
    #[error("not a certificate")]
    NotACertificate,
    /// The certificate may sign others; such a one speaks for no machine.
    #[error("an authority's certificate was presented as a machine's")]
    Authority,
    /// There is no DNS name that states a role.
    #[error("the certificate has no role name, such as server.<region>.drover or client.<region>.nomad")]
    NoRoleName,
    /// A name that is not `{server|client}.<region>.{drover|nomad}`: wildcards, deeper names and upper case included.
    #[error("the certificate carries {0:?}, which is no role name")]
    NotARoleName(String),
    /// Role names of two roles or two regions.
    #[error("the certificate has names of more than one role or region")]
    Mixed,
    /// A name of a kind that has no place here: mail, IP address, directory and so on.
    #[error("the certificate carries a name of another kind ({0})")]
    OtherKind(&'static str),
    /// There is no URI that names the node.
    #[error("the certificate names no node")]
    NoNode,
    /// There is more than one URI.
    #[error("the certificate names more than one node")]
    ManyNodes,
    /// The URI is not of the form `drover://<region>/<role>/<node>`.
    #[error("the certificate's node name {0:?} has another form")]
    NodeForm(String),
    /// The URI states another role or region than the DNS names.
    #[error("the certificate's node name contradicts its role name")]
    Contradiction,
    /// The key is of another kind than drover issues for.
    #[error("the certificate's key is not a P-256 key")]
    Key,
}

/// The identity that `leaf_der`, the first certificate of a presented chain, states.
pub fn read_identity(leaf_der: &[u8]) -> Result<Identity, PresentedError> {
    identity_of(&der::parse(leaf_der).ok_or(PresentedError::NotACertificate)?)
}

/// The public key in `leaf_der`: a renewal is asked for with the key that the old certificate shows.
pub fn read_public_key(leaf_der: &[u8]) -> Result<PublicKey, PresentedError> {
    let certificate = der::parse(leaf_der).ok_or(PresentedError::NotACertificate)?;
    PublicKey::of(&certificate).ok_or(PresentedError::Key)
}

/// The last second at which `leaf_der` counts; `None` where that cannot be read.
pub fn read_end(leaf_der: &[u8]) -> Option<SystemTime> {
    der::parse(leaf_der).as_ref().and_then(der::validity).map(|(_, not_after)| not_after)
}

/// The first second at which `certificate_der` counts, a machine's or an authority's; `None` where that cannot be read.
pub fn read_begin(certificate_der: &[u8]) -> Option<SystemTime> {
    der::parse(certificate_der).as_ref().and_then(der::validity).map(|(not_before, _)| not_before)
}

/// Role and region of a certificate that people made. Names that state no role are for other uses and are passed over; a name of
/// each role is the server's, who may do what a client may.
pub(crate) fn role_names_of(certificate: &X509Certificate<'_>) -> Result<(Role, RegionName), PresentedError> {
    if is_authority(certificate)? {
        return Err(PresentedError::Authority);
    }
    let names = certificate.subject_alternative_name().map_err(|_| PresentedError::NotACertificate)?;
    let mut found: Option<(Role, RegionName)> = None;
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        let GeneralName::DNSName(text) = name else { continue };
        let Some((role, region)) = parse_role_name(&text.to_ascii_lowercase()) else { continue };
        found = match found {
            Some((_, other)) if other != region => return Err(PresentedError::Mixed),
            Some((Role::Server, region)) => Some((Role::Server, region)),
            _ => Some((role, region)),
        };
    }
    found.ok_or(PresentedError::NoRoleName)
}

pub(crate) fn identity_of(certificate: &X509Certificate<'_>) -> Result<Identity, PresentedError> {
    if is_authority(certificate)? {
        return Err(PresentedError::Authority);
    }
    let names = certificate.subject_alternative_name().map_err(|_| PresentedError::NotACertificate)?;
    let mut role_name: Option<(Role, RegionName)> = None;
    let mut node: Option<Identity> = None;
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::DNSName(text) => {
                let found = parse_role_name(text).ok_or_else(|| PresentedError::NotARoleName((*text).to_owned()))?;
                if role_name.as_ref().is_some_and(|first| *first != found) {
                    return Err(PresentedError::Mixed);
                }
                role_name = Some(found);
            }
            GeneralName::URI(text) => {
                let found = Identity::from_uri(text).ok_or_else(|| PresentedError::NodeForm((*text).to_owned()))?;
                if node.replace(found).is_some() {
                    return Err(PresentedError::ManyNodes);
                }
            }
            GeneralName::RFC822Name(_) => return Err(PresentedError::OtherKind("mail")),
            GeneralName::IPAddress(_) => return Err(PresentedError::OtherKind("IP address")),
            GeneralName::DirectoryName(_) => return Err(PresentedError::OtherKind("directory")),
            GeneralName::RegisteredID(_) => return Err(PresentedError::OtherKind("registered id")),
            GeneralName::OtherName(..) => return Err(PresentedError::OtherKind("other name")),
            GeneralName::X400Address(_) => return Err(PresentedError::OtherKind("X.400")),
            GeneralName::EDIPartyName(_) => return Err(PresentedError::OtherKind("EDI party")),
            GeneralName::Invalid(..) => return Err(PresentedError::OtherKind("unreadable")),
        }
    }
    let (role, region) = role_name.ok_or(PresentedError::NoRoleName)?;
    let node = node.ok_or(PresentedError::NoNode)?;
    if node.role != role || node.region != region {
        return Err(PresentedError::Contradiction);
    }
    Ok(node)
}

fn is_authority(certificate: &X509Certificate<'_>) -> Result<bool, PresentedError> {
    let constraints = certificate.basic_constraints().map_err(|_| PresentedError::NotACertificate)?;
    Ok(constraints.is_some_and(|constraints| constraints.value.ca))
}

fn parse_role_name(name: &str) -> Option<(Role, RegionName)> {
    let mut labels = name.split('.');
    let (role, region, top) = (labels.next()?, labels.next()?, labels.next()?);
    if labels.next().is_some() || !matches!(top, "drover" | "nomad") {
        return None;
    }
    Some((role.parse().ok()?, RegionName::new(region).ok()?))
}

#[cfg(test)]
mod tests;
