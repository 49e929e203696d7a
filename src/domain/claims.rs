//! Claims of a proven assertion, and how they are found, matched and read.

use serde_json::{Map, Value};

use super::{error::Result, issuer::mismatch, time::Timestamp};

/// What an assertion says.
pub type Claims = Map<String, Value>;

/// A claim by its name, or by a JSON pointer (RFC 6901) where it begins with `/`.
pub(super) fn claim<'a>(claims: &'a Claims, name: &str) -> Option<&'a Value> {
    let Some(pointer) = name.strip_prefix('/') else {
        return claims.get(name);
    };
    let mut steps = pointer
        .split('/')
        .map(|step| step.replace("~1", "/").replace("~0", "~"));
    let first = claims.get(&steps.next()?)?;
    steps.try_fold(first, |value, step| match value {
        Value::Object(fields) => fields.get(&step),
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

/// A scalar claim as text.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether a claim, or one of a list, matches one of the patterns.
pub(super) fn matches(value: &Value, patterns: &[String]) -> bool {
    match value {
        Value::Array(items) => items
            .iter()
            .filter_map(text)
            .any(|text| patterns.iter().any(|pattern| glob(pattern, &text))),
        value => {
            text(value).is_some_and(|text| patterns.iter().any(|pattern| glob(pattern, &text)))
        }
    }
}

/// `*` stands for any text, the empty one and one with separators included; everything else for itself.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

/// An instant of a claim: seconds since the Unix epoch, maybe with a fraction.
pub(super) fn instant(claims: &Claims, name: &str) -> Result<Option<Timestamp>> {
    let seconds = match claims.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value.as_f64().filter(|seconds| *seconds >= 0.0),
    };
    let seconds = seconds.ok_or_else(|| mismatch(name))?;
    // A float saturates as it becomes an integer, and an instant in the year 9999.
    Ok(Some(Timestamp::from_millis((seconds * 1000.0) as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_as_a_whole() {
        for (pattern, text) in [
            ("a", "a"),
            ("*", ""),
            ("a*", "a"),
            ("a*c", "abc"),
            ("a*c", "ac"),
            ("*c", "a/b:c"),
            (
                "repo:acme/*:ref:refs/heads/main",
                "repo:acme/app:ref:refs/heads/main",
            ),
            ("a*b*c", "aXbbYc"),
            ("a**b", "ab"),
        ] {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("a", "ab"),
            ("a", "A"),
            ("", "a"),
            ("a*a", "a"),
            ("ab*ba", "aba"),
            ("*b*b", "b"),
            ("acme/*", "acme"),
            ("a.c", "abc"),
            ("a?c", "abc"),
        ] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }
}
