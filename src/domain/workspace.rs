//! Workspaces: the unit of isolation, what it sets for all that is in it, and how all of it is stopped at once.

use serde::{Deserialize, Serialize};

use super::{
    credential::Author,
    error::{Error, Result},
    event::Change,
    id::WorkspaceId,
    name::WorkspaceName,
    policy::{LONGEST_LEASE, Terms, WORKSPACE_DEFAULT_TTL, WORKSPACE_MAX_TTL},
    principal::ProofId,
    time::{Timestamp, Ttl},
};

/// API keys that a workspace may have where it does not say otherwise.
pub const DEFAULT_MAX_API_KEYS: u32 = 1_000;
/// The most API keys that a workspace may allow itself.
pub const MAX_API_KEYS: u32 = 1_000_000;

/// A tenant of the vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workspace {
    pub id: WorkspaceId,
    pub name: WorkspaceName,
    pub description: Option<String>,
    pub settings: Settings,
    pub created_at: Timestamp,
    /// None where the vault itself made it.
    pub created_by: Option<Author>,
    pub updated_at: Timestamp,
    pub stop: Option<Stop>,
}

/// What a workspace sets for all that is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The TTL of a lease where neither the request nor a policy names one.
    pub default_lease_ttl: Ttl,
    /// The ceiling on every lease's lifetime, renewals included.
    pub max_lease_ttl: Ttl,
    pub max_api_keys: u32,
}

/// A merge patch of settings (RFC 7396): absent keeps, none falls back to the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct SettingsPatch {
    pub default_lease_ttl: Option<Option<Ttl>>,
    pub max_lease_ttl: Option<Option<Ttl>>,
    pub max_api_keys: Option<Option<u32>>,
}

/// Every key and token that was made until an instant is stopped for good, but those of whoever stopped the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredStop", into = "StoredStop")]
pub struct Stop {
    /// The last instant whose keys and tokens are stopped.
    pub until: Timestamp,
    /// The proof of whoever stopped the others, and what it descends from.
    pub spared: [ProofId; 2],
    /// Whether leases may still be open that belong to what was stopped.
    pub unfinished: bool,
    pub everywhere: Everywhere,
}

/// What a stop does to the workspace's keys and tokens that reach every workspace. INVARIANT (no-escalation): they are
/// stopped by callers that reach every workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Everywhere {
    /// It covers them like all others.
    Covered,
    /// It leaves them as they were: stopped by an earlier stop, or by none.
    Left(Option<EarlierStop>),
}

/// A stop that covered everything, and that another has taken the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierStop {
    until: Timestamp,
    spared: [ProofId; 2],
}

impl Stop {
    /// Whether this stopped a key or token that was made at `created_at`, and that reaches every workspace or does not.
    pub fn covers(&self, proof: ProofId, everywhere: bool, created_at: Timestamp) -> bool {
        let (until, spared) = match (everywhere, self.everywhere) {
            (true, Everywhere::Left(None)) => return false,
            (true, Everywhere::Left(Some(earlier))) => (earlier.until, earlier.spared),
            (false, _) | (true, Everywhere::Covered) => (self.until, self.spared),
        };
        created_at <= until && !spared.contains(&proof)
    }

    /// What is left of this for what reaches every workspace, once a stop that leaves that takes its place.
    pub fn earlier(&self) -> Option<EarlierStop> {
        match self.everywhere {
            Everywhere::Covered => Some(EarlierStop {
                until: self.until,
                spared: self.spared,
            }),
            Everywhere::Left(earlier) => earlier,
        }
    }
}

/// A stop as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredStop {
    until: Timestamp,
    spared: [ProofId; 2],
    rest: Rest,
}

/// The first two are stored as `false` and `true` were, when there was nothing but `unfinished` to tell.
#[derive(Serialize, Deserialize)]
enum Rest {
    Finished,
    Unfinished,
    FinishedLeaving(Option<EarlierStop>),
    UnfinishedLeaving(Option<EarlierStop>),
}

