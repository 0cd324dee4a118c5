//! What stands in a certificate, for people to read.

use std::net::IpAddr;
use std::time::SystemTime;

use x509_parser::extensions::GeneralName;
use x509_parser::x509::X509Name;

use crate::anchors::certificates_from_pem;
use crate::der;

/// What people want to know of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its number, decimal.
    pub serial: String,
    /// The common name of who has signed it.
    pub issuer: String,
    /// Whose it is: `CN=…,O=…`, the last part of the name first.
    pub subject: String,
    /// Its last second.
    pub not_after: SystemTime,
    /// DNS names.
    pub names: Vec<String>,
    /// IP addresses.
    pub addresses: Vec<IpAddr>,
    /// The domains that an authority may name; empty for all.
    pub permitted: Vec<String>,
    /// It may sign others.
    pub is_authority: bool,
}

/// Why there are no facts.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// Not PEM, or no certificate in it.
    #[error("no certificate found")]
    None,
    /// It cannot be read.
    #[error("the certificate cannot be read")]
    Form,
}

impl Facts {
    /// Of the first certificate in a PEM text.
    pub fn of_pem(text: &str) -> Result<Facts, FactsError> {
        let found = certificates_from_pem(text).ok().and_then(|found| found.into_iter().next());
        let found = found.ok_or(FactsError::None)?;
        let certificate = der::parse(&found).ok_or(FactsError::Form)?;
        let (_, not_after) = der::validity(&certificate).ok_or(FactsError::Form)?;
        let alternative = certificate.subject_alternative_name().map_err(|_| FactsError::Form)?;
        let (mut names, mut addresses) = (Vec::new(), Vec::new());
        for name in alternative.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => names.push(shown(name)),
                GeneralName::IPAddress(bytes) => addresses.extend(ip_address(bytes)),
                _ => {}
            }
        }
        let constraints = certificate.name_constraints().map_err(|_| FactsError::Form)?;
        let permitted = constraints.and_then(|found| found.value.permitted_subtrees.as_ref());
        let permitted = permitted.into_iter().flatten().filter_map(|subtree| match subtree.base {
            GeneralName::DNSName(name) => Some(shown(name)),
            _ => None,
        });
        let issuer = certificate.issuer().iter_common_name().next().and_then(|name| name.as_str().ok());
        Ok(Facts {
            serial: certificate.tbs_certificate.serial.to_string(),
            issuer: issuer.map(shown).unwrap_or_default(),
            subject: subject(certificate.subject()),
            not_after,
            names,
            addresses,
            permitted: permitted.collect(),
            is_authority: certificate.basic_constraints().ok().flatten().is_some_and(|found| found.value.ca),
        })
    }
}

fn subject(name: &X509Name<'_>) -> String {
    let registry = [
        ("2.5.4.3", "CN"),
        ("2.5.4.6", "C"),
        ("2.5.4.7", "L"),
        ("2.5.4.8", "ST"),
        ("2.5.4.9", "STREET"),
        ("2.5.4.10", "O"),
        ("2.5.4.11", "OU"),
        ("2.5.4.17", "POSTALCODE"),
    ];
    let mut parts: Vec<String> = name
        .iter_attributes()
        .map(|part| {
            let oid = part.attr_type().to_id_string();
            let key = registry.iter().find(|(id, _)| *id == oid).map_or(oid.as_str(), |(_, key)| key);
            format!("{key}={}", shown(part.as_str().unwrap_or("?")))
        })
        .collect();
    parts.reverse();
    parts.join(",")
}

/// Fit for a terminal.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}
