//! OAuth tokens: a bearer token (RFC 6750), alone or in the token response (RFC 6749, 5.1) it came in.
//!
//! The claims of a JWT are read for people to see, never verified and never decided on: a token whose claims
//! can't be read is an opaque token, not an error.

use std::{collections::BTreeMap, fmt};

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess},
};
use zeroize::Zeroizing;

use super::{
    decode,
    reading::{Reading, Secret, rfc3339},
    refuse,
};
use crate::domain::error::Result;

/// The members of a token response that are secret.
const SECRET_MEMBERS: [&str; 4] = ["access_token", "refresh_token", "id_token", "client_secret"];

/// The longest `token_type` that is shown: a registered one is a word.
const MAX_TOKEN_TYPE_BYTES: usize = 32;

/// Reads a token, or a token response.
pub(super) fn read<'v>(text: &'v str, field: &'static str) -> Result<Reading<'v>> {
    let mut reading = Reading::of(text);
    // No bearer token begins with a brace.
    if !text.trim_start().starts_with('{') {
        if !is_bearer_token(text) {
            return Err(refuse(
                field,
                "must be a bearer token (RFC 6750) without whitespace, or a token response as a JSON object",
            ));
        }
        add_claims(&mut reading, text);
        return Ok(reading);
    }
    // The parser's error is dropped: it can quote the text.
    let mut response: Object = serde_json::from_str(text)
        .map_err(|_| refuse(field, "begins like a JSON object and must be one"))?;
    match response.get("access_token") {
        Some(Scalar::Text(token)) if is_bearer_token(token) => add_claims(&mut reading, token),
        _ => {
            return Err(refuse(
                field,
                "must have a bearer token (RFC 6750) as its `access_token`",
            ));
        }
    }
    if let Some(Scalar::Text(token_type)) = response.get("token_type")
        && token_type.len() <= MAX_TOKEN_TYPE_BYTES
    {
        reading.fact("token_type", token_type.as_str());
    }
    for member in SECRET_MEMBERS {
        if let Some(Scalar::Text(secret)) = response.remove(member) {
            reading.secret(Secret::Copy(secret));
        }
    }
    Ok(reading)
}

/// `b64token` of RFC 6750, 2.1.
fn is_bearer_token(text: &str) -> bool {
    let padded = text.trim_end_matches('=');
    let is_token = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
    };
    !padded.is_empty() && padded.bytes().all(is_token)
}

/// Adds the issuer and the end of a JWT, where it says so.
fn add_claims(reading: &mut Reading<'_>, token: &str) {
    let Some(claims) = claims(token) else { return };
    if let Some(Scalar::Text(issuer)) = claims.get("iss") {
        reading.fact("issuer", issuer.as_str());
    }
    if let Some(Scalar::Whole(seconds @ 0..)) = claims.get("exp")
        && let Some(instant) = rfc3339(*seconds)
    {
        reading.fact("not_after", instant);
    }
}

