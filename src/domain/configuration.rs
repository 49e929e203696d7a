//! What the operator decided, as history tells of it: no secret is in it, only where the vault finds them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::Change;

/// The effective configuration of a start, by key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration(pub BTreeMap<String, String>);

impl Configuration {
    /// What differs in `after`, by key.
    pub fn changes(&self, after: &Self) -> Vec<Change> {
        let keys = self
            .0
            .keys()
            .chain(after.0.keys().filter(|key| !self.0.contains_key(*key)));
        let changes = keys.map(|key| Change {
            field: key.into(),
            before: self.0.get(key).map(Into::into),
            after: after.0.get(key).map(Into::into),
        });
        changes
            .filter(|change| change.before != change.after)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_gone_or_other_is_a_change() {
        let of = |pairs: &[(&str, &str)]| {
            let owned = pairs
                .iter()
                .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()));
            Configuration(owned.collect())
        };
        let before = of(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let after = of(&[("b", "2"), ("c", "4"), ("d", "5")]);
        let changes = before.changes(&after);
        let told: Vec<_> = changes
            .iter()
            .map(|one| {
                (
                    one.field.as_str(),
                    one.before.as_deref(),
                    one.after.as_deref(),
                )
            })
            .collect();
        let expected = [
            ("a", Some("1"), None),
            ("c", Some("3"), Some("4")),
            ("d", None, Some("5")),
        ];
        assert_eq!(told, expected);
        assert!(after.changes(&after).is_empty());
    }
}
