//! Certificates in PEM form, with their chain and private key.
//!
//! Every certificate must parse; the facts are those of the first, which is the one that is served. Nothing
//! is verified: not the chain, not the signature, not whether the private key is the certificate's.

use sha2::{Digest as _, Sha256};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName};

use super::{
    pem,
    reading::{MAX_FACT_CHARS, Reading, Secret, hex, rfc3339},
    refuse,
};
use crate::domain::error::Result;

/// The most names that are shown of one certificate.
const MAX_DNS_NAMES: usize = 20;

/// Reads the blocks of a certificate.
pub(super) fn read<'v>(text: &'v str, field: &'static str) -> Result<Reading<'v>> {
    let expected = || {
        refuse(
            field,
            "must be PEM text with at least one `CERTIFICATE` block",
        )
    };
    let mut reading = Reading::of(text);
    let (mut certificates, mut private_keys) = (0_usize, 0_usize);
    for block in pem::blocks(text).ok_or_else(expected)? {
        match block.label {
            "CERTIFICATE" => {
                let malformed = || {
                    refuse(
                        field,
                        "must hold well-formed X.509 certificates; one is not",
                    )
                };
                let der = block.decode().ok_or_else(malformed)?;
                let (rest, certificate) =
                    x509_parser::parse_x509_certificate(&der).map_err(|_| malformed())?;
                if !rest.is_empty() {
                    return Err(malformed());
                }
                if certificates == 0 {
                    add_certificate(&mut reading, &certificate, &der).ok_or_else(malformed)?;
                }
                certificates += 1;
            }
            "PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => {
                block
                    .decode()
                    .ok_or_else(|| refuse(field, "must hold a well-formed private key"))?;
                reading.secret(Secret::Slice(block.body));
                private_keys += 1;
            }
            _ => {
                return Err(refuse(
                    field,
                    "must hold no other PEM blocks than `CERTIFICATE` and a private key",
                ));
            }
        }
    }
    if certificates == 0 {
        return Err(expected());
    }
    if private_keys > 1 {
        return Err(refuse(field, "must hold at most one private key"));
    }
    reading.fact("has_private_key", (private_keys == 1).to_string());
    Ok(reading)
}

/// Adds what a certificate says, or `None` when it contradicts itself.
fn add_certificate(
    reading: &mut Reading<'_>,
    certificate: &X509Certificate<'_>,
    der: &[u8],
) -> Option<()> {
    let validity = certificate.validity();
    reading.fact("subject", certificate.subject().to_string());
    reading.fact("issuer", certificate.issuer().to_string());
    reading.fact("serial", serial(certificate.raw_serial()));
    reading.fact("not_before", rfc3339(validity.not_before.timestamp())?);
    reading.fact("not_after", rfc3339(validity.not_after.timestamp())?);
    if let Some(names) = certificate.subject_alternative_name().ok()? {
        reading.fact("dns_names", dns_names(&names.value.general_names));
    }
    reading.fact("certificate_fingerprint", hex(&Sha256::digest(der)));
    Some(())
}

/// Hex, without the zero byte that only says that the number is positive.
fn serial(bytes: &[u8]) -> String {
    match bytes {
        [0, rest @ ..] if !rest.is_empty() => hex(rest),
        _ => hex(bytes),
    }
}

/// The first names, comma separated; never a part of a name.
fn dns_names(names: &[GeneralName<'_>]) -> String {
    let mut list = String::new();
    let names = names.iter().filter_map(|name| match name {
        // A comma or a space in a name could pass for two names.
        GeneralName::DNSName(name) if name.bytes().all(|b| b.is_ascii_graphic() && b != b',') => {
            Some(*name)
        }
        _ => None,
    });
    for name in names.take(MAX_DNS_NAMES) {
        if list.len() + 1 + name.len() > MAX_FACT_CHARS {
            break;
        }
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(name);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Facts, samples},
        *,
    };

    fn facts(text: &str) -> Facts {
        read(text, "value").unwrap().into_facts()
    }

    #[test]
    fn a_certificate_shows_what_openssl_shows() {
        let expected = [
            ("subject", "O=Leasehold Test, CN=test-only.example"),
            ("issuer", "O=Leasehold Test, CN=test-only.example"),
            ("serial", "f1e2d3c4b5a697"),
            ("not_before", "2026-01-01T00:00:00Z"),
            ("not_after", "2036-01-01T00:00:00Z"),
            ("dns_names", "test-only.example,*.test-only.example"),
            (
                "certificate_fingerprint",
                "926f0688f09a4d6469b9ee9403c49a8f29886e8cc8d2a2f8cb795d1eaf995f7d",
            ),
            ("has_private_key", "false"),
        ];
        let expected: Facts = expected
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into();
        assert_eq!(facts(samples::CERTIFICATE), expected);
    }

    #[test]
    fn a_certificate_may_have_no_end() {
        let facts = facts(samples::CERTIFICATE_FOREVER);
        assert_eq!(facts["not_before"], "1960-01-01T00:00:00Z");
        assert_eq!(facts["not_after"], "9999-12-31T23:59:59Z");
        assert!(!facts.contains_key("dns_names"));
    }

    #[test]
    fn the_first_certificate_is_described_wherever_the_key_stands() {
        let (leaf, chain, key) = (
            samples::CERTIFICATE,
            samples::CERTIFICATE_FOREVER,
            samples::EC_SEC1_TLS,
        );
        let mut expected = facts(leaf);
        assert_eq!(facts(&format!("{leaf}{chain}")), expected);
        expected.insert("has_private_key".into(), "true".into());
        for text in [
            format!("{leaf}{chain}{key}"),
            format!("{key}{leaf}"),
            format!("{leaf}\n{}", samples::PKCS8_ENCRYPTED),
        ] {
            assert_eq!(facts(&text), expected);
        }
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let leaf = samples::CERTIFICATE;
        let key = samples::EC_SEC1_TLS;
        for text in [
            "not PEM".to_owned(),
            key.to_owned(),
            samples::SSH_ED25519.to_owned(),
            format!("{leaf}{}", samples::SSH_ED25519),
            format!("{leaf}{key}{key}"),
            format!("{leaf}{}", leaf.replace("CERTIFICATE", "X509 CRL")),
            format!("{leaf}{}", leaf.replace("CERTIFICATE", "PUBLIC KEY")),
            format!("{leaf}{}", leaf.replace("MIIB", "MIIC")),
            format!("{leaf}{}", key.replace("MHcC", "MHc*")),
            leaf.replace("MIIBuTCC", "MIIBuDCC"),
            leaf.replace("Dg==", "DgAA"),
            leaf.replace("-----END", "----END"),
            "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".to_owned(),
        ] {
            assert!(read(&text, "value").is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_shown_whole() {
        let long = "n".repeat(100);
        let many: Vec<_> = (0..30).map(|_| GeneralName::DNSName("a.example")).collect();
        assert_eq!(dns_names(&many).split(',').count(), MAX_DNS_NAMES);
        let wide = [&*long; 3].map(GeneralName::DNSName);
        assert_eq!(dns_names(&wide), format!("{long},{long}"));
        let odd = [
            GeneralName::DNSName("a,b"),
            GeneralName::DNSName("a\nb"),
            GeneralName::RFC822Name("c@d"),
        ];
        assert_eq!(dns_names(&odd), "");
    }
}
