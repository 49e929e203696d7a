//! Receipts of emergency stops: what was done, signed with the audit key, for anybody to check with its public half.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Call, Counts, Engine};
use crate::{
    authz::Action,
    crypto::sign,
    domain::{
        error::{Error, Result},
        id::EventId,
        principal::{Identity, Principal},
        time::Timestamp,
        workspace::Workspace,
    },
};

/// What the signed bytes say they are.
const FORMAT: &str = "leasehold/v1/receipt";

/// A signed statement. The signature is over the statement's bytes.
#[derive(Debug, Clone)]
pub struct Receipt {
    pub statement: String,
    pub signature: [u8; 64],
    pub public_key: [u8; 32],
    pub algorithm: &'static str,
}

/// A public key of the vault and what it signs.
#[derive(Debug, Clone)]
pub struct PublicKey {
    pub usage: &'static str,
    pub algorithm: &'static str,
    pub key: [u8; 32],
}

/// What was stopped.
pub(in crate::engine) struct Target {
    id: String,
    resource: String,
    /// Which of it, in the order of the fields' names.
    filter: BTreeMap<&'static str, String>,
}

impl Target {
    pub(super) fn identity(identity: &Identity) -> Self {
        Self {
            id: identity.id.to_string(),
            resource: format!("identity/{}/{}", identity.kind.as_str(), identity.name),
            filter: BTreeMap::new(),
        }
    }

    pub(super) fn workspace(workspace: &Workspace) -> Self {
        Self {
            id: workspace.id.to_string(),
            resource: format!("workspace/{}", workspace.name),
            filter: BTreeMap::new(),
        }
    }

    /// The leases of the caller's workspace that a filter names; all of them where it is empty.
    pub(in crate::engine) fn leases(
        principal: &Principal,
        filter: BTreeMap<&'static str, String>,
    ) -> Self {
        Self {
            id: principal.workspace.to_string(),
            resource: format!("workspace/{}", principal.workspace_name),
            filter,
        }
    }
}

pub(super) struct Facts<'a> {
    pub(super) call: &'a Call,
    pub(super) action: Action,
    pub(super) target: Target,
    pub(super) reason: Option<&'a str>,
    pub(super) counts: Counts,
    /// The record of it in history.
    pub(super) event: EventId,
    pub(super) began_at: Timestamp,
    pub(super) completed_at: Timestamp,
}

/// The statement: JSON in one line, its fields in the order of their names, so that equal facts are equal bytes.
#[derive(Serialize)]
struct Statement<'a> {
    action: &'static str,
    actor: By<'a>,
    audit_event: String,
    began_at: Timestamp,
    completed_at: Timestamp,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    filter: &'a BTreeMap<&'static str, String>,
    format: &'static str,
    reason: Option<&'a str>,
    request_id: &'a str,
    stopped: Ended,
    target: &'a str,
    target_id: &'a str,
    took_ms: u64,
    workspace: &'a str,
}

#[derive(Serialize)]
struct By<'a> {
    id: String,
    name: &'a str,
    proof: String,
    r#type: &'static str,
}

#[derive(Serialize)]
struct Ended {
    keys: u64,
    leases: u64,
    tokens: u64,
}

impl<'a> By<'a> {
    fn of(principal: &'a Principal) -> Self {
        Self {
            id: principal.identity.to_string(),
            name: principal.name.as_str(),
            proof: principal.proof.to_string(),
            r#type: principal.kind.as_str(),
        }
    }
}

impl Engine {
    pub(super) fn receipt(&self, facts: &Facts<'_>) -> Result<Receipt> {
        let Counts {
            leases,
            keys,
            tokens,
        } = facts.counts;
        let statement = Statement {
            action: facts.action.as_str(),
            actor: By::of(&facts.call.principal),
            audit_event: facts.event.to_string(),
            began_at: facts.began_at,
            completed_at: facts.completed_at,
            filter: &facts.target.filter,
            format: FORMAT,
            reason: facts.reason,
            request_id: &facts.call.origin.request_id,
            stopped: Ended {
                keys,
                leases,
                tokens,
            },
            target: &facts.target.resource,
            target_id: &facts.target.id,
            took_ms: facts.completed_at.since(facts.began_at).as_millis(),
            workspace: facts.call.principal.workspace_name.as_str(),
        };
        self.signed(serde_json::to_string(&statement).map_err(Error::internal)?)
    }

    /// Signs a statement, which says itself what it is.
    pub(in crate::engine) fn signed(&self, statement: String) -> Result<Receipt> {
        let key = self.keyring.audit_key();
        Ok(Receipt {
            signature: key.sign(statement.as_bytes())?,
            public_key: *key.public_key(),
            algorithm: sign::ALGORITHM,
            statement,
        })
    }

    /// The public keys with which anybody can check what the vault signed.
    pub fn public_keys(&self) -> Vec<PublicKey> {
        vec![PublicKey {
            usage: "audit",
            algorithm: sign::ALGORITHM,
            key: *self.keyring.audit_key().public_key(),
        }]
    }
}
