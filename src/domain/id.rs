//! Identifiers: one type each, UUIDv7 underneath (time-ordered, so that history is a key range), with a
//! prefix in text (`lse_…`) that tells what it names. Ids are not secrets.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::time::Timestamp;

/// Randomness that an id takes beside its time, in bytes.
pub const ID_ENTROPY: usize = 10;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The text form's prefix.
            pub const PREFIX: &str = $prefix;

            /// An id made at `now` from fresh randomness.
            pub fn new(now: Timestamp, entropy: &[u8; ID_ENTROPY]) -> Self {
                Self(*uuid::Builder::from_unix_timestamp_millis(now.as_millis(), entropy).into_uuid().as_bytes())
            }

            /// The id with these bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes, whose order is the order of creation.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// Appends the text form without its prefix.
            pub fn push_hex(&self, text: &mut String) {
                let mut hex = [0u8; 32];
                text.push_str(uuid::Uuid::from_bytes(self.0).simple().encode_lower(&mut hex));
            }

            /// Reads the text form; `None` for anything else.
            pub fn parse(text: &str) -> Option<Self> {
                let hex = text.strip_prefix($prefix)?;
                // `uuid` also reads hyphens, braces and capitals: one id has one spelling here.
                if hex.len() != 32 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    return None;
                }
                uuid::Uuid::try_parse(hex).ok().map(|id| Self(*id.as_bytes()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut hex = [0u8; 32];
                let hex: &str = uuid::Uuid::from_bytes(self.0).simple().encode_lower(&mut hex);
                f.write_str($prefix)?;
                f.write_str(hex)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                    Self::parse(&text).ok_or_else(|| de::Error::custom(concat!("not a `", $prefix, "…` id")))
                } else {
                    <[u8; 16]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

id!(
    /// A workspace, the unit of isolation.
    WorkspaceId, "wsp_");
id!(
    /// A named agent, human or service.
    IdentityId, "idn_");
id!(
    /// An inbound API key.
    KeyId, "key_");
id!(
    /// A stored credential.
    CredentialId, "crd_");
id!(
    /// A lease.
    LeaseId, "lse_");
id!(
    /// An access token, which it names in `jti`.
    TokenId, "tok_");
id!(
    /// A registered issuer of federated identities.
    IssuerId, "iss_");
id!(
    /// An audit record.
    EventId, "evt_");

impl WorkspaceId {
    /// The vault itself: identities and keys of the whole organisation, and the audit records that belong to
    /// no workspace. No credential lives there.
    pub const SYSTEM: Self = Self([0; 16]);
}

/// Whether a text is an id of any type.
pub fn is_id(text: &str) -> bool {
    WorkspaceId::parse(text).is_some()
        || IdentityId::parse(text).is_some()
        || KeyId::parse(text).is_some()
        || CredentialId::parse(text).is_some()
        || LeaseId::parse(text).is_some()
        || TokenId::parse(text).is_some()
        || IssuerId::parse(text).is_some()
        || EventId::parse(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_has_one_spelling() {
        let id = LeaseId::new(Timestamp::from_millis(1_700_000_000_000), &[7; ID_ENTROPY]);
        let text = id.to_string();
        assert!(text.starts_with("lse_") && text.len() == 36);
        assert_eq!(LeaseId::parse(&text), Some(id));
        assert_eq!(LeaseId::parse(&text.to_uppercase()), None);
        assert_eq!(LeaseId::parse(&text.replace("lse_", "key_")), None);
        assert_eq!(LeaseId::parse(&text[..35]), None);
        assert_eq!(
            LeaseId::parse("lse_{0000000-0000-0000-0000-00000000}"),
            None
        );
    }

    #[test]
    fn an_id_is_read_from_json_however_that_holds_its_text() {
        let id = KeyId::from_bytes([7; 16]);
        let escaped = serde_json::to_string(&id).unwrap().replace('k', "\\u006b");
        assert_eq!(serde_json::from_str::<KeyId>(&escaped).unwrap(), id);
        let value = serde_json::to_value(id).unwrap();
        assert_eq!(serde_json::from_value::<KeyId>(value).unwrap(), id);
    }

    #[test]
    fn later_ids_sort_later() {
        let early = LeaseId::new(Timestamp::from_millis(1_000), &[0xff; ID_ENTROPY]);
        let late = LeaseId::new(Timestamp::from_millis(1_001), &[0; ID_ENTROPY]);
        assert!(early < late);
    }
}
