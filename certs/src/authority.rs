//! A region's authority: the federation's root, the region's intermediate, and the signing of machines' certificates.
//!
//! Every server of a region holds the intermediate and its key and may issue. The root's key is needed only for a new region and to
//! renew an intermediate, so an authority can be handed on without it.

use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyUsagePurpose, NameConstraints, SanType, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::anchors::{Anchors, AnchorsError, Fingerprint, certificates_from_pem, certificates_to_pem};
use crate::der;
use crate::identity::{Identity, IdentityError, Role};
use crate::key::{KeyError, KeyPair, PublicKey};
use crate::leaf::{Credentials, Leaf, LeafError, renewal_time};
use crate::region::RegionName;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Certificates count from a little before they are made, so that a machine whose clock is behind takes them too; never from more
/// than this before.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// Dates from here on would need more than four digits for the year; 2500-01-01.
const LATEST: Duration = Duration::from_secs(16_725_225_600);

/// How long certificates live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// The federation's root.
    pub root: Duration,
    /// A region's intermediate; nothing it signs lives longer.
    pub intermediate: Duration,
    /// A machine's certificate, where the caller has no reason for another.
    pub leaf: Duration,
}

impl Default for Lifetimes {
    /// Twenty years, two years, three days.
    fn default() -> Self {
        Lifetimes { root: DAY * 7305, intermediate: DAY * 730, leaf: DAY * 3 }
    }
}

/// The authority of one region. Copies share the keys.
#[derive(Clone)]
pub struct Authority {
    region: RegionName,
    root: CertificateDer<'static>,
    root_key: Option<KeyPair>,
    intermediate: CertificateDer<'static>,
    key: KeyPair,
    /// Dates of the intermediate.
    not_before: SystemTime,
    not_after: SystemTime,
}

/// An authority as texts. They hold private keys: files with them are for their owner only (0600).
#[derive(Clone)]
pub struct AuthorityPem {
    /// The root certificate.
    pub root: String,
    /// The root's key, where this holder has it.
    pub root_key: Option<String>,
    /// The region's intermediate.
    pub intermediate: String,
    /// The intermediate's key, with which machines' certificates are signed.
    pub key: String,
}

