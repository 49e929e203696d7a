//! Patterns of identities, as `allowed_identities` of a lease policy names them.

use super::{
    error::{Error, Result},
    name::MAX_NAME_BYTES,
    principal::IdentityType,
};

/// The most patterns in one policy.
pub const MAX_PATTERNS: usize = 64;

/// A name of identities, in which each `*` stands for any characters, of one type or of any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdentityPattern<'a> {
    pub kind: Option<IdentityType>,
    pub name: &'a str,
}

impl<'a> IdentityPattern<'a> {
    /// Reads `name`, `ci-*` or `agent/ci-*`; `None` for anything else.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (kind, name) = match text.split_once('/') {
            Some((kind, name)) => (Some(IdentityType::parse(kind)?), name),
            None => (None, text),
        };
        let part = |b: u8| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-' | b'*')
        };
        let head = name
            .bytes()
            .next()
            .filter(|b| !matches!(b, b'.' | b'_' | b'-'));
        let good = head.is_some() && name.len() <= MAX_NAME_BYTES && name.bytes().all(part);
        good.then_some(Self { kind, name })
    }
}

/// Holds a list of patterns to its bounds. An empty one would admit nobody, and is refused rather than guessed at.
pub fn check(patterns: &[String], field: &str) -> Result<()> {
    if patterns.is_empty() {
        let why =
            format!("`{field}` must name at least one identity; leave it out to admit every one");
        return Err(Error::invalid(field, why));
    }
    if patterns.len() > MAX_PATTERNS {
        let why = format!("`{field}` has more than {MAX_PATTERNS} entries");
        return Err(Error::invalid(field, why).with("limit", MAX_PATTERNS as u64));
    }
    match patterns
        .iter()
        .position(|text| IdentityPattern::parse(text).is_none())
    {
        None => Ok(()),
        Some(at) => Err(Error::invalid(
            format!("{field}[{at}]"),
            format!(
                "`{field}[{at}]` is not a name of identities such as `claude-code`, `ci-*` or `agent/ci-*`"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_with_stars_and_maybe_a_type() {
        for (text, kind) in [
            ("claude-code", None),
            ("ci-*", None),
            ("*", None),
            ("agent/ci-*", Some(IdentityType::Agent)),
            ("human/*", Some(IdentityType::Human)),
        ] {
            assert_eq!(IdentityPattern::parse(text).unwrap().kind, kind, "{text}");
        }
        for text in [
            "", "agent/", "/x", "robot/x", "a/b/c", "CI", "ci ", "\"", "a\\*", "-x", "é",
            "agent/-x", "Agent/x",
        ] {
            assert_eq!(IdentityPattern::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_list_is_bounded_and_names_somebody() {
        let list = |n: usize| vec!["a".to_owned(); n];
        assert!(check(&list(0), "f").is_err());
        assert!(check(&list(MAX_PATTERNS), "f").is_ok());
        assert!(check(&list(MAX_PATTERNS + 1), "f").is_err());
        let error = check(&["a".into(), "B".into()], "policy.allowed_identities").unwrap_err();
        assert!(
            error
                .message()
                .starts_with("`policy.allowed_identities[1]` is not"),
            "{error}"
        );
    }
}
