//! Values that are a short text: API keys, AWS secret access keys, and `username:password`.

use super::{
    reading::{Reading, Secret},
    refuse,
};
use crate::domain::{
    error::{Error, Result},
    name::Metadata,
};

/// The length of an AWS secret access key.
const AWS_SECRET_BYTES: usize = 40;

/// Where the id of an AWS access key is written down.
const ACCESS_KEY_ID: &str = "metadata.access_key_id";

/// An API key goes into a header, so it has no whitespace and no control characters.
pub(super) fn api_key<'v>(text: &'v str, field: &'static str) -> Result<Reading<'v>> {
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(refuse(
            field,
            "must be an API key without whitespace or control characters",
        ));
    }
    Ok(Reading::of(text))
}

/// The secret half of an AWS access key; its id must be in the metadata.
pub(super) fn aws_access_key<'v>(
    text: &'v str,
    metadata: &Metadata,
    field: &'static str,
) -> Result<Reading<'v>> {
    let is_secret = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+' | b'=');
    if text.len() != AWS_SECRET_BYTES || !text.bytes().all(is_secret) {
        return Err(refuse(
            field,
            "must be an AWS secret access key: 40 letters, digits, `/`, `+` or `=`; its id belongs in `metadata.access_key_id`",
        ));
    }
    let id = metadata
        .get("access_key_id")
        .ok_or_else(|| Error::missing(ACCESS_KEY_ID))?;
    let is_id = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    if !(16..=128).contains(&id.len()) || !id.bytes().all(is_id) {
        return Err(refuse(
            ACCESS_KEY_ID,
            "must be 16 to 128 uppercase letters and digits",
        ));
    }
    let mut reading = Reading::of(text);
    reading.fact("access_key_id", id);
    Ok(reading)
}

/// A user name and a password, as RFC 7617 joins them.
pub(super) fn basic_auth<'v>(text: &'v str, field: &'static str) -> Result<Reading<'v>> {
    let shape = || {
        refuse(
            field,
            "must be `username:password`, with neither of the two empty",
        )
    };
    let (username, password) = text.split_once(':').ok_or_else(shape)?;
    if username.is_empty() || password.is_empty() {
        return Err(shape());
    }
    if text.chars().any(char::is_control) {
        return Err(refuse(
            field,
            "must be `username:password` without control characters",
        ));
    }
    let mut reading = Reading::of(text);
    reading.secret(Secret::Slice(password));
    reading.fact("username", username);
    Ok(reading)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::error::Code;

    #[test]
    fn api_keys_have_no_whitespace() {
        for text in ["sk_live_4f", "a", "ключ", "a:b{}\"=="] {
            assert!(api_key(text, "value").unwrap().into_facts().is_empty());
        }
        for text in [
            "a b", " ab", "ab\n", "a\tb", "a\0b", "a\u{a0}b", "a\u{7f}", "a\u{85}",
        ] {
            assert!(api_key(text, "value").is_err(), "{text:?}");
        }
    }

    #[test]
    fn aws_keys_are_a_secret_and_an_id() {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYTESTONLY0=";
        let with = |id: &str| {
            let metadata =
                Metadata::new([("access_key_id".to_owned(), id.to_owned())].into()).unwrap();
            aws_access_key(secret, &metadata, "value").map(Reading::into_facts)
        };
        assert_eq!(
            with("AKIATESTONLY0000").unwrap()["access_key_id"],
            "AKIATESTONLY0000"
        );
        assert_eq!(with(&"A".repeat(128)).unwrap()["access_key_id"].len(), 128);
        for id in [
            "",
            "AKIATESTONLY000",
            "akiatestonly0000",
            "AKIATESTONLY 0000",
            &"A".repeat(129),
        ] {
            assert_eq!(
                with(id).unwrap_err().details(),
                [("field", ACCESS_KEY_ID.into())],
                "{id:?}"
            );
        }
        let missing = aws_access_key(secret, &Metadata::default(), "value")
            .err()
            .unwrap();
        assert_eq!(missing.code(), Code::MissingParameter);
        assert_eq!(missing.details(), [("field", ACCESS_KEY_ID.into())]);

        let metadata =
            Metadata::new([("access_key_id".into(), "AKIATESTONLY0000".into())].into()).unwrap();
        for text in [
            &secret[1..],
            &format!("{secret}x"),
            &secret.replace('/', "-"),
            &secret.replace("LY", "é"),
        ] {
            assert!(
                aws_access_key(text, &metadata, "value").is_err(),
                "{text:?}"
            );
        }
    }

    #[test]
    fn basic_auth_is_split_at_the_first_colon() {
        for (text, username) in [
            ("alice:pass:word", "alice"),
            ("a b:c d", "a b"),
            ("ä:ö", "ä"),
        ] {
            assert_eq!(
                basic_auth(text, "value").unwrap().into_facts()["username"],
                username
            );
        }
        for text in [
            "alice",
            ":",
            "alice:",
            ":word",
            "alice:word\n",
            "al\tice:word",
            "alice:\u{85}x",
        ] {
            assert!(basic_auth(text, "value").is_err(), "{text:?}");
        }
        // A user name that holds the password is not shown.
        assert!(
            basic_auth("admin:admin", "value")
                .unwrap()
                .into_facts()
                .is_empty()
        );
    }
}