/// Why an authority cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A certificate could not be built or signed.
    #[error("cannot sign a certificate")]
    Sign(#[source] rcgen::Error),
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    Random,
    /// A key could not be made or read.
    #[error("cannot use the authority's key")]
    Key(#[from] KeyError),
    /// The text of a certificate is not PEM.
    #[error("cannot read the {0} certificate's PEM text")]
    Pem(&'static str, #[source] pem::PemError),
    /// A text holds no certificate, or several.
    #[error("exactly one {0} certificate expected")]
    Count(&'static str),
    /// The root is no authority's certificate.
    #[error("cannot use the root certificate")]
    Root(#[from] AnchorsError),
    /// The intermediate cannot be read, is not signed by the root, or is not bound to one region.
    #[error("the region's certificate {0}")]
    Intermediate(&'static str),
    /// A key belongs to another certificate.
    #[error("the {0} key belongs to another certificate")]
    KeyMismatch(&'static str),
    /// The root's key is not here.
    #[error("this needs the root's key, which is not kept here")]
    NoRootKey,
    /// A certificate was asked for that names another region.
    #[error("the authority of region {own} cannot sign for region {asked}")]
    OtherRegion {
        /// The region it signs for.
        own: RegionName,
        /// The region that was asked for.
        asked: RegionName,
    },
    /// The identity has a node name that certificates do not carry.
    #[error("cannot put this identity in a certificate")]
    Identity(#[from] IdentityError),
    /// The intermediate has ended, or has not begun: whatever it signs now counts for nobody.
    #[error("the region's certificate does not count at this time: renew it, or check the clock")]
    NotNow,
    /// A lifetime under a second: dates count in seconds.
    #[error("a certificate lives at least one second")]
    Lifetime,
    /// What was just issued does not read back.
    #[error("the issued certificate does not read back")]
    ReadBack(#[from] LeafError),
}

impl Authority {
    /// A new root, and under it the intermediate of `region`.
    pub fn create(region: RegionName, now: SystemTime, lifetimes: &Lifetimes) -> Result<Authority, AuthorityError> {
        let root_key = KeyPair::generate()?;
        let mut params = params(now, lifetimes.root, None)?;
        params.distinguished_name = name("drover root");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(root_key.inner()).map_err(AuthorityError::Sign)?.der().clone();
        Authority::under(root, root_key, region, KeyPair::generate()?, now, lifetimes.intermediate)
    }

    /// The authority of another region under the same root. Needs the root's key; the new one holds it too.
    pub fn create_region(
        &self,
        region: RegionName,
        now: SystemTime,
        lifetimes: &Lifetimes,
    ) -> Result<Authority, AuthorityError> {
        let root_key = self.root_key.clone().ok_or(AuthorityError::NoRootKey)?;
        Authority::under(self.root.clone(), root_key, region, KeyPair::generate()?, now, lifetimes.intermediate)
    }

    /// The same authority with an intermediate that ends later. The key stays, so what was signed before still counts. Needs the
    /// root's key.
    pub fn renew(&self, now: SystemTime, lifetimes: &Lifetimes) -> Result<Authority, AuthorityError> {
        let root_key = self.root_key.clone().ok_or(AuthorityError::NoRootKey)?;
        let (root, region, key) = (self.root.clone(), self.region.clone(), self.key.clone());
        Authority::under(root, root_key, region, key, now, lifetimes.intermediate)
    }

    /// The later certificate of another region under the same root, for the same key: what that region's servers ask for, who have
    /// no root key. `certificate` is the PEM text of the one that they have, `proof` a request signed with its key.
    pub fn renew_other(
        &self,
        region: &RegionName,
        certificate: &str,
        proof: &[u8],
        now: SystemTime,
        lifetimes: &Lifetimes,
    ) -> Result<String, AuthorityError> {
        let root_key = self.root_key.as_ref().ok_or(AuthorityError::NoRootKey)?;
        let held = one_certificate("region", certificate)?;
        let (own, root) = (check_intermediate(&held, &self.root)?, &self.root);
        if own.region != *region {
            return Err(AuthorityError::OtherRegion { own: own.region, asked: region.clone() });
        }
        // Whoever has only seen the certificate has not its key.
        if PublicKey::from_signing_request(proof)? != own.key {
            return Err(AuthorityError::KeyMismatch("region's"));
        }
        let renewed = sign_intermediate(root, root_key, region, &own.key, now, lifetimes.intermediate)?;
        Ok(certificates_to_pem(&[renewed]))
    }

    /// Proves to whoever renews this region's certificate that its key is here: a request for it, in DER.
    pub fn prove_key(&self) -> Result<Vec<u8>, AuthorityError> {
        Ok(self.key.signing_request()?)
    }

    fn under(
        root: CertificateDer<'static>,
        root_key: KeyPair,
        region: RegionName,
        key: KeyPair,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<Authority, AuthorityError> {
        let intermediate = sign_intermediate(&root, &root_key, &region, &key.public_key(), now, lifetime)?;
        Authority::assemble(root, Some(root_key), intermediate, key)
    }

    /// Reads what [`Authority::to_pem`] wrote and checks that the parts belong together.
    pub fn from_pem(texts: &AuthorityPem) -> Result<Authority, AuthorityError> {
        let root = one_certificate("root", &texts.root)?;
        let root_key = texts.root_key.as_deref().map(KeyPair::from_pem).transpose()?;
        let intermediate = one_certificate("region", &texts.intermediate)?;
        Authority::assemble(root, root_key, intermediate, KeyPair::from_pem(&texts.key)?)
    }

    fn assemble(
        root: CertificateDer<'static>,
        root_key: Option<KeyPair>,
        intermediate: CertificateDer<'static>,
        key: KeyPair,
    ) -> Result<Authority, AuthorityError> {
        Anchors::new(vec![root.clone()])?;
        let root_read = der::parse(&root).ok_or(AuthorityError::Count("root"))?;
        if root_key.as_ref().is_some_and(|key| Some(key.public_key()) != PublicKey::of(&root_read)) {
            return Err(AuthorityError::KeyMismatch("root's"));
        }
        let Intermediate { region, key: certified, not_before, not_after } = check_intermediate(&intermediate, &root)?;
        if certified != key.public_key() {
            return Err(AuthorityError::KeyMismatch("region's"));
        }
        Ok(Authority { region, root_key, key, not_before, not_after, root, intermediate })
    }

    /// The whole authority as texts, the root's key included where it is here.
    pub fn to_pem(&self) -> AuthorityPem {
        AuthorityPem {
            root: certificates_to_pem(std::slice::from_ref(&self.root)),
            root_key: self.root_key.as_ref().map(KeyPair::to_pem),
            intermediate: certificates_to_pem(std::slice::from_ref(&self.intermediate)),
            key: self.key.to_pem(),
        }
    }

    /// The same authority without the root's key: enough to issue, not enough to found regions.
    pub fn without_root_key(&self) -> Authority {
        Authority { root_key: None, ..self.clone() }
    }

    /// The region that it signs for.
    pub fn region(&self) -> &RegionName {
        &self.region
    }

    /// Whether the root's key is here.
    pub fn has_root_key(&self) -> bool {
        self.root_key.is_some()
    }

    /// The root's fingerprint, by which joiners know the federation.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.root)
    }

    /// The root as the anchor that machines believe.
    pub fn anchors(&self) -> Anchors {
        Anchors::new(vec![self.root.clone()]).expect("the root was checked when the authority was made or read")
    }

    /// The last second at which the region's certificate counts; no machine's certificate outlives it.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The time to sign at: `now`, or the first second of the region's certificate for a clock that is behind that. What was made
    /// has been made, and a clock that was set back keeps nobody from a certificate.
    pub fn floored(&self, now: SystemTime) -> SystemTime {
        now.max(self.not_before)
    }

    /// When the region's certificate should be renewed: at two thirds of its life.
    pub fn renew_at(&self) -> SystemTime {
        renewal_time(self.not_before, self.not_after)
    }

    /// Signs a certificate for the holder of `key`. Names, dates and serial are set here; the certificate ends after `lifetime` or
    /// with the region's own, whichever comes first.
    pub fn issue(
        &self,
        key: &PublicKey,
        identity: &Identity,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<Leaf, AuthorityError> {
        identity.check()?;
        if identity.region != self.region {
            return Err(AuthorityError::OtherRegion { own: self.region.clone(), asked: identity.region.clone() });
        }
        let mut params = params(now, lifetime, Some((self.not_before, self.not_after)))?;
        params.distinguished_name = name(&identity.dns_name());
        params.subject_alt_names = vec![dns(&identity.dns_name())?, uri(&identity.uri())?];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match identity.role {
            Role::Server => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            Role::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_der(&self.intermediate, self.key.inner()).map_err(AuthorityError::Sign)?;
        let certificate = params.signed_by(key, &issuer).map_err(AuthorityError::Sign)?;
        Ok(Leaf::from_chain(vec![certificate.der().clone(), self.intermediate.clone()])?)
    }

    /// A new key and a certificate for it: what a server does for itself.
    pub fn issue_own(
        &self,
        identity: &Identity,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<Credentials, AuthorityError> {
        let key = KeyPair::generate()?;
        let leaf = self.issue(&key.public_key(), identity, now, lifetime)?;
        Ok(Credentials::new(leaf, key)?)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({}, root {})", self.region, self.fingerprint())
    }
}

impl fmt::Debug for AuthorityPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthorityPem(..)")
    }
}

/// What an intermediate says.
struct Intermediate {
    region: RegionName,
    key: PublicKey,
    not_before: SystemTime,
    not_after: SystemTime,
}

/// Reads a region's certificate and checks that the root has signed it.
fn check_intermediate(
    intermediate: &CertificateDer<'_>,
    root: &CertificateDer<'_>,
) -> Result<Intermediate, AuthorityError> {
    let root = der::parse(root).ok_or(AuthorityError::Count("root"))?;
    let read = der::parse(intermediate).ok_or(AuthorityError::Intermediate("cannot be read"))?;
    let key = PublicKey::of(&read).ok_or(AuthorityError::KeyMismatch("region's"))?;
    if read.verify_signature(Some(root.public_key())).is_err() {
        return Err(AuthorityError::Intermediate("is not signed by the root"));
    }
    let region = constrained_region(&read).ok_or(AuthorityError::Intermediate("is not bound to one region"))?;
    let (not_before, not_after) =
        der::validity(&read).ok_or(AuthorityError::Intermediate("has dates that cannot be read"))?;
    Ok(Intermediate { region, key, not_before, not_after })
}

fn sign_intermediate(
    root: &CertificateDer<'static>,
    root_key: &KeyPair,
    region: &RegionName,
    key: &PublicKey,
    now: SystemTime,
    lifetime: Duration,
) -> Result<CertificateDer<'static>, AuthorityError> {
    let window = der::parse(root).as_ref().and_then(der::validity).ok_or(AuthorityError::Count("root"))?;
    let mut params = params(now, lifetime, Some(window))?;
    params.distinguished_name = name(&format!("drover region {region}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: permitted_names(region).map(GeneralSubtree::DnsName).to_vec(),
        excluded_subtrees: vec![
            GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
            GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
        ],
    });
    let issuer = Issuer::from_ca_cert_der(root, root_key.inner()).map_err(AuthorityError::Sign)?;
    Ok(params.signed_by(key, &issuer).map_err(AuthorityError::Sign)?.der().clone())
}

/// First and last second at which an issuer counts.
pub(crate) type Window = (SystemTime, SystemTime);

/// Parameters with dates inside those of the issuer and a random serial; everything else is the caller's.
pub(crate) fn params(
    now: SystemTime,
    lifetime: Duration,
    issuer: Option<Window>,
) -> Result<CertificateParams, AuthorityError> {
    if lifetime < Duration::from_secs(1) {
        return Err(AuthorityError::Lifetime);
    }
    let (first, last) = issuer.unwrap_or((SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + LATEST));
    if now < first || now >= last {
        return Err(AuthorityError::NotNow);
    }
    let backdated = now.checked_sub(CLOCK_SKEW.min(lifetime / 10)).unwrap_or(first);
    let end = now.checked_add(lifetime).unwrap_or(last);
    let mut serial = [0; 16];
    SystemRandom::new().fill(&mut serial).map_err(|_| AuthorityError::Random)?;
    serial[0] = serial[0] & 0x7f | 0x40; // a positive number of full length
    let mut params = CertificateParams::default();
    params.not_before = backdated.max(first).into();
    params.not_after = end.min(last).into();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

pub(crate) fn dns(name: &str) -> Result<SanType, AuthorityError> {
    Ok(SanType::DnsName(name.try_into().map_err(AuthorityError::Sign)?))
}

fn uri(name: &str) -> Result<SanType, AuthorityError> {
    Ok(SanType::URI(name.try_into().map_err(AuthorityError::Sign)?))
}

fn permitted_names(region: &RegionName) -> [String; 2] {
    [format!("{region}.drover"), format!("{region}.nomad")]
}

/// The one region whose names an intermediate may sign, if it is an authority bound exactly as ours are.
fn constrained_region(intermediate: &X509Certificate<'_>) -> Option<RegionName> {
    let authority = intermediate.basic_constraints().ok()??.value;
    if !authority.ca || authority.path_len_constraint != Some(0) {
        return None;
    }
    let permitted = intermediate.name_constraints().ok()??.value.permitted_subtrees.as_ref()?;
    let mut names = permitted.iter().map(|subtree| match subtree.base {
        GeneralName::DNSName(name) => Some(name),
        _ => None,
    });
    let region = RegionName::new(names.next()??.strip_suffix(".drover")?).ok()?;
    let second = names.next()??.strip_suffix(".nomad")?;
    (second == region.as_str() && names.next().is_none()).then_some(region)
}

fn one_certificate(what: &'static str, text: &str) -> Result<CertificateDer<'static>, AuthorityError> {
    let mut found = certificates_from_pem(text).map_err(|source| AuthorityError::Pem(what, source))?;
    match (found.pop(), found.is_empty()) {
        (Some(certificate), true) => Ok(certificate),
        _ => Err(AuthorityError::Count(what)),
    }
}

#[cfg(test)]
mod tests;