fn claims(token: &str) -> Option<Object> {
    let mut parts = token.split('.');
    let (header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !object(header)?.contains_key("alg") {
        return None;
    }
    object(payload)
}

fn object(part: &str) -> Option<Object> {
    let json = decode::base64(&URL_SAFE_NO_PAD, part.as_bytes())?;
    serde_json::from_slice(&json).ok()
}

/// A JSON object, of which a repeated member keeps its last value.
type Object = BTreeMap<String, Scalar>;

/// A JSON value, kept where it is text or a number.
enum Scalar {
    Text(Zeroizing<String>),
    /// Rounded down to a whole number.
    Whole(i64),
    Other,
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> de::Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
        Ok(Scalar::Whole(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
        Ok(i64::try_from(number).map_or(Scalar::Other, Scalar::Whole))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
        // Out of range, `as` saturates, and there is no date so far away.
        Ok(Scalar::Whole(number.floor() as i64))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Scalar, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Scalar, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::{super::Facts, *};

    fn jwt(header: &str, claims: &str) -> String {
        format!(
            "{}.{}.c2ln",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        )
    }

    fn facts(text: &str) -> Facts {
        read(text, "value").unwrap().into_facts()
    }

    fn expected(pairs: &[(&str, &str)]) -> Facts {
        pairs
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect()
    }

    const HEADER: &str = r#"{"alg":"none"}"#;

    #[test]
    fn an_opaque_token_has_no_facts() {
        for text in [
            "gho_16C7",
            "a",
            "A-._~+/z==",
            "a.b",
            "a.b.c",
            "a.b.c.d.e",
            "..",
            "v4.public.x",
        ] {
            assert!(facts(text).is_empty(), "{text:?}");
        }
        for text in [
            "", "=", "==", "a=b", "a b", "a\n", " a", "a,b", "\"a\"", "é", "Bearer a", "[]",
        ] {
            assert!(read(text, "value").is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_jwt_shows_its_issuer_and_its_end() {
        let both = expected(&[
            ("issuer", "https://id.example"),
            ("not_after", "2030-01-01T00:00:00Z"),
        ]);
        for exp in ["1893456000", "1893456000.75", "1.893456e9"] {
            let claims = format!(r#"{{"iss":"https://id.example","exp":{exp},"aud":["a",{{}}]}}"#);
            assert_eq!(facts(&jwt(HEADER, &claims)), both, "{exp}");
        }
        let issuer = expected(&[("issuer", "x")]);
        for exp in [
            "null",
            "\"1893456000\"",
            "-1",
            "1e300",
            "18446744073709551615",
            "[1]",
            "true",
        ] {
            assert_eq!(
                facts(&jwt(HEADER, &format!(r#"{{"exp":{exp},"iss":"x"}}"#))),
                issuer,
                "{exp}"
            );
        }
    }

    #[test]
    fn a_malformed_jwt_is_an_opaque_token() {
        let claims = r#"{"iss":"x"}"#;
        for text in [
            jwt("{}", claims),
            jwt("[]", claims),
            jwt(HEADER, "[]"),
            jwt(HEADER, r#"{"iss":"x""#),
            jwt(
                HEADER,
                &format!(r#"{{"iss":"x","a":{}}}"#, "[".repeat(20_000)),
            ),
            format!("{}.x", jwt(HEADER, claims)),
            jwt(HEADER, claims).replacen('.', "=.", 1).replace('=', "+"),
        ] {
            assert!(facts(&text).is_empty());
        }
    }

    #[test]
    fn a_token_response_shows_its_token_type() {
        let token = jwt(HEADER, r#"{"iss":"https://id.example"}"#);
        let text = format!(
            " {{\"access_token\":1,\"token_type\":\"Bearer\",\"expires_in\":3600,\"x\":{{\"y\":[]}},\"access_token\":\"{token}\"}}\n"
        );
        assert_eq!(
            facts(&text),
            expected(&[("issuer", "https://id.example"), ("token_type", "Bearer")])
        );
        for token_type in ["3", "null", "{}", &format!("\"{}\"", "x".repeat(33))] {
            assert!(
                facts(&format!(
                    r#"{{"access_token":"a-token","token_type":{token_type}}}"#
                ))
                .is_empty()
            );
        }
        for text in [
            "{",
            "{}",
            r#"{"access_token":null}"#,
            r#"{"access_token":""}"#,
            r#"{"access_token":"a b"}"#,
            r#"{"access_token":["a"]}"#,
            r#"{"access_token":"a"} x"#,
            r#"{"access_token":"a","access_token":0}"#,
        ] {
            assert!(read(text, "value").is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_tokens_of_a_response_are_secret_on_their_own() {
        let text = r#"{"access_token":"first-token","refresh_token":"\u0073econd-token","token_type":"first-token"}"#;
        assert!(facts(text).is_empty());
        for token in ["first-token", "second-token"] {
            let reading = read(text, "value").unwrap();
            assert!(
                reading
                    .check_apart_from(&Default::default(), Some(token))
                    .is_err()
            );
        }
    }
}
