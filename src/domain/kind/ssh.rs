//! SSH private keys: OpenSSH's own form, and the PEM forms that OpenSSH reads (PKCS#1, PKCS#8, SEC1).
//!
//! An OpenSSH key is read in full; a PEM key is known by its label, and its content only decoded. An
//! encrypted key stays encrypted: nothing here knows its passphrase.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};
use ssh_key::{HashAlg, PrivateKey};

use super::{
    openssh,
    pem::{self, Block},
    reading::{Reading, Secret},
    refuse,
};
use crate::domain::error::{Error, Result};

const MALFORMED: &str =
    "must be a well-formed SSH private key; this one is damaged or of an unknown kind";

/// Reads one private key.
pub(super) fn read<'v>(text: &'v str, field: &'static str) -> Result<Reading<'v>> {
    let expected = || refuse(field, "must be one SSH private key, in OpenSSH or PEM form");
    let blocks = pem::blocks(text).ok_or_else(expected)?;
    let [block] = blocks.as_slice() else {
        return Err(if blocks.is_empty() && is_public_line(text) {
            refuse_public(field)
        } else {
            expected()
        });
    };

    let mut reading = Reading::of(text);
    reading.secret(Secret::Slice(block.body));
    match block.label {
        "OPENSSH PRIVATE KEY" => add_openssh(&mut reading, block, field)?,
        "RSA PRIVATE KEY" => add_pem(&mut reading, block, Some("ssh-rsa"), field)?,
        "EC PRIVATE KEY" => add_pem(&mut reading, block, Some("ecdsa"), field)?,
        "PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" => add_pem(&mut reading, block, None, field)?,
        label if label.ends_with("PUBLIC KEY") => return Err(refuse_public(field)),
        _ => return Err(expected()),
    }
    Ok(reading)
}

fn refuse_public(field: &'static str) -> Error {
    refuse(field, "must be a private key; this one is public")
}

/// Whether the text is a line of `authorized_keys` or of a `.pub` file, or an RFC 4716 key.
fn is_public_line(text: &str) -> bool {
    const ALGORITHMS: [&str; 4] = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-sha2-"];
    let is_algorithm = |word: &str| {
        ALGORITHMS
            .iter()
            .any(|algorithm| word.starts_with(algorithm))
    };
    let words = || text.split_whitespace();
    text.contains("BEGIN SSH2 PUBLIC KEY")
        || words()
            .zip(words().skip(1))
            .any(|(name, blob)| is_algorithm(name) && blob.starts_with("AAAA"))
}

fn add_pem(
    reading: &mut Reading<'_>,
    block: &Block<'_>,
    algorithm: Option<&str>,
    field: &'static str,
) -> Result<()> {
    block.decode().ok_or_else(|| refuse(field, MALFORMED))?;
    reading.fact("algorithm", algorithm.unwrap_or_default());
    let encrypted = block.encrypted_by_header || block.label == "ENCRYPTED PRIVATE KEY";
    reading.fact("encrypted", encrypted.to_string());
    Ok(())
}

