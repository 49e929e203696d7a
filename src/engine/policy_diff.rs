//! How a set of policies differs from the one in force, text by text.

use similar::{Algorithm, TextDiff};

use super::{
    Call, Engine,
    policies::{home, resource},
};
use crate::{
    authz::Action,
    domain::{
        error::{Error, Result},
        policy_set::{self, PolicyScope, PolicySource},
    },
};

/// Unchanged lines around a change.
const CONTEXT: usize = 3;
/// How long a text may be compared; what is left is told as replaced.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// What became of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceChange {
    Added,
    Removed,
    Changed,
    Same,
}

impl SourceChange {
    /// The change's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
            Self::Same => "same",
        }
    }
}

/// How one text differs.
pub struct SourceDiff {
    pub name: String,
    pub change: SourceChange,
    /// A unified diff; empty where the texts are the same.
    pub diff: String,
}

/// How a set differs from the one in force.
pub struct PolicyDiff {
    pub scope: PolicyScope,
    /// The version in force; 0 where none ever was.
    pub version: u32,
    /// Every text of either set, by name.
    pub sources: Vec<SourceDiff>,
}

impl Engine {
    /// Compares a set with the one in force. Neither has to be valid.
    pub async fn diff_policies(
        &self,
        call: &Call,
        scope: PolicyScope,
        sources: Vec<PolicySource>,
    ) -> Result<PolicyDiff> {
        self.authorize(call, Action::PolicyRead, resource(scope))
            .await?;
        policy_set::check_sources(&sources, None)?;
        let tables = self.tables(home(&call.principal, scope))?;
        let stored = tables.newest_policy_set(&mut self.read()).await?;
        let version = stored.as_ref().map_or(0, |stored| stored.version);
        let before = stored.map(|stored| stored.sources).unwrap_or_default();
        let sources = tokio::task::spawn_blocking(move || compare(&before, &sources))
            .await
            .map_err(Error::internal)?;
        Ok(PolicyDiff {
            scope,
            version,
            sources,
        })
    }
}

fn compare(before: &[PolicySource], after: &[PolicySource]) -> Vec<SourceDiff> {
    let text = |set: &[PolicySource], name: &str| {
        let found = set.iter().find(|source| source.name == name);
        found.map(|source| source.text.clone())
    };
    let mut names: Vec<_> = before
        .iter()
        .chain(after)
        .map(|source| source.name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|name| one(name, text(before, name), text(after, name)))
        .collect()
}

fn one(name: &str, before: Option<String>, after: Option<String>) -> SourceDiff {
    let change = match (&before, &after) {
        (None, _) => SourceChange::Added,
        (_, None) => SourceChange::Removed,
        (Some(before), Some(after)) if before == after => SourceChange::Same,
        _ => SourceChange::Changed,
    };
    let headed = |side: &str, there: bool| match there {
        true => format!("{side}/{name}"),
        false => "/dev/null".to_owned(),
    };
    let (from, to) = (headed("a", before.is_some()), headed("b", after.is_some()));
    let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
    let diff = match change {
        SourceChange::Same => String::new(),
        _ => TextDiff::configure()
            .algorithm(Algorithm::Myers)
            .timeout(PATIENCE)
            .diff_lines(&before, &after)
            .unified_diff()
            .context_radius(CONTEXT)
            .header(&from, &to)
            .to_string(),
    };
    SourceDiff {
        name: name.to_owned(),
        change,
        diff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_of_either_set_is_told_of_once() {
        let source = |name: &str, text: &str| PolicySource {
            name: name.to_owned(),
            text: text.to_owned(),
        };
        let before = [
            source("b", "1\n2\n3\n"),
            source("a", "x\n"),
            source("d", "d\n"),
        ];
        let after = [
            source("c", "new\n"),
            source("b", "1\nII\n3\n"),
            source("d", "d\n"),
        ];
        let told: Vec<_> = compare(&before, &after)
            .into_iter()
            .map(|one| (one.name, one.change.as_str(), one.diff))
            .collect();
        let expected = [
            (
                "a",
                "removed",
                "--- a/a\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n",
            ),
            (
                "b",
                "changed",
                "--- a/b\n+++ b/b\n@@ -1,3 +1,3 @@\n 1\n-2\n+II\n 3\n",
            ),
            (
                "c",
                "added",
                "--- /dev/null\n+++ b/c\n@@ -0,0 +1 @@\n+new\n",
            ),
            ("d", "same", ""),
        ];
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, change, diff)| ((*name).to_owned(), *change, (*diff).to_owned()))
            .collect();
        assert_eq!(told, expected);
    }
}
