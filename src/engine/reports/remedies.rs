//! What ends what a report found: each as a request and as the command that sends it.

use serde_json::json;

use super::model::{Remedy, Who};
use crate::domain::{
    id::LeaseId,
    name::CredentialName,
    principal::{IdentityType, ProofId},
};

/// Why, in the bodies and commands that need a reason.
const REASON: &str = "exposure report";

/// A word of a command line that a shell takes as it is.
fn word(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:@=,+".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    if text.chars().any(char::is_control) {
        // On one line, as bash, zsh and ksh read it.
        let escaped = |c: char| match c {
            '\'' | '\\' => format!("\\{c}"),
            '\n' => r"\n".to_owned(),
            '\t' => r"\t".to_owned(),
            c => c.to_string(),
        };
        return format!("$'{}'", text.chars().map(escaped).collect::<String>());
    }
    // Within single quotes a shell reads everything as it is, but for a single quote.
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A segment of a path.
fn segment(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

pub(super) fn revoke_lease(id: LeaseId) -> Remedy {
    Remedy {
        what: format!("revoke the lease {id}"),
        method: "POST",
        path: format!("/v1/leases/{id}/revoke"),
        workspace: None,
        body: Some(json!({ "reason": REASON })),
        command: format!("leasehold lease revoke {id} --reason '{REASON}'"),
    }
}

/// Every open lease of a credential, or of one version of it.
pub(super) fn revoke_leases_of(name: &CredentialName, version: Option<u32>) -> Remedy {
    let mut filter = json!({ "credential_name": name });
    let (mut of, mut flag) = (format!("of {name}"), String::new());
    if let (Some(version), Some(filter)) = (version, filter.as_object_mut()) {
        filter.insert("version".to_owned(), json!(version));
        of = format!("on version {version} of {name}");
        flag = format!(" --version {version}");
    }
    Remedy {
        what: format!("revoke every open lease {of}"),
        method: "POST",
        path: "/v1/leases/revoke".to_owned(),
        workspace: None,
        body: Some(json!({ "filter": filter, "reason": REASON })),
        command: format!(
            "leasehold lease revoke --credential {}{flag} --reason '{REASON}'",
            word(name.as_str())
        ),
    }
}

pub(super) fn revoke_session(session: &str) -> Remedy {
    Remedy {
        what: "revoke every open lease of the session".to_owned(),
        method: "POST",
        path: "/v1/leases/revoke".to_owned(),
        workspace: None,
        body: Some(json!({ "filter": { "session_id": session }, "reason": REASON })),
        command: format!(
            "leasehold lease revoke --session={} --reason '{REASON}'",
            word(session)
        ),
    }
}

/// A new value, and the end of the leases on the old one.
pub(super) fn rotate(name: &CredentialName) -> Remedy {
    Remedy {
        what: format!("rotate {name}, at its provider first, and cut the leases on the old value"),
        method: "POST",
        path: format!("/v1/credentials/{}/rotate", segment(name.as_str())),
        workspace: None,
        body: Some(json!({ "new_value": "…", "on_open_leases": "cut" })),
        command: format!(
            "leasehold credential rotate {} --on-open-leases cut",
            word(name.as_str())
        ),
    }
}

/// The end of one version's leases and value.
pub(super) fn revoke_version(name: &CredentialName, number: u32) -> Remedy {
    Remedy {
        what: format!("revoke version {number} of {name}, and disable that value at its provider"),
        method: "POST",
        path: format!(
            "/v1/credentials/{}/versions/{number}/revoke",
            segment(name.as_str())
        ),
        workspace: None,
        body: Some(json!({ "reason": REASON })),
        command: format!(
            "leasehold credential revoke-version {} {number}",
            word(name.as_str())
        ),
    }
}

/// The end of all that an identity has, in the workspace that it belongs to where that is another; none where its type or
/// name is not known.
pub(super) fn suspend(who: &Who, workspace: Option<&str>) -> Option<Remedy> {
    let (kind, name) = (who.r#type?, who.name.as_ref()?);
    let option = workspace.map(|name| format!("--workspace {} ", word(name)));
    Some(Remedy {
        what: format!("suspend {kind}/{name}: its keys, tokens and leases end at once"),
        method: "POST",
        path: format!("/v1/identities/{kind}/{}/suspend", segment(name.as_str())),
        workspace: workspace.map(str::to_owned),
        body: Some(json!({ "reason": REASON })),
        command: format!(
            "leasehold {}identity suspend {} --reason '{REASON}'",
            option.unwrap_or_default(),
            word(&format!("{kind}/{name}"))
        ),
    })
}

pub(super) fn end_proof(proof: ProofId) -> Remedy {
    match proof {
        ProofId::Key(id) => Remedy {
            what: format!("pause the key {id}"),
            method: "POST",
            path: format!("/v1/api-keys/{id}/pause"),
            workspace: None,
            body: Some(json!({})),
            command: format!("leasehold api-key pause {id}"),
        },
        ProofId::Token(id) => Remedy {
            what: format!("revoke the token {id}"),
            method: "DELETE",
            path: format!("/v1/tokens/{id}"),
            workspace: None,
            body: None,
            command: format!("leasehold token revoke {id}"),
        },
    }
}

/// The type of an identity, as a document spells it.
pub(super) fn kind(kind: IdentityType) -> Option<&'static str> {
    Some(kind.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_pasted_whatever_a_caller_called_its_session() {
        for (session, spelled) in [
            ("s-1", "s-1"),
            ("a b", "'a b'"),
            ("$(rm -rf /)", "'$(rm -rf /)'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
            ("a\nb\\'", r"$'a\nb\\\''"),
            ("日本", "'日本'"),
            ("--all", "--all"),
        ] {
            assert_eq!(word(session), spelled);
            let command = revoke_session(session).command;
            assert!(
                command.contains(&format!("--session={spelled} ")),
                "{command}"
            );
            assert_eq!(command.lines().count(), 1);
        }
    }
}
