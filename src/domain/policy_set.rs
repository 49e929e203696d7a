//! Sets of Cedar policies, as they are kept: the texts, and who put them in force when. What the texts say is the
//! decision point's business.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    credential::Author,
    error::{Error, Result},
    event::Change,
    name::{MAX_TEXT_BYTES, check_text},
    time::Timestamp,
};

/// The largest set, all texts together, in bytes.
pub const MAX_SET_BYTES: usize = 256 * 1024;
/// The most texts in a set.
pub const MAX_SOURCES: usize = 100;
/// The longest name of a text, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// Where a set holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyScope {
    /// In every workspace.
    Organisation,
    /// In one.
    Workspace,
}

impl PolicyScope {
    /// The scope's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Organisation => "organisation",
            Self::Workspace => "workspace",
        }
    }

    /// Reads the spelling; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Organisation, Self::Workspace]
            .into_iter()
            .find(|scope| scope.as_str() == text)
    }
}

/// One text of policies, by the name of its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicySource {
    pub name: String,
    pub text: String,
}

/// A set that is or was in force. The one of the highest version is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPolicies {
    /// From 1, without a gap.
    pub version: u32,
    pub sources: Vec<PolicySource>,
    pub applied_at: Timestamp,
    pub applied_by: Author,
    pub comment: Option<String>,
    pub digest: [u8; 32],
    /// The version that this one brought back; 0 is the empty set that everything begins with.
    pub restores: Option<u32>,
}

/// Holds the names of texts, their number and a comment to their bounds. How large a set is and what it says is told
/// with the faults of its policies.
pub fn check_sources(sources: &[PolicySource], comment: Option<&str>) -> Result<()> {
    if let Some(comment) = comment {
        check_text(comment, "comment", MAX_TEXT_BYTES)?;
    }
    if sources.len() > MAX_SOURCES {
        let message = format!("`sources` must be {MAX_SOURCES} at most");
        return Err(Error::invalid("sources", message).with("limit", MAX_SOURCES as u64));
    }
    for (at, source) in sources.iter().enumerate() {
        let field = format!("sources[{at}].name");
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let stem = source.name.strip_suffix(".cedar").unwrap_or_default();
        let good = source.name.len() <= MAX_NAME_BYTES
            && stem.bytes().next().is_some_and(plain)
            && stem
                .bytes()
                .all(|b| plain(b) || matches!(b, b'.' | b'_' | b'-'));
        if !good {
            let message = format!(
                "`{field}` must match [a-z0-9][a-z0-9._-]*\\.cedar and be {MAX_NAME_BYTES} bytes at most"
            );
            return Err(Error::invalid(field, message));
        }
        if sources.iter().take(at).any(|one| one.name == source.name) {
            let message = format!("`{field}` is the name of another source as well");
            return Err(Error::invalid(field, message));
        }
    }
    Ok(())
}

/// SHA-256 over the names and texts in their order, each behind its length (4 bytes, BE).
pub fn digest(sources: &[PolicySource]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in sources
        .iter()
        .flat_map(|source| [&source.name, &source.text])
    {
        hash.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// What history tells of a set that takes the place of another: each text that is new, gone or other, by the digest of
/// what it says. The texts themselves stay readable, by the numbers of both versions.
pub fn changes(before: &[PolicySource], after: &[PolicySource]) -> Vec<Change> {
    let of = |set: &[PolicySource], name: &str| {
        let found = set.iter().find(|source| source.name == name);
        found.map(|source| describe_digest(&Sha256::digest(&source.text).into()))
    };
    let new = |source: &&PolicySource| before.iter().all(|one| one.name != source.name);
    let all = before.iter().chain(after.iter().filter(new));
    all.map(|PolicySource { name, .. }| Change {
        field: format!("source.{name}").into(),
        before: of(before, name).map(Into::into),
        after: of(after, name).map(Into::into),
    })
    .filter(|change| change.before != change.after)
    .collect()
}

/// A digest as people compare it: `sha256:…`.
pub fn describe_digest(digest: &[u8; 32]) -> String {
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(names: &[&str]) -> Vec<PolicySource> {
        let source = |name: &&str| PolicySource {
            name: (*name).to_owned(),
            text: String::new(),
        };
        names.iter().map(source).collect()
    }

    #[test]
    fn names_of_sources_are_those_of_files_and_unique() {
        assert!(check_sources(&sources(&["10-prod.cedar", "a.b_c.cedar"]), None).is_ok());
        for bad in [
            &["prod"][..],
            &[".cedar"],
            &["-a.cedar"],
            &["A.cedar"],
            &["a/b.cedar"],
            &["..cedar"],
            &["a.cedar", "a.cedar"],
        ] {
            assert!(check_sources(&sources(bad), None).is_err(), "{bad:?}");
        }
        let many: Vec<_> = (0..=MAX_SOURCES).map(|n| format!("{n}.cedar")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert!(check_sources(&sources(&many[1..]), None).is_ok());
        assert!(check_sources(&sources(&many), None).is_err());
    }

    #[test]
    fn a_change_tells_each_text_that_is_new_gone_or_other() {
        let set = |texts: &[(&str, &str)]| {
            let source = |(name, text): &(&str, &str)| PolicySource {
                name: (*name).to_owned(),
                text: (*text).to_owned(),
            };
            texts.iter().map(source).collect::<Vec<_>>()
        };
        let before = set(&[("a.cedar", "1"), ("b.cedar", "2"), ("c.cedar", "3")]);
        let after = set(&[("c.cedar", "33"), ("b.cedar", "2"), ("d.cedar", "4")]);
        let of = |text: &str| Some(describe_digest(&Sha256::digest(text).into()).into());
        let expected = [
            ("source.a.cedar", of("1"), None),
            ("source.c.cedar", of("3"), of("33")),
            ("source.d.cedar", None, of("4")),
        ];
        let told = changes(&before, &after).into_iter();
        let told: Vec<_> = told.map(|one| (one.field, one.before, one.after)).collect();
        let expected = expected.map(|(field, before, after)| (field.into(), before, after));
        assert_eq!(told, expected);
        assert_eq!(changes(&after, &after), []);
    }

    #[test]
    fn a_digest_tells_where_a_text_begins() {
        let one = [PolicySource {
            name: "a.cedar".to_owned(),
            text: "bc".to_owned(),
        }];
        let other = [PolicySource {
            name: "a.cedarb".to_owned(),
            text: "c".to_owned(),
        }];
        assert_ne!(digest(&one), digest(&other));
        assert!(describe_digest(&digest(&one)).starts_with("sha256:"));
    }
}
