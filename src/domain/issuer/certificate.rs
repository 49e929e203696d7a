//! Client certificates: what they say, and which of it an issuer's rules ask for. That one chains to a CA of the
//! configuration, and that its key is the client's, the TLS handshake proved before; here only its time is judged
//! again, by the vault's clock.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName};

use super::{Accepted, Issuer, MAX_TEXT_BYTES, expired, mismatch, shown};
use crate::domain::{
    claims::{Claims, matches},
    error::{Code, Error, Result},
    time::Timestamp,
};

/// What a condition may be about.
const FACTS: [&str; 4] = ["san_uri", "san_dns", "san_email", "subject_cn"];
/// What a name may be made of, and the fact that it is a part of.
const PARTS: [(&str, &str); 2] = [("san_dns", "san_dns"), ("san_uri_path_last", "san_uri")];

/// A certificate that the client of a connection proved.
pub struct ClientCertificate {
    /// Each of [`FACTS`], as a list.
    facts: Claims,
    /// Those of [`PARTS`] that the certificate has exactly one of.
    parts: Claims,
    /// The first name in it, for history.
    subject: Option<String>,
    not_before: Timestamp,
    not_after: Timestamp,
    fingerprint: String,
}

/// Refuses conditions on what no certificate is asked for, and a name made of what no condition is about: the CA
/// vouches for all that it signs, the registrant only for what the conditions name.
pub(super) fn check(
    conditions: &BTreeMap<String, Vec<String>>,
    made_of: Option<&str>,
) -> Result<()> {
    if let Some(unknown) = conditions
        .keys()
        .find(|name| !FACTS.contains(&name.as_str()))
    {
        let message = format!(
            "`{}` is nothing of a certificate: a condition is on one of {}",
            shown(unknown),
            FACTS.join(", ")
        );
        return Err(Error::invalid("conditions", message));
    }
    let Some(made_of) = made_of else {
        return Ok(());
    };
    let part = PARTS.iter().find(|(part, _)| *part == made_of);
    let (_, fact) = part.ok_or_else(|| {
        let message =
            "`identity.name` may be made of `{san_dns}` or `{san_uri_path_last}` of a certificate";
        Error::invalid("identity.name", message)
    })?;
    if conditions.contains_key(*fact) {
        return Ok(());
    }
    let message = format!("`identity.name` is made of `{fact}`, and no condition is on it");
    Err(Error::invalid("identity.name", message))
}

/// Seconds since the epoch as an instant; those before it are its beginning.
fn instant(seconds: i64) -> Timestamp {
    Timestamp::from_millis(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000))
}

/// The last part of a URI's path; none where it has no path, or anything behind it.
fn path_last(uri: &str) -> Option<&str> {
    let (_, rest) = uri.split_once("://")?;
    let (_, path) = rest.split_once('/')?;
    let plain = !path.contains(['?', '#', '%']);
    path.rsplit('/')
        .next()
        .filter(|last| plain && !last.is_empty())
}

/// The one text of a list; none where there are several, of which none would be the certificate's.
fn only(texts: &[String]) -> Option<&str> {
    match texts {
        [one] => Some(one),
        _ => None,
    }
}

