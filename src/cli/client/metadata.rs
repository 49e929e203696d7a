//! Metadata and labels on the command line: `--metadata key=value`, each key once.

use std::collections::BTreeMap;

use super::failure::Failure;

/// One `key=value`. The value may hold `=` and may be empty; the key may not.
pub(super) fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// The pairs as they are sent; none where none were given.
pub(super) fn pairs(
    given: &[(String, String)],
) -> Result<Option<BTreeMap<&str, Option<&str>>>, Failure> {
    patch(given, &[])
}

/// The pairs as a merge patch, in which null removes a key.
pub(super) fn patch<'a>(
    set: &'a [(String, String)],
    remove: &'a [String],
) -> Result<Option<BTreeMap<&'a str, Option<&'a str>>>, Failure> {
    let mut patch = BTreeMap::new();
    let set = set
        .iter()
        .map(|(key, value)| (key.as_str(), Some(value.as_str())));
    for (key, value) in set.chain(remove.iter().map(|key| (key.as_str(), None))) {
        if patch.insert(key, value).is_some() {
            return Err(Failure::Usage(format!("the key `{key}` is given twice")));
        }
    }
    Ok((!patch.is_empty()).then_some(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_equals_sign_divides() {
        assert_eq!(parse_pair("a=b=c").unwrap(), ("a".into(), "b=c".into()));
        assert_eq!(parse_pair("a=").unwrap(), ("a".into(), String::new()));
        assert!(parse_pair("a").is_err() && parse_pair("=b").is_err());
    }

    #[test]
    fn a_key_is_set_or_removed_but_once() {
        let set = [("a".to_owned(), "1".to_owned())];
        let (a, b) = (["a".to_owned()], ["b".to_owned()]);
        assert!(pairs(&[]).unwrap().is_none());
        let patched = patch(&set, &b).unwrap().unwrap();
        assert_eq!(
            serde_json::json!(patched),
            serde_json::json!({ "a": "1", "b": null })
        );
        assert!(patch(&set, &a).is_err());
        assert!(pairs(&[set[0].clone(), set[0].clone()]).is_err());
    }
}