impl From<Stop> for StoredStop {
    fn from(stop: Stop) -> Self {
        Self {
            until: stop.until,
            spared: stop.spared,
            rest: match (stop.everywhere, stop.unfinished) {
                (Everywhere::Covered, false) => Rest::Finished,
                (Everywhere::Covered, true) => Rest::Unfinished,
                (Everywhere::Left(earlier), false) => Rest::FinishedLeaving(earlier),
                (Everywhere::Left(earlier), true) => Rest::UnfinishedLeaving(earlier),
            },
        }
    }
}

impl From<StoredStop> for Stop {
    fn from(stored: StoredStop) -> Self {
        let (everywhere, unfinished) = match stored.rest {
            Rest::Finished => (Everywhere::Covered, false),
            Rest::Unfinished => (Everywhere::Covered, true),
            Rest::FinishedLeaving(earlier) => (Everywhere::Left(earlier), false),
            Rest::UnfinishedLeaving(earlier) => (Everywhere::Left(earlier), true),
        };
        Self {
            until: stored.until,
            spared: stored.spared,
            unfinished,
            everywhere,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_lease_ttl: WORKSPACE_DEFAULT_TTL,
            max_lease_ttl: WORKSPACE_MAX_TTL,
            max_api_keys: DEFAULT_MAX_API_KEYS,
        }
    }
}

