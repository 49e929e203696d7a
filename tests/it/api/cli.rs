//! The command line against a vault, as a person and as a script use it.

use std::{
    io::Write,
    process::{Output, Stdio},
};

use serde_json::{Value, json};

use super::text;
use crate::support::{Vault, leasehold};

struct Shell<'a> {
    vault: &'a Vault,
    key: &'a str,
}

impl Shell<'_> {
    fn run(&self, line: &str, stdin: &str) -> Output {
        let mut command = leasehold();
        command.env_remove("RUST_LOG");
        command
            .env("LEASEHOLD_ADDR", &self.vault.address)
            .env("LEASEHOLD_KEY", self.key);
        let mut child = command
            .args(line.split(' '))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// What a command printed that had to go well.
    #[track_caller]
    fn said(&self, line: &str, stdin: &str) -> String {
        let output = self.run(line, stdin);
        assert!(
            output.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// The data of the answer that `--json` printed.
    #[track_caller]
    fn json(&self, line: &str, stdin: &str) -> Value {
        let said = self.said(&format!("{line} --json"), stdin);
        let body: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{line}: {said}"));
        assert_eq!(body["status"], "success", "{line}: {said}");
        body["data"].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_job_is_done_from_the_command_line() {
    let vault = Vault::dev();
    let (admin, agent) = (
        Shell {
            vault: &vault,
            key: &vault.admin_key,
        },
        Shell {
            vault: &vault,
            key: &vault.agent_key,
        },
    );
    let made = admin.json(
        "credential create a --type api-key --metadata team=ml",
        "first-value\n",
    );
    assert_eq!(
        (&made["name"], &made["metadata"]),
        (&json!("a"), &json!({"team": "ml"}))
    );
    let lease = agent.json(
        "lease create a --ttl 10m --purpose testing --session s-1",
        "",
    );
    assert_eq!(
        (&lease["ttl"], &lease["identity"]["session_id"]),
        (&json!("10m"), &json!("s-1"))
    );
    let (id, handle) = (text(&lease, "id"), text(&lease, "handle"));
    assert_eq!(agent.said("redeem", handle), "first-value");
    assert_eq!(agent.json("redeem", handle)["value"], "first-value");
    assert_eq!(
        admin.json("credential rotate a", "second-value\n")["current_version"],
        2
    );
    assert_eq!(agent.said("redeem", handle), "first-value");
    let versions = admin.json("credential versions a", "");
    assert_eq!(
        (&versions[0]["state"], &versions[1]["state"]),
        (&json!("current"), &json!("rotated"))
    );
    assert_eq!(agent.json(&format!("lease show {id}"), "")["uses"], 3);
    assert_eq!(
        agent.json(&format!("lease renew {id} --ttl 20m"), "")["renewals"],
        1
    );
    assert_eq!(
        agent
            .json("lease list --state active", "")
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        agent.json(&format!("lease release {id}"), "")["state"],
        "released"
    );
    assert_eq!(
        admin.json("credential versions a", "")[1]["state"],
        "retired"
    );
    let second = agent.json("lease create a", "");
    let revoked = admin.json(
        &format!("lease revoke {} --reason done", text(&second, "id")),
        "",
    );
    assert_eq!(
        (&revoked["state"], &revoked["close_reason"]),
        (&json!("revoked"), &json!("done"))
    );
    assert_eq!(
        admin.json("credential update a --state disabled", "")["state"],
        "disabled"
    );
    assert_eq!(admin.json("credential show a", "")["state"], "disabled");
    let events: Vec<Value> =
        serde_json::from_value(admin.json(&format!("audit --lease {id}"), "")).unwrap();
    assert_eq!(events.len(), 6, "{events:?}");
    assert_eq!(
        admin
            .json("audit --actor claude-code --event lease.issued", "")
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(admin.json("credential delete a", "")["revoked_leases"], 0);
    admin.said("status", "");
    let status: Value = serde_json::from_str(&admin.said("status --json", "")).unwrap();
    assert!(status.to_string().contains("ready"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn api_keys_are_kept_from_the_command_line() {
    let vault = Vault::dev();
    let admin = Shell {
        vault: &vault,
        key: &vault.admin_key,
    };
    let said = admin.said(
        "api-key create ci --identity claude-code --role agent --expires-in 90d --rate-limit 250",
        "",
    );
    let value = said
        .split_whitespace()
        .find(|word| word.starts_with("lhk_"))
        .unwrap();
    assert_eq!(said.matches("lhk_").count(), 1, "{said}");
    let holder = Shell {
        vault: &vault,
        key: value,
    };
    holder.said("status", "");
    let listed = admin.json("api-key list --name ci", "");
    let id = text(&listed[0], "id");
    let admin_said = |line: &str| admin.json(&format!("api-key {line}"), "");
    assert_eq!(admin_said(&format!("show {id}"))["rate_limit"], 250);
    assert_eq!(admin_said(&format!("disable {id}"))["state"], "paused");
    let refused = holder.run("lease list", "");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("KEY_PAUSED"));
    assert_eq!(admin_said(&format!("enable {id}"))["state"], "active");
    let updated = admin_said(&format!("update {id} --name nightly --scope handle:redeem"));
    assert_eq!(
        (&updated["name"], &updated["scopes"]),
        (&json!("nightly"), &json!(["handle:redeem"]))
    );
    let tested = admin_said(&format!(
        "test {id} --action lease:create --resource credential/absent"
    ));
    assert_eq!(tested["permission"]["allowed"], false);
    let table = admin.said(&format!("api-key usage {id}"), "");
    assert!(
        table.contains("/v1/leases") && table.contains("KEY_PAUSED"),
        "{table}"
    );
    let folder = crate::support::TempDir::new();
    let file = folder.path().join("key");
    let line = format!("rotate {id} --grace 1h --output {}", file.display());
    let rotated = admin_said(&line);
    assert!(rotated.get("key").is_none() && rotated["previous_valid_until"].is_string());
    let kept = std::fs::read_to_string(&file).unwrap();
    let holder = Shell {
        vault: &vault,
        key: kept.trim_end(),
    };
    holder.said("status", "");
    // Used just now; what was never used is stale as well.
    let unused = admin_said("create unused --role viewer");
    let stale = admin_said("list --unused-for 30d");
    let names: Vec<_> = stale
        .as_array()
        .unwrap()
        .iter()
        .map(|key| &key["name"])
        .collect();
    assert!(
        names.contains(&&unused["name"]) && !names.contains(&&json!("nightly")),
        "{stale}"
    );
    assert_eq!(admin_said(&format!("delete {id}"))["deleted"], true);
    let refused = holder.run("lease list", "");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("UNAUTHORIZED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn people_get_tables_and_failures_that_tell_no_secret() {
    let vault = Vault::dev();
    let (admin, agent) = (
        Shell {
            vault: &vault,
            key: &vault.admin_key,
        },
        Shell {
            vault: &vault,
            key: &vault.agent_key,
        },
    );
    admin.said("credential create a --type api-key", "the-value\n");
    let table = admin.said("credential list", "");
    assert!(
        table.contains("NAME")
            && table
                .lines()
                .any(|line| line.trim_start().starts_with("a ")),
        "{table}"
    );
    let lease = agent.said("lease create a", "");
    assert!(
        lease.contains("lhh_") && !lease.contains("the-value"),
        "{lease}"
    );
    assert!(admin.said("lease list", "").contains("claude-code"));
    let audit = admin.said("audit", "");
    assert!(
        audit.contains("lease.issued") && !audit.contains("lhh_"),
        "{audit}"
    );
    for (shell, line, stdin, code, expected) in [
        (&agent, "credential list", "", 1, "INSUFFICIENT_PERMISSIONS"),
        (&admin, "credential show nothing", "", 1, "NOT_FOUND"),
        (
            &admin,
            "credential create a --type api-key",
            "the-value",
            1,
            "ALREADY_EXISTS",
        ),
        (
            &admin,
            "credential create b --type api-key",
            "the-value with-spaces",
            1,
            "INVALID_PARAMETER",
        ),
        (
            &admin,
            "credential create b --type api-key the-value",
            "",
            2,
            "",
        ),
        (
            &agent,
            "lease create a --ttl 0s",
            "",
            1,
            "INVALID_PARAMETER",
        ),
        (&agent, "redeem", "lhh_the-value", 1, ""),
        (&agent, "lease wait", "", 2, ""),
        (
            &Shell {
                vault: &vault,
                key: "lhk_the-value",
            },
            "lease list",
            "",
            1,
            "UNAUTHORIZED",
        ),
    ] {
        let output = shell.run(line, stdin);
        let said = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .concat();
        assert_eq!(output.status.code(), Some(code), "{line}: {said}");
        assert!(said.contains(expected), "{line}: {said}");
        if !line.contains("the-value") {
            assert!(!said.contains("the-value"), "{line}: {said}");
        }
    }
    let output = agent.run("credential list --json", "");
    let failure: Value = serde_json::from_slice(&[output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(failure["code"], "INSUFFICIENT_PERMISSIONS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_from_the_command_line_works_in_place_of_a_key() {
    let vault = Vault::dev();
    let shell = |key| Shell { vault: &vault, key };
    let admin = shell(&vault.admin_key);
    let line = "token create --name ci --expires-in 15m --scope token:create,lease:read --scope token:revoke";
    let token = admin.json(line, "");
    assert_eq!(
        token["scopes"],
        json!(["lease:read", "token:create", "token:revoke"])
    );
    let (jti, jwt) = (text(&token, "jti"), text(&token, "token"));
    let ci = shell(jwt);
    assert!(ci.said("status", "").contains("ci"));
    let listed = ci.json("token list --state active", "");
    assert_eq!(listed[0]["jti"], jti);
    assert!(ci.said("token list", "").contains(jti));
    let shown = ci.said(&format!("token show {jti}"), "");
    assert!(shown.contains("admin") && !shown.contains(jwt));
    let every = admin.json("token create --every-workspace", "");
    assert_eq!(every["workspace"], "*");
    let rotated = admin.json("signing-key rotate", "");
    assert_eq!(rotated["verifying"], 2);
    assert_eq!(
        ci.json(&format!("token revoke {jti}"), "")["state"],
        "revoked"
    );
    let refused = ci.run("lease list", "");
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("UNAUTHORIZED") && !said.contains(jwt),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn people_and_workspaces_are_kept_and_stopped_from_the_command_line() {
    let vault = Vault::dev();
    let (admin, agent) = (
        Shell {
            vault: &vault,
            key: &vault.admin_key,
        },
        Shell {
            vault: &vault,
            key: &vault.agent_key,
        },
    );
    let made = admin.json(
        "identity create service/ci --role viewer --label team=ml",
        "",
    );
    assert_eq!(made["labels"], json!({"team": "ml"}));
    let listed = admin.said("identity list --label team=ml", "");
    let row = listed.lines().last().unwrap();
    assert!(
        row.contains("service") && row.contains("viewer"),
        "{listed}"
    );
    let changed = admin.json("identity update service/ci --role operator", "");
    assert_eq!(changed["role"], "operator");

    admin.json("credential create a --type api-key", "v\n");
    agent.json("lease create a", "");
    let said = admin.said("identity suspend agent/claude-code --reason leaked", "");
    let fact = |name: &str| {
        let line = said.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("no {name}: {said}"))
            .to_owned()
    };
    assert!(fact("revoked_leases").ends_with(" 1"), "{said}");
    assert!(fact("receipt.signature").len() > 80, "{said}");
    assert_eq!(agent.run("lease create a", "").status.code(), Some(1));
    admin.said("identity resume agent/claude-code", "");
    agent.json("lease create a", "");
    admin.said("identity delete service/ci", "");
    let gone = admin.run("identity show service/ci", "");
    assert_eq!(gone.status.code(), Some(1));

    admin.json("workspace create payments --max-api-keys 5", "");
    let changed = admin.json("workspace update payments --default-lease-ttl 5m", "");
    assert_eq!(
        (
            &changed["settings"]["max_api_keys"],
            &changed["settings"]["default_lease_ttl"]
        ),
        (&json!(5), &json!("5m"))
    );
    assert!(admin.said("workspace list", "").contains("payments"));
    let stopped = admin.json("workspace revoke-all default --reason drill", "");
    assert_eq!(stopped["revoked_leases"], 1);
    assert_eq!(agent.run("lease list", "").status.code(), Some(1));
    assert_eq!(admin.json("workspace show default", "")["name"], "default");
}
