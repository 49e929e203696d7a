//! Connection URLs, with the password in the user information or, as some drivers allow, in the query.
//!
//! A URL whose user information isn't percent-encoded can parse with a piece of the password as its host, its
//! port or its path. Such a URL is refused, so that no fact can be a piece of a password.

use url::Url;
use zeroize::Zeroizing;

use super::{
    decode,
    reading::{Reading, Secret},
    refuse,
};
use crate::domain::error::Result;

/// The query parameters in which drivers take a password.
const SECRET_PARAMETERS: [&str; 6] = [
    "password",
    "pass",
    "pwd",
    "sslpassword",
    "token",
    "authtoken",
];

/// Reads a URL with a scheme and a host.
pub(super) fn read<'v>(text: &'v str, field: &'static str) -> Result<Reading<'v>> {
    if text.trim() != text || text.chars().any(char::is_control) {
        // The URL parser would pass over these, and a driver would not.
        return Err(refuse(
            field,
            "must be a URL without control characters or space around it",
        ));
    }
    let expected = || {
        refuse(
            field,
            "must be a database URL with a scheme and a host, such as `postgres://user@host/name`",
        )
    };
    let (_, rest) = text.split_once("://").ok_or_else(expected)?;
    let authority_end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at_checked(authority_end).ok_or_else(expected)?;
    if tail.contains('@') {
        return Err(refuse(
            field,
            "must have no `@` after its host; percent-encode `@`, `/`, `?`, `#` and `\\` in user name, password and parameters",
        ));
    }
    let url = Url::parse(text).map_err(|_| expected())?;

    let mut reading = Reading::of(text);
    add_secrets(&mut reading, &url, authority);
    let host = url.host_str().unwrap_or_default().to_owned();
    reading.fact("scheme", url.scheme());
    reading.fact("host", host.as_str());
    if let Some(port) = url.port() {
        reading.fact("port", port.to_string());
    }
    let database = url.path().strip_prefix('/').unwrap_or_default();
    for (name, encoded) in [("database", database), ("username", url.username())] {
        let decoded = decode::percent(encoded);
        reading.fact(name, decoded.as_ref().map_or(encoded, |text| text.as_str()));
    }
    // The parsed URL is a copy of the value that would not wipe itself.
    drop(Zeroizing::new(String::from(url)));
    if host.is_empty() {
        return Err(expected());
    }
    Ok(reading)
}

/// Adds the password in each of its spellings: as written, as the URL standard writes it, and decoded.
fn add_secrets<'v>(reading: &mut Reading<'v>, url: &Url, authority: &'v str) {
    let written = authority
        .rsplit_once('@')
        .and_then(|(user, _)| user.split_once(':'));
    if let Some((_, password)) = written {
        reading.secret(Secret::Slice(password));
    }
    let parameters = url
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='));
    let in_query = parameters
        .filter(|(name, _)| {
            SECRET_PARAMETERS
                .iter()
                .any(|secret| secret.eq_ignore_ascii_case(name))
        })
        .map(|(_, value)| value);
    for password in url.password().into_iter().chain(in_query) {
        reading.secret(Secret::Copy(Zeroizing::new(password.to_owned())));
        if let Some(decoded) = decode::percent(password) {
            reading.secret(Secret::Copy(decoded));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Facts, *};

    fn facts(text: &str) -> Facts {
        read(text, "value").unwrap().into_facts()
    }

    fn expected(pairs: &[(&str, &str)]) -> Facts {
        pairs
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect()
    }

    #[test]
    fn a_url_shows_everything_but_its_password_and_query() {
        assert_eq!(
            facts(
                "postgres://app%40eu:hunter2%21@db.example:5432/main?sslmode=require&password=other"
            ),
            expected(&[
                ("scheme", "postgres"),
                ("host", "db.example"),
                ("port", "5432"),
                ("database", "main"),
                ("username", "app@eu"),
            ])
        );
        for (text, host) in [
            ("redis://:hunter2@10.0.0.1", "10.0.0.1"),
            ("mysql://[2001:db8::1]", "[2001:db8::1]"),
            (
                "mongodb+srv://cluster.example/?w=majority",
                "cluster.example",
            ),
            ("mongodb://a.example,b.example/", "a.example,b.example"),
        ] {
            let facts = facts(text);
            assert_eq!(facts["host"], host);
            assert_eq!(facts.len(), 2, "{facts:?}");
        }
    }

    #[test]
    fn a_fact_that_holds_the_password_is_dropped() {
        let facts = facts("postgres://admin:admin@db.example/admin_db");
        assert_eq!(
            facts,
            expected(&[("scheme", "postgres"), ("host", "db.example")])
        );
    }

    #[test]
    fn each_spelling_of_the_password_is_secret() {
        let text = "postgres://u:p%40ss%C3%A4\"wörd@h/d?sslPassword=key%2Fpass%2Fword";
        for spelling in [
            "p%40ss%C3%A4\"wörd",
            "p%40ss%C3%A4%22w%C3%B6rd",
            "p@ssä\"wörd",
            "key/pass/word",
            text,
        ] {
            let reading = read(text, "value").unwrap();
            assert!(
                reading
                    .check_apart_from(&Default::default(), Some(spelling))
                    .is_err(),
                "{spelling}"
            );
        }
    }

    #[test]
    fn what_has_no_scheme_or_host_is_refused() {
        for text in [
            "db.example:5432/main",
            "postgres:main",
            "postgres:///main",
            "postgres://",
            "postgres://user:word@/main",
            "jdbc:postgresql://db.example/main",
            "://db.example",
            "user:word@tcp(db.example:3306)/main",
            "postgres://db.example:port/main",
            "postgres://db.example:70000/main",
            "http://[::1",
            "postgres://db.example/main\n",
            " postgres://db.example/main",
            "postgres://u:wo\trd@db.example/main",
        ] {
            assert!(read(text, "value").is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_password_that_is_not_encoded_never_becomes_a_fact() {
        for text in [
            "postgres://user:12/word@db.example/main",
            "postgres://user:12?word@db.example/main",
            "postgres://user:12#word@db.example/main",
            "http://user:12\\word@db.example/main",
            "postgres://user:wo@rd/x@db.example/main",
            "http:////user:word@db.example/main",
        ] {
            assert!(read(text, "value").is_err(), "{text:?}");
        }
        // An `@` alone is not ambiguous: the last one ends the user information.
        assert_eq!(
            facts("postgres://user:wo@rd@db.example/main")["host"],
            "db.example"
        );
    }
}
