//! An authority that people make and keep themselves: what `drover tls ca create` and `drover tls cert create` write.
//!
//! Its certificates are files for people's hands: they live for years, are not renewed, and serve HTTPS and RPC alike.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyUsagePurpose, NameConstraints, SanType,
};
use rustls::pki_types::CertificateDer;

use crate::anchors::{Anchors, AnchorsError, certificates_from_pem, certificates_to_pem};
use crate::authority::{AuthorityError, dns, params};
use crate::der;
use crate::key::{KeyError, KeyPair, PublicKey};

/// What a new authority is called and how long it lives.
#[derive(Debug, Clone, Default)]
pub struct OwnAuthorityOrder {
    /// Its common name; its serial number is added where none is given.
    pub common_name: Option<String>,
    /// Other parts of its name; empty ones are left out.
    pub subject: Subject,
    /// How long it lives.
    pub lifetime: Duration,
    /// The domains below which it may name machines; empty for all.
    pub domains: Vec<String>,
}

/// Parts of a name beside the common name.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the fields are named as certificates name them")]
pub struct Subject {
    pub country: String,
    pub province: String,
    pub locality: String,
    pub street_address: String,
    pub postal_code: String,
    pub organization: String,
    pub organizational_unit: String,
}

/// What a certificate is to name, and how long it lives.
#[derive(Debug, Clone, Default)]
pub struct OwnCertificateOrder {
    /// Its common name.
    pub common_name: String,
    /// DNS names.
    pub names: Vec<String>,
    /// IP addresses.
    pub addresses: Vec<IpAddr>,
    /// How long it lives; never longer than the authority.
    pub lifetime: Duration,
}

/// An authority of one's own, with its key.
#[derive(Clone)]
pub struct OwnAuthority {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

/// A certificate and its key as PEM texts. The key's file is for its owner only (0600).
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// Why an own authority cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum OwnAuthorityError {
    /// The certificate's text is not PEM.
    #[error("cannot read the PEM text")]
    Pem(#[source] pem::PemError),
    /// The text has no certificate, or several.
    #[error("exactly one certificate of an authority expected")]
    Count,
    /// The certificate is no authority's.
    #[error("cannot use the authority's certificate")]
    NotAnAuthority(#[from] AnchorsError),
    /// The key cannot be used.
    #[error("cannot use the authority's key")]
    Key(#[from] KeyError),
    /// The key belongs to another certificate.
    #[error("the authority's key belongs to another certificate")]
    KeyMismatch,
    /// The certificate cannot be signed.
    #[error(transparent)]
    Sign(#[from] AuthorityError),
}

impl OwnAuthority {
    /// A new authority.
    pub fn create(order: &OwnAuthorityOrder, now: SystemTime) -> Result<OwnAuthority, OwnAuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = params(now, order.lifetime, None)?;
        let serial = params.serial_number.as_ref().map(decimal).unwrap_or_default();
        let common_name = order.common_name.clone().unwrap_or_else(|| format!("Drover Agent CA {serial}"));
        params.distinguished_name = order.subject.with_common_name(&common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        if !order.domains.is_empty() {
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: order.domains.iter().cloned().map(GeneralSubtree::DnsName).collect(),
                excluded_subtrees: Vec::new(),
            });
        }
        let certificate = params.self_signed(key.inner()).map_err(AuthorityError::Sign)?.der().clone();
        Ok(OwnAuthority { certificate, key })
    }

    /// Reads an authority from PEM texts and checks that they belong together. The key is one on P-256, as `drover` and `nomad`
    /// make them.
    pub fn from_pem(certificate: &str, key: &str) -> Result<OwnAuthority, OwnAuthorityError> {
        let mut found = certificates_from_pem(certificate).map_err(OwnAuthorityError::Pem)?;
        let (Some(certificate), true) = (found.pop(), found.is_empty()) else { return Err(OwnAuthorityError::Count) };
        Anchors::new(vec![certificate.clone()])?;
        let key = KeyPair::from_any_pem(key)?;
        let shown = der::parse(&certificate).as_ref().and_then(PublicKey::of);
        if shown.as_ref() != Some(&key.public_key()) {
            return Err(OwnAuthorityError::KeyMismatch);
        }
        Ok(OwnAuthority { certificate, key })
    }

    /// Certificate and key as texts.
    pub fn to_pem(&self) -> Pair {
        let certificate = certificates_to_pem(std::slice::from_ref(&self.certificate));
        Pair { certificate, key: self.key.to_pem() }
    }

    /// The authority as the anchor that machines believe.
    pub fn anchors(&self) -> Anchors {
        Anchors::new(vec![self.certificate.clone()]).expect("it was checked when it was made or read")
    }

    /// Signs a certificate for a new key.
    pub fn issue(&self, order: &OwnCertificateOrder, now: SystemTime) -> Result<Pair, OwnAuthorityError> {
        let window = der::parse(&self.certificate).as_ref().and_then(der::validity);
        let mut params: CertificateParams = params(now, order.lifetime, window)?;
        params.distinguished_name = Subject::default().with_common_name(&order.common_name);
        let names: Result<Vec<SanType>, AuthorityError> = order.names.iter().map(|name| dns(name)).collect();
        params.subject_alt_names = names?;
        params.subject_alt_names.extend(order.addresses.iter().copied().map(SanType::IpAddress));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_der(&self.certificate, self.key.inner()).map_err(AuthorityError::Sign)?;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(key.inner(), &issuer).map_err(AuthorityError::Sign)?;
        let certificate = certificates_to_pem(std::slice::from_ref(certificate.der()));
        Ok(Pair { certificate, key: key.to_pem() })
    }
}

impl Subject {
    fn with_common_name(&self, common_name: &str) -> DistinguishedName {
        let mut name = DistinguishedName::new();
        let parts = [
            (DnType::CountryName, &self.country),
            (DnType::StateOrProvinceName, &self.province),
            (DnType::LocalityName, &self.locality),
            (DnType::CustomDnType(vec![2, 5, 4, 9]), &self.street_address),
            (DnType::CustomDnType(vec![2, 5, 4, 17]), &self.postal_code),
            (DnType::OrganizationName, &self.organization),
            (DnType::OrganizationalUnitName, &self.organizational_unit),
        ];
        for (kind, text) in parts {
            if !text.is_empty() {
                name.push(kind, text.as_str());
            }
        }
        name.push(DnType::CommonName, common_name);
        name
    }
}

impl fmt::Debug for OwnAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnAuthority(..)")
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pair(..)")
    }
}

/// A serial number as people read it.
fn decimal(serial: &rcgen::SerialNumber) -> u128 {
    serial.as_ref().iter().fold(0, |number: u128, byte| number << 8 | u128::from(*byte))
}

#[cfg(test)]
mod tests;