impl ClientCertificate {
    /// The SHA-256 of a certificate, as hex.
    pub fn fingerprint(der: &[u8]) -> String {
        let digest = Sha256::digest(der);
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads a certificate; `None` where it is none, or contradicts itself.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (rest, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        rest.is_empty().then_some(())?;
        let [uris, dns, emails] = alternative_names(&certificate)?;
        let common = certificate.subject().iter_common_name();
        let common = common.map(|name| name.as_str().map(str::to_owned));
        let common: Vec<_> = common.collect::<Result<_, _>>().ok()?;
        let mut parts = Claims::new();
        for (name, part) in [
            ("san_dns", only(&dns)),
            ("san_uri_path_last", only(&uris).and_then(path_last)),
        ] {
            parts.extend(part.map(|part| (name.to_owned(), Value::from(part))));
        }
        let all = [uris, dns, emails, common];
        let subject = all.iter().flatten().next();
        let subject = subject.map(|name| name.chars().take(MAX_TEXT_BYTES).collect());
        let validity = certificate.validity();
        Some(Self {
            parts,
            subject,
            not_before: instant(validity.not_before.timestamp()),
            not_after: instant(validity.not_after.timestamp()),
            fingerprint: Self::fingerprint(der),
            facts: FACTS
                .into_iter()
                .zip(all)
                .map(|(fact, texts)| (fact.to_owned(), Value::from(texts)))
                .collect(),
        })
    }
}

/// URIs, DNS names and mail addresses.
fn alternative_names(certificate: &X509Certificate<'_>) -> Option<[Vec<String>; 3]> {
    let mut all = [const { Vec::new() }; 3];
    let Some(names) = certificate.subject_alternative_name().ok()? else {
        return Some(all);
    };
    let [uris, dns, emails] = &mut all;
    for name in &names.value.general_names {
        let (list, text) = match name {
            GeneralName::URI(text) => (&mut *uris, text),
            GeneralName::DNSName(text) => (&mut *dns, text),
            GeneralName::RFC822Name(text) => (&mut *emails, text),
            GeneralName::Invalid(..) => return None,
            _ => continue,
        };
        list.push((*text).to_owned());
    }
    Some(all)
}

/// The refusal of a certificate whose time is over.
pub fn certificate_expired(at: Timestamp) -> Error {
    expired("client certificate", at)
}

impl Issuer {
    /// Judges a proven certificate at `now`.
    pub fn accept_certificate(
        &self,
        certificate: &ClientCertificate,
        now: Timestamp,
    ) -> Result<Accepted> {
        if now >= certificate.not_after {
            return Err(certificate_expired(certificate.not_after));
        }
        if now < certificate.not_before {
            return Err(mismatch("not_before"));
        }
        for (name, patterns) in &self.rules.conditions {
            let fact = certificate.facts.get(name);
            if !fact.is_some_and(|texts| matches(texts, patterns)) {
                return Err(mismatch(name));
            }
        }
        Ok(Accepted {
            name: self.identity_name(&certificate.parts)?,
            subject: certificate.subject.clone(),
            once: None,
            certificate: Some((certificate.fingerprint.clone(), certificate.not_after)),
        })
    }
}

/// The refusal of what came as a certificate and cannot be read as one.
pub fn malformed_certificate() -> Error {
    Error::new(
        Code::ClaimMismatch,
        "the client certificate contradicts itself",
    )
    .with("claim", "certificate")
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};

    use super::*;
    use crate::domain::{
        id::{IssuerId, WorkspaceId},
        issuer::{DEFAULT_TOKEN_TTL, IssuerKind, IssuerRules, Mapping},
        name::IssuerName,
        principal::IdentityType,
        scope::Role,
    };

    fn der(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "billing");
        params.subject_alt_names = vec![
            SanType::IpAddress([127, 0, 0, 1].into()),
            SanType::DnsName("b.acme.example".try_into().unwrap()),
            SanType::Rfc822Name("b@acme.example".try_into().unwrap()),
            SanType::URI("spiffe://acme.example/ns/prod/sa/b".try_into().unwrap()),
        ];
        params.not_before = date_time_ymd(2027, 1, 1);
        params.not_after = date_time_ymd(2027, 2, 1);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn issuer(conditions: &[(&str, &str)], name: &str) -> Issuer {
        let conditions = conditions.iter();
        let rules = IssuerRules {
            kind: IssuerKind::Certificate,
            conditions: conditions
                .map(|(fact, pattern)| ((*fact).to_owned(), vec![(*pattern).to_owned()]))
                .collect(),
            identity: Mapping {
                name: name.to_owned(),
                kind: IdentityType::Service,
                role: Role::Agent,
                scopes: None,
                auto_create: false,
            },
            token_ttl: DEFAULT_TOKEN_TTL,
        };
        rules.check().unwrap();
        Issuer {
            id: IssuerId::from_bytes([1; 16]),
            workspace: WorkspaceId::from_bytes([2; 16]),
            name: IssuerName::parse("mesh", "name").unwrap(),
            rules,
            created_at: instant(0),
            updated_at: instant(0),
        }
    }

