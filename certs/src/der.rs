//! Small readers of DER certificates that the other files share.

use std::time::{Duration, SystemTime};

use x509_parser::certificate::X509Certificate;
use x509_parser::time::ASN1Time;

/// One certificate with nothing behind it.
pub(crate) fn parse(bytes: &[u8]) -> Option<X509Certificate<'_>> {
    let (rest, certificate) = x509_parser::parse_x509_certificate(bytes).ok()?;
    rest.is_empty().then_some(certificate)
}

/// First and last second at which the certificate counts; `None` where a date lies before 1970.
pub(crate) fn validity(certificate: &X509Certificate<'_>) -> Option<(SystemTime, SystemTime)> {
    let validity = certificate.validity();
    Some((system_time(&validity.not_before)?, system_time(&validity.not_after)?))
}

fn system_time(time: &ASN1Time) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(time.timestamp()).ok()?))
}
