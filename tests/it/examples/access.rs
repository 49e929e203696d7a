//! `access.sh`, which walks through access control: it says itself what it expects of each step, and history must tell
//! the same. And the commands of the README's section on access.

use std::{collections::BTreeMap, path::Path, process::Command};

use reqwest::Method;

use super::{commands, file, require, run};
use crate::support::{TempDir, Vault};

fn walk() -> Command {
    require("bash", "curl");
    require("jq", "openssl");
    Command::new(file("access.sh"))
}

/// The binary under test before all else on the path.
pub(super) fn path() -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_leasehold"));
    let folder = binary.parent().unwrap().display();
    format!("{folder}:{}", std::env::var("PATH").unwrap())
}

#[tokio::test]
async fn the_walk_through_access_ends_as_it_says() {
    let vault = Vault::dev();
    let path = path();
    let settings = [
        ("LEASEHOLD_ADDR", vault.address.as_str()),
        ("LEASEHOLD_KEY", vault.admin_key.as_str()),
        ("WORKSPACE", "walk"),
        ("PATH", path.as_str()),
    ];
    let output = run(walk(), &settings).await;
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "workspace made\n\
         identities made: human/olga, agent/deployer, agent/reviewer\n\
         keys made, each shown once\n\
         a key over its role: refused\n\
         token made, used and revoked\n\
         credential stored: stripe-live\n\
         leased and redeemed\n\
         denied, with code, policy and scope, and kept in history\n\
         usage read, scope added\n\
         key rotated with a grace, another paused and resumed\n\
         agent suspended, receipt verified\n\
         credential rotated, agent resumed\n\
         workspace stopped, receipt verified, a new key works\n"
    );

    let history = vault
        .request(
            Method::GET,
            "/v1/audit?limit=200",
            &vault.admin_key,
            None,
            &[("X-Workspace", "walk")],
        )
        .await
        .data(200);
    let mut happened = BTreeMap::<&str, usize>::new();
    for record in history.as_array().unwrap() {
        *happened
            .entry(record["event"].as_str().unwrap())
            .or_default() += 1;
    }
    for (event, times) in [
        ("identity.created", 3),
        ("key.created", 4),
        ("directory.refused", 1),
        ("token.created", 1),
        ("token.revoked", 1),
        ("credential.created", 1),
        ("lease.issued", 2),
        ("lease.redeemed", 1),
        ("lease.renewed", 1),
        ("authz.denied", 4),
        ("key.rotated", 1),
        ("key.paused", 1),
        ("key.resumed", 1),
        ("identity.suspended", 1),
        ("identity.resumed", 1),
        ("credential.rotated", 1),
        ("workspace.revoked_all", 1),
        ("lease.revoked", 2),
    ] {
        assert_eq!(happened.get(event), Some(&times), "{event}: {happened:?}");
    }
}

#[tokio::test]
async fn the_walk_stops_where_a_step_fails() {
    let vault = Vault::dev();
    let path = path();
    // An agent's key makes no workspace.
    let settings = [
        ("LEASEHOLD_ADDR", vault.address.as_str()),
        ("LEASEHOLD_KEY", vault.agent_key.as_str()),
        ("PATH", path.as_str()),
    ];
    let output = run(walk(), &settings).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("workspace:create"), "{stderr}");

    let output = run(walk(), &settings[..1]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr, "access.sh: LEASEHOLD_KEY is not set\n");
}

#[tokio::test]
async fn the_commands_of_the_readme_work_one_after_the_other() {
    require("bash", "curl");
    require("jq", "openssl");
    let vault = Vault::dev();
    let folder = TempDir::new();
    let path = path();
    let mut command = Command::new("bash");
    command
        .args(["-e", "-o", "pipefail", "-c", &commands("access")])
        .current_dir(folder.path());
    let settings = [
        ("VAULT", vault.address.as_str()),
        ("ADMIN", vault.admin_key.as_str()),
        ("PATH", path.as_str()),
    ];
    let output = run(command, &settings).await;
    assert!(output.status.success(), "{output:?}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    for told in [
        "Signature Verified Successfully",
        "allowed_identities",
        "lease:create, lease:renew, handle:redeem",
        "/v1/leases",
    ] {
        assert!(stdout.contains(told), "{told}: {stdout}");
    }
}