    /// 2027-01-15.
    const NOW: i64 = 1_799_971_200;

    fn accept(der: &[u8], issuer: &Issuer, now: i64) -> Result<Accepted> {
        let certificate = ClientCertificate::read(der).unwrap();
        issuer.accept_certificate(&certificate, instant(now))
    }

    #[test]
    fn each_of_its_names_may_be_asked_for() {
        let der = der(|_| {});
        for (conditions, name, becomes) in [
            (
                &[("san_uri", "spiffe://acme.example/ns/prod/*")][..],
                "sa-{san_uri_path_last}",
                Some("sa-b"),
            ),
            (
                &[("san_dns", "*.acme.example")],
                "{san_dns}",
                Some("b.acme.example"),
            ),
            (&[("san_email", "b@acme.example")], "b", Some("b")),
            (
                &[("subject_cn", "billing"), ("san_dns", "b.*")],
                "b",
                Some("b"),
            ),
            (&[("subject_cn", "billing"), ("san_dns", "c.*")], "b", None),
            // A name of one sort is not asked for as one of another.
            (&[("san_dns", "billing")], "b", None),
            (&[("san_dns", "127.0.0.1")], "b", None),
            (&[("san_uri", "b.acme.example")], "b", None),
            (&[("subject_cn", "b.acme.example")], "b", None),
            (&[("san_dns", "B.acme.example")], "b", None),
        ] {
            let accepted = accept(&der, &issuer(conditions, name), NOW).ok();
            let found = accepted.as_ref().map(|accepted| accepted.name.as_str());
            assert_eq!(found, becomes, "{conditions:?}");
        }
    }

    #[test]
    fn a_name_is_made_of_the_only_one_there_is() {
        let issuer = issuer(&[("san_dns", "*.acme.example")], "{san_dns}");
        let two = der(|params| {
            let other = SanType::DnsName("admin".try_into().unwrap());
            params.subject_alt_names.push(other);
        });
        let refused = accept(&two, &issuer, NOW).unwrap_err();
        assert_eq!(refused.code(), Code::ClaimMismatch);
        for (uri, last) in [
            ("spiffe://a/b/c", Some("c")),
            ("spiffe://a/b", Some("b")),
            ("spiffe://a", None),
            ("spiffe://a/", None),
            ("spiffe://a/b/", None),
            ("spiffe://a/b?x=/c", None),
            ("spiffe://a/b#/c", None),
            ("spiffe://a/b%2Fc", None),
            ("urn:a/b", None),
            ("", None),
        ] {
            assert_eq!(path_last(uri), last, "{uri}");
        }
    }

    #[test]
    fn its_time_is_judged_again() {
        let der = der(|_| {});
        let issuer = issuer(&[("subject_cn", "billing")], "b");
        let (begin, end) = (1_798_761_600, 1_801_440_000);
        for (now, code) in [
            (begin - 1, Some(Code::ClaimMismatch)),
            (begin, None),
            (end - 1, None),
            (end, Some(Code::AssertionExpired)),
        ] {
            let judged = accept(&der, &issuer, now);
            assert_eq!(judged.err().map(|error| error.code()), code, "{now}");
        }
        let (fingerprint, until) = accept(&der, &issuer, NOW).unwrap().certificate.unwrap();
        assert_eq!(until, instant(end));
        assert_eq!(fingerprint.len(), 64);
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        let good = der(|_| {});
        for len in 0..good.len() {
            assert!(ClientCertificate::read(&good[..len]).is_none());
        }
        let longer = [&good[..], &[0]].concat();
        assert!(ClientCertificate::read(&longer).is_none());
    }
}