impl Settings {
    /// The settings after a merge patch, held to their bounds.
    pub fn patched(&self, patch: SettingsPatch) -> Result<Self> {
        let default = Self::default();
        let settings = Self {
            default_lease_ttl: patch
                .default_lease_ttl
                .map_or(self.default_lease_ttl, |ttl| {
                    ttl.unwrap_or(default.default_lease_ttl)
                }),
            max_lease_ttl: patch.max_lease_ttl.map_or(self.max_lease_ttl, |ttl| {
                ttl.unwrap_or(default.max_lease_ttl)
            }),
            max_api_keys: patch
                .max_api_keys
                .map_or(self.max_api_keys, |max| max.unwrap_or(default.max_api_keys)),
        };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<()> {
        if self.max_lease_ttl > LONGEST_LEASE {
            return Err(Error::invalid(
                "settings.max_lease_ttl",
                format!("`settings.max_lease_ttl` is longer than {LONGEST_LEASE}"),
            )
            .with("limit", LONGEST_LEASE.to_string()));
        }
        if self.default_lease_ttl > self.max_lease_ttl {
            return Err(Error::invalid(
                "settings.default_lease_ttl",
                "`settings.default_lease_ttl` is longer than `settings.max_lease_ttl`",
            ));
        }
        if self.max_api_keys > MAX_API_KEYS {
            return Err(Error::invalid(
                "settings.max_api_keys",
                format!("`settings.max_api_keys` must be at most {MAX_API_KEYS}"),
            )
            .with("limit", u64::from(MAX_API_KEYS)));
        }
        Ok(())
    }

    /// The terms on which every policy of the workspace builds.
    pub fn terms(&self) -> Terms {
        Terms {
            default_lease_ttl: self.default_lease_ttl,
            max_lease_ttl: self.max_lease_ttl,
            ..Terms::default()
        }
    }

    /// What differs in `after`, for a record of what changed.
    pub fn changes(&self, after: &Self) -> Vec<Change> {
        let fields = |settings: &Self| {
            [
                (
                    "settings.default_lease_ttl",
                    settings.default_lease_ttl.to_string(),
                ),
                ("settings.max_lease_ttl", settings.max_lease_ttl.to_string()),
                ("settings.max_api_keys", settings.max_api_keys.to_string()),
            ]
        };
        fields(self)
            .into_iter()
            .zip(fields(after))
            .filter(|((_, before), (_, after))| before != after)
            .map(|((field, before), (_, after))| Change {
                field: field.into(),
                before: Some(before.into()),
                after: Some(after.into()),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{KeyId, TokenId};

    #[test]
    fn a_stop_covers_what_was_made_until_it_but_the_proof_it_spares() {
        let spared = ProofId::Token(TokenId::from_bytes([2; 16]));
        let root = ProofId::Key(KeyId::from_bytes([1; 16]));
        let stop = Stop {
            until: Timestamp::from_millis(100),
            spared: [spared, root],
            unfinished: false,
            everywhere: Everywhere::Covered,
        };
        let at = Timestamp::from_millis;
        let other = ProofId::Token(TokenId::from_bytes([1; 16]));
        for everywhere in [false, true] {
            let covers = |proof, millis| stop.covers(proof, everywhere, at(millis));
            assert!(covers(other, 99) && covers(other, 100));
            assert!(!covers(other, 101));
            assert!(!covers(spared, 1) && !covers(root, 1));
        }
        // One that leaves what reaches every workspace brings nothing of it back, and ends nothing of it.
        let mine = ProofId::Key(KeyId::from_bytes([3; 16]));
        let leaving = |before: Option<Stop>| Stop {
            until: at(200),
            spared: [mine, mine],
            unfinished: true,
            everywhere: Everywhere::Left(before.and_then(|before| before.earlier())),
        };
        let second = leaving(Some(stop));
        let third = leaving(Some(second));
        for later in [second, third] {
            assert!(later.covers(other, true, at(100)) && !later.covers(other, true, at(101)));
            assert!(!later.covers(spared, true, at(1)) && !later.covers(root, true, at(1)));
            assert!(later.covers(spared, false, at(1)) && later.covers(other, false, at(200)));
            assert!(!later.covers(mine, false, at(1)));
        }
        assert!(!leaving(None).covers(other, true, at(1)));
    }

    #[test]
    fn a_stop_of_everything_is_stored_as_it_was_before_there_were_others() {
        let spared = [ProofId::Key(KeyId::from_bytes([1; 16])); 2];
        let until = Timestamp::from_millis(100);
        for unfinished in [false, true] {
            let before = postcard::to_stdvec(&(until, spared, unfinished)).unwrap();
            let everything = Stop {
                until,
                spared,
                unfinished,
                everywhere: Everywhere::Covered,
            };
            for everywhere in [
                Everywhere::Covered,
                Everywhere::Left(None),
                Everywhere::Left(everything.earlier()),
            ] {
                let stop = Stop {
                    everywhere,
                    ..everything
                };
                let stored = postcard::to_stdvec(&stop).unwrap();
                assert_eq!(postcard::from_bytes::<Stop>(&stored).unwrap(), stop);
                assert_eq!(stored == before, everywhere == Everywhere::Covered);
            }
        }
    }

    #[test]
    fn settings_are_held_to_their_bounds_and_null_is_the_default() {
        let hour = Ttl::from_secs(3600);
        let patch = |default, max, keys| SettingsPatch {
            default_lease_ttl: default,
            max_lease_ttl: max,
            max_api_keys: keys,
        };
        let set = Settings::default()
            .patched(patch(
                Some(Some(hour)),
                Some(Some(Ttl::from_secs(7200))),
                Some(Some(0)),
            ))
            .unwrap();
        assert_eq!(
            (set.default_lease_ttl, set.max_api_keys),
            (hour, 0),
            "a workspace may allow no key at all"
        );
        assert_eq!(set.terms().max_lease_ttl, Ttl::from_secs(7200));
        let reset = set.patched(patch(Some(None), Some(None), Some(None)));
        assert_eq!(reset.unwrap(), Settings::default());
        let over = Ttl::from_secs(LONGEST_LEASE.span().as_millis() / 1000 + 1);
        for bad in [
            patch(Some(Some(Ttl::from_secs(7201))), None, None),
            patch(None, Some(Some(over)), None),
            patch(None, None, Some(Some(MAX_API_KEYS + 1))),
        ] {
            assert!(set.patched(bad).is_err(), "{bad:?}");
        }
    }
}