fn add_openssh(reading: &mut Reading<'_>, block: &Block<'_>, field: &'static str) -> Result<()> {
    let malformed = || refuse(field, MALFORMED);
    let bytes = block.decode().ok_or_else(malformed)?;
    match PrivateKey::from_bytes(&bytes) {
        Ok(key) => {
            reading.fact("algorithm", key.algorithm().as_str());
            reading.fact(
                "key_fingerprint",
                key.fingerprint(HashAlg::Sha256).to_string(),
            );
            reading.fact("encrypted", key.is_encrypted().to_string());
            // Empty for an encrypted key, whose comment is encrypted too.
            reading.fact("comment", key.comment());
        }
        Err(ssh_key::Error::AlgorithmUnknown) => {
            let key = openssh::ecdsa_key(&bytes).ok_or_else(malformed)?;
            let digest = STANDARD_NO_PAD.encode(Sha256::digest(key.public));
            reading.fact("algorithm", key.algorithm);
            reading.fact("key_fingerprint", format!("SHA256:{digest}"));
            reading.fact("encrypted", key.encrypted.to_string());
            reading.fact("comment", key.comment);
        }
        Err(_) => return Err(malformed()),
    }
    Ok(())
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

    fn check(
        text: &str,
        algorithm: &str,
        encrypted: &str,
        fingerprint: Option<&str>,
        comment: Option<&str>,
    ) {
        let facts = facts(text);
        let fact = |name: &str| facts.get(name).map(String::as_str);
        assert_eq!(
            fact("algorithm"),
            (!algorithm.is_empty()).then_some(algorithm)
        );
        assert_eq!(fact("encrypted"), Some(encrypted));
        assert_eq!(fact("key_fingerprint"), fingerprint);
        assert_eq!(fact("comment"), comment);
    }

    #[test]
    fn openssh_keys_show_what_ssh_keygen_shows() {
        let ed25519 = Some("SHA256:7h9LKUu5QQMANl/Pep0WenaHxGF0GLH3hftqC7YXpqQ");
        let encrypted = Some("SHA256:7ndrgvc+X9j6O+5PM+hINMiOEM1cdH5HNljSIxNuSsg");
        let ecdsa = Some("SHA256:9vWmhXRb7X47xopPvNVcBA76LsurTQfn11IaU8/7zCk");
        let ecdsa_encrypted = Some("SHA256:IuQn2xtOLghc3AxXUqAGiEPuElE11GSoIDeKF3UYcpI");
        let rsa = Some("SHA256:5JSh43DtUqSMv6QA5svbu9KKJ4jUXui+WV3MAYdQDQk");
        check(
            samples::SSH_ED25519,
            "ssh-ed25519",
            "false",
            ed25519,
            Some("test-only ed25519"),
        );
        check(
            samples::SSH_ED25519_ENCRYPTED,
            "ssh-ed25519",
            "true",
            encrypted,
            None,
        );
        check(
            samples::SSH_ECDSA,
            "ecdsa-sha2-nistp256",
            "false",
            ecdsa,
            Some("test-only ecdsa"),
        );
        check(
            samples::SSH_ECDSA_ENCRYPTED,
            "ecdsa-sha2-nistp256",
            "true",
            ecdsa_encrypted,
            None,
        );
        check(samples::SSH_RSA, "ssh-rsa", "false", rsa, None);
    }

    #[test]
    fn pem_keys_show_what_their_label_says() {
        check(samples::RSA_PKCS1, "ssh-rsa", "false", None, None);
        check(samples::EC_SEC1, "ecdsa", "false", None, None);
        check(samples::EC_SEC1_ENCRYPTED, "ecdsa", "true", None, None);
        check(samples::PKCS8, "", "false", None, None);
        check(samples::PKCS8_ENCRYPTED, "", "true", None, None);
    }

    #[test]
    fn layout_does_not_matter() {
        let rewrapped = samples::SSH_ED25519
            .replace("QyNTUx", "Qy\nNTUx")
            .replace('\n', "\r\n");
        assert_eq!(facts(&rewrapped), facts(samples::SSH_ED25519));
        assert_eq!(
            facts(&format!("\n  {}\n\n", samples::SSH_ECDSA.trim())),
            facts(samples::SSH_ECDSA)
        );
    }

    #[test]
    fn public_keys_are_refused_as_such() {
        let rfc4716 = "---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----\n";
        let restricted = format!("restrict,command=\"true\" {}", samples::SSH_ED25519_PUBLIC);
        let spki = samples::PKCS8.replace("PRIVATE KEY", "PUBLIC KEY");
        let pkcs1 = samples::RSA_PKCS1.replace("PRIVATE", "PUBLIC");
        for text in [
            samples::SSH_ED25519_PUBLIC,
            rfc4716,
            &restricted,
            &spki,
            &pkcs1,
        ] {
            let error = read(text, "value").err().unwrap();
            assert!(error.message().contains("this one is public"), "{error}");
        }
    }

    #[test]
    fn what_is_no_single_private_key_is_refused() {
        let two = samples::SSH_ED25519.repeat(2);
        let cut = samples::SSH_ED25519.replace("QyNTUx", "");
        let mixed = samples::SSH_ED25519.replace("7zK9\n", "7zK8\n");
        let relabelled = samples::RSA_PKCS1.replace("RSA PRIVATE", "OPENSSH PRIVATE");
        let flat = samples::SSH_ED25519.replace('\n', "\\n");
        let no_base64 = samples::PKCS8.replace("MC4C", "MC4%");
        let putty = "PuTTY-User-Key-File-3: ed25519\nEncryption: none\n";
        for text in [
            &two,
            &cut,
            &mixed,
            &relabelled,
            &flat,
            &no_base64,
            putty,
            "hunter2",
            samples::CERTIFICATE,
        ] {
            assert!(read(text, "value").is_err());
        }
    }
}
