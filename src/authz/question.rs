//! What a decision is asked, and the facts it may look at. Facts of a value are few and made here, so that no policy
//! ever sees more of it.

use std::{collections::HashMap, net::IpAddr};

use super::{Action, Allowed, Resource};
use crate::domain::{
    kind::CredentialType,
    lease::{Holder, Lease},
    name::{IdentityName, Metadata},
    policy::Delivery,
    principal::{IdentityType, Principal},
    secret::SecretText,
    time::{Span, Timestamp},
};

/// The most characters of a value that a policy may know, and the part of it that they never exceed.
const PREFIX_CHARS: usize = 8;
const PREFIX_PART: usize = 4;

/// May this caller do this to that, as things are?
pub struct Question<'a> {
    pub principal: &'a Principal,
    pub action: Action,
    pub resource: Resource,
    pub now: Timestamp,
    pub source_ip: Option<IpAddr>,
    pub facts: Facts<'a>,
}

/// What policies may look at beside who, what and when. A policy that needs a fact which is not given errors, and so
/// denies.
#[derive(Default, Clone, Copy)]
pub struct Facts<'a> {
    /// The credential that the resource is or belongs to; none where it is gone.
    pub credential: Option<CredentialFacts<'a>>,
    pub lease: Option<LeaseFacts<'a>>,
    pub terms: Option<TermsFacts>,
    pub value: Option<&'a ValueFacts<'a>>,
    /// Whom the credential's own policy admits.
    pub allowed: Option<&'a Allowed>,
}

#[derive(Clone, Copy)]
pub struct CredentialFacts<'a> {
    pub kind: CredentialType,
    pub metadata: &'a Metadata,
}

/// A lease that is asked for, or that exists.
#[derive(Clone, Copy)]
pub struct LeaseFacts<'a> {
    pub holder: &'a Holder,
    /// The type and name of whoever asked for it.
    pub requested_by: (IdentityType, &'a IdentityName),
    pub delivery: Delivery,
    pub purpose: Option<&'a str>,
}

impl<'a> LeaseFacts<'a> {
    /// The facts of a lease that exists.
    pub fn of(lease: &'a Lease) -> Self {
        Self {
            holder: &lease.holder,
            requested_by: (lease.requested_by.kind, &lease.requested_by.by.name),
            delivery: lease.delivery,
            purpose: lease.purpose.as_deref(),
        }
    }
}

/// What a grant or a renewal would give.
#[derive(Clone, Copy)]
pub struct TermsFacts {
    pub ttl: Span,
    /// From the first grant to the end that the lease would have.
    pub lifetime: Span,
    pub reveal: bool,
}

/// What a policy may know of a value that would be stored.
pub struct ValueFacts<'a> {
    pub kind: CredentialType,
    pub metadata: &'a Metadata,
    /// At most [`PREFIX_CHARS`] characters, and at most one in [`PREFIX_PART`] of the value's.
    pub prefix: String,
    pub length: usize,
    pub entropy_bits: u64,
}

impl<'a> ValueFacts<'a> {
    /// The facts of a value.
    pub fn of(value: &SecretText, kind: CredentialType, metadata: &'a Metadata) -> Self {
        // Looking at the value must see it; what is kept of it is named above.
        let text = value.expose();
        let length = text.chars().count();
        Self {
            kind,
            metadata,
            prefix: text
                .chars()
                .take(PREFIX_CHARS.min(length / PREFIX_PART))
                .collect(),
            length,
            entropy_bits: entropy_bits(text, length),
        }
    }
}

/// The characters' own information content: their Shannon entropy, by their number, rounded down.
fn entropy_bits(text: &str, length: usize) -> u64 {
    let mut counts = HashMap::<char, u32>::new();
    for c in text.chars() {
        *counts.entry(c).or_default() += 1;
    }
    // A value has at most 64 Ki characters: exact in a float.
    let length = length as f64;
    let bits: f64 = counts
        .values()
        .map(|count| {
            let count = f64::from(*count);
            count * (length / count).log2()
        })
        .sum();
    bits as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(text: &str) -> (String, usize, u64) {
        let metadata = Metadata::default();
        let facts = ValueFacts::of(
            &SecretText::new(text.to_owned()),
            CredentialType::ApiKey,
            &metadata,
        );
        (facts.prefix, facts.length, facts.entropy_bits)
    }

    #[test]
    fn a_policy_learns_a_quarter_of_a_value_at_most() {
        let live = "sk_live_0123456789abcdef01234567";
        assert_eq!(facts(live).0, "sk_live_");
        assert_eq!(facts(&live[..31]).0, "sk_live");
        assert_eq!(facts("abc").0, "");
        assert_eq!(facts("äöüß").0, "ä");
        assert_eq!(facts(&"x".repeat(65536)).0, "xxxxxxxx");
    }

    #[test]
    fn entropy_counts_what_is_random() {
        assert_eq!(facts("aaaaaaaa"), ("aa".into(), 8, 0));
        assert_eq!(facts("abababab").2, 8);
        assert_eq!(facts("0123456789abcdef").2, 64);
        assert_eq!(facts("").2, 0);
    }
}
