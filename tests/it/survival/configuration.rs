//! What the keeper says: policy files, configuration, TLS. Mistakes are refused at the start, with their place.

use std::{fs, path::Path, process::Command};

use reqwest::Method;
use serde_json::{Value, json};

use super::kit::{Api, Ended, Production, Server, run, text};
use crate::support::{TempDir, Vault, client, leasehold};

fn dev(data_dir: &Path, policies: &Path) -> Command {
    let mut command = leasehold();
    command
        .args(["dev", "--listen", "127.0.0.1:0", "--output", "json"])
        .arg("--data-dir")
        .arg(data_dir)
        .arg("--policies")
        .arg(policies);
    command
}

#[tokio::test]
async fn a_broken_policy_file_is_refused_with_its_place() {
    let folder = TempDir::new();
    let (data_dir, policies) = (folder.path().join("data"), folder.path().join("policies"));
    fs::create_dir(&policies).unwrap();
    fs::write(policies.join("good.toml"), "max_leases = 3\n").unwrap();
    let broken = policies.join("broken.toml");
    for (text, place, reason) in [
        ("max_leases = 3\nmax_lease = 3\n", ":2:1", "max_lease"),
        ("# fine\n\nmax_leases = \"many\"\n", ":3:14", "max_leases"),
        ("default_lease_ttl = \"0s\"\n", ":1:21", "default_lease_ttl"),
        (
            "default_lease_ttl = \"forever\"\n",
            ":1:21",
            "default_lease_ttl",
        ),
        ("max_leases = \n", ":1:", ""),
        ("delivery = [\"post\"]\n", ":1:", "delivery"),
        ("max_leases = 3\nmax_leases = 4\n", ":2:1", "duplicate key"),
        (
            "default_lease_ttl = \"2h\"\nmax_lease_ttl = \"1h\"\n",
            "",
            "default_lease_ttl",
        ),
    ] {
        fs::write(&broken, text).unwrap();
        let ended = run(&mut dev(&data_dir, &policies));
        let place = format!("{}{place}", broken.display());
        ended.refused(&[&place, reason]);
        assert!(ended.stdout.is_empty(), "{ended:?}");
    }
    // Nothing was made by the refused starts.
    assert!(!data_dir.join("store").exists());
    fs::remove_file(&broken).unwrap();
    let bad_name = policies.join("Bad Name.toml");
    fs::write(&bad_name, "max_leases = 3\n").unwrap();
    run(&mut dev(&data_dir, &policies)).refused(&["Bad Name.toml"]);
    run(&mut dev(&data_dir, &folder.path().join("gone"))).refused(&["gone"]);
    fs::remove_file(&bad_name).unwrap();
    let vault = Vault::started_by(dev(&data_dir, &policies), data_dir);
    vault.store("built", "v", json!({"extends": "good"})).await;
    vault.stop();
}

#[tokio::test]
async fn broken_cedar_policies_are_refused_with_their_place() {
    let folder = TempDir::new();
    let (data_dir, policies) = (folder.path().join("data"), folder.path().join("policies"));
    // The folder as it is shipped, schema, built-in roles and examples in it.
    fs::create_dir_all(policies.join("examples")).unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    for name in ["roles.cedar", "schema.cedarschema", "production.toml"] {
        fs::copy(shipped.join(name), policies.join(name)).unwrap();
    }
    let example = policies.join("examples/broken.cedar");
    fs::write(example, "this is not read").unwrap();
    let own = policies.join("own.cedar");
    for (text, place, reason) in [
        ("\nforbid (principal, action);\n", ":2:", ""),
        (
            "forbid (principal, action == Action::\"lease:take\", resource);",
            ":1:",
            "lease:take",
        ),
        (
            "// why\nforbid (principal, action, resource)\nwhen { context.ttl > 5 };",
            ":3:8",
            "ttl",
        ),
        (
            "@id(\"role:agent\")\npermit (principal, action, resource);",
            ":1:1",
            "`role:` is kept for the vault's own policies",
        ),
    ] {
        fs::write(&own, text).unwrap();
        let place = format!("{}{place}", own.display());
        run(&mut dev(&data_dir, &policies)).refused(&[&place, reason]);
    }
    assert!(!data_dir.join("store").exists());
    fs::write(
        &own,
        "forbid (principal, action == Action::\"audit:read\", resource);",
    )
    .unwrap();
    let roles = policies.join("roles.cedar");
    let text = fs::read_to_string(&roles).unwrap();
    fs::write(&roles, text.replace("forbid", "permit")).unwrap();
    run(&mut dev(&data_dir, &policies)).refused(&["roles.cedar", "cannot be changed"]);
    fs::write(&roles, text).unwrap();
    let vault = Vault::started_by(dev(&data_dir, &policies), data_dir);
    let answer = vault.admin(Method::GET, "/v1/audit", None).await;
    let failure = answer.fails(403, "POLICY_DENIED");
    assert_eq!(failure["details"]["policy"], "file:own.0");
    vault.stop();
}

#[tokio::test]
async fn an_edited_policy_holds_for_the_next_lease_and_not_for_open_ones() {
    let folder = TempDir::new();
    let (data_dir, policies) = (folder.path().join("data"), folder.path().join("policies"));
    fs::create_dir(&policies).unwrap();
    let file = policies.join("shared.toml");
    fs::write(
        &file,
        "default_lease_ttl = \"30m\"\nmax_lease_ttl = \"1h\"\n",
    )
    .unwrap();
    let vault = Vault::started_by(dev(&data_dir, &policies), data_dir.clone());
    let keys = (vault.admin_key.clone(), vault.agent_key.clone());
    vault
        .store("built", "v", json!({"extends": "shared"}))
        .await;
    let first = vault.lease(json!({"credential_name": "built"})).await;
    assert_eq!(first["ttl"], "30m");
    vault.stop();

    fs::write(
        &file,
        "default_lease_ttl = \"5m\"\nmax_lease_ttl = \"10m\"\nmax_leases = 2\nrequire_purpose = true\n",
    )
    .unwrap();
    let vault = Vault::started_by(dev(&data_dir, &policies), data_dir.clone());
    let (admin, agent) = (
        Api::new(&vault.address, &keys.0),
        Api::new(&vault.address, &keys.1),
    );
    let shown = admin.credential("built").await;
    assert_eq!(shown["policy"]["extends"], "shared");
    assert_eq!(shown["effective_policy"]["default_lease_ttl"], "5m");
    let kept = agent
        .get(&format!("/v1/leases/{}", text(&first, "id")))
        .await;
    assert_eq!(kept["data"]["expires_at"], first["expires_at"]);
    assert_eq!(
        agent.lease("built", "1h").await.unwrap_err(),
        "400 MISSING_PARAMETER"
    );
    let body = json!({"credential_name": "built", "purpose": "to see"});
    let (status, second) = agent.post("/v1/leases", body.clone()).await.unwrap();
    assert_eq!((status, &second["data"]["ttl"]), (201, &json!("5m")));
    let (status, third) = agent.post("/v1/leases", body).await.unwrap();
    assert_eq!(
        (status, &third["code"]),
        (409, &json!("LEASE_LIMIT_REACHED"))
    );
    vault.stop();

    // Its policy is gone: no lease is granted on terms that nobody wrote down.
    fs::rename(&file, policies.join("renamed.toml")).unwrap();
    let vault = Vault::started_by(dev(&data_dir, &policies), data_dir);
    let (admin, agent) = (
        Api::new(&vault.address, &keys.0),
        Api::new(&vault.address, &keys.1),
    );
    assert_eq!(
        admin.credential("built").await["effective_policy"],
        Value::Null
    );
    let refused = agent.lease("built", "5m").await.unwrap_err();
    assert!(refused.starts_with('4'), "{refused}");
    assert_eq!(
        agent.redeem(&text(&first, "handle")).await.unwrap(),
        "v",
        "open leases go on"
    );
}

fn refusal(args: &[&str], environment: &[(&str, &str)]) -> Ended {
    Server::start(args, environment).err().expect("it serves")
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_with_its_place() {
    let folder = TempDir::new();
    let vault = Production::init(folder.path());
    let right = fs::read_to_string(&vault.config).unwrap();
    let config = vault.config.to_str().unwrap();
    let args = ["--config", config];
    for (added, words) in [
        (
            "listne = \"127.0.0.1:1\"\n",
            [":7:1", "unknown key `listne`"],
        ),
        ("request_timeout = \"soon\"\n", [":7:", "request_timeout"]),
        ("max_connections = 0\n", [":7:", "max_connections"]),
        ("[serever]\n", [":7:2", "unknown key `serever`"]),
        ("[log]\nformat = \"loud\"\n", [":8:", "log.format"]),
        ("oops\n", [":7:", ""]),
    ] {
        fs::write(&vault.config, format!("{right}{added}")).unwrap();
        let ended = refusal(&args, &[]);
        ended.refused(&[config, words[0], words[1]]);
    }
    fs::write(&vault.config, &right).unwrap();
    for (name, value, word) in [
        ("LEASEHOLD__SERVER__LISTNE", "x", "listne"),
        ("LEASEHOLD__SERVER__MAX_CONNECTIONS", "many", "whole number"),
        ("LEASEHOLD__STORAGE", "x", "table"),
        ("LEASEHOLD__NOWHERE__KEY", "x", "nowhere"),
    ] {
        refusal(&args, &[(name, value)]).refused(&[name, word]);
    }
    refusal(&["--config", "/nonexistent/leasehold.toml"], &[])
        .refused(&["/nonexistent/leasehold.toml"]);

    // The environment holds over the file, and a flag over both.
    let elsewhere = folder.path().join("elsewhere");
    let elsewhere = elsewhere.to_str().unwrap();
    let variable = ("LEASEHOLD__STORAGE__DATA_DIR", elsewhere);
    refusal(&args, &[variable]).refused(&["elsewhere", "holds no vault"]);
    let dir = vault.data_dir.to_str().unwrap();
    let server = Server::start(&["--config", config, "--data-dir", dir], &[variable]).unwrap();
    assert_eq!(server.stop().code, Some(0));
}

#[tokio::test]
async fn plain_http_is_for_loopback_unless_said_loudly() {
    let folder = TempDir::new();
    let vault = Production::init(folder.path());
    let config = vault.config.to_str().unwrap();
    let server = |listen: &str, more: &[&str]| {
        let mut command = leasehold();
        command.args(["server", "--config", config, "--listen", listen]);
        command.args(more);
        command
    };
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:0.0.0.0]:0"] {
        run(&mut server(listen, &[])).refused(&["TLS", "danger_plain_http"]);
    }
    let started = super::kit::Started::new(&mut server("0.0.0.0:0", &["--danger-plain-http"]));
    let serving = started.until(|started| started.stderr().contains("serving").then_some(()));
    assert!(serving.is_ok());
}

/// A self-signed certificate for 127.0.0.1; none where there is no openssl.
fn certificate(folder: &Path, name: &str) -> Option<(String, String)> {
    let (cert, key) = (
        folder.join(format!("{name}.crt")),
        folder.join(format!("{name}.key")),
    );
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
        .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args([
            "-subj",
            "/CN=leasehold",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .ok()?;
    assert!(made.status.success(), "{made:?}");
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    Some((path(&cert), path(&key)))
}

#[tokio::test]
async fn tls_is_served_and_nothing_else_on_its_port() {
    let folder = TempDir::new();
    let Some((cert, key)) = certificate(folder.path(), "server") else {
        println!("skipped: no openssl on this machine");
        return;
    };
    let (_, other_key) = certificate(folder.path(), "other").unwrap();
    let vault = Production::init(folder.path());
    let config = vault.config.to_str().unwrap();
    let args = ["--config", config];
    let with = |cert: &str, key: &str| {
        let environment = [
            ("LEASEHOLD__SERVER__TLS__CERT", cert),
            ("LEASEHOLD__SERVER__TLS__KEY", key),
        ];
        Server::start(&args, &environment)
    };
    for (cert, key) in [
        (cert.as_str(), other_key.as_str()),
        (&cert, "/nonexistent.key"),
        (&key, &key),
        (config, config),
    ] {
        with(cert, key).err().unwrap().refused(&["TLS"]);
    }
    refusal(&args, &[("LEASEHOLD__SERVER__TLS__CERT", &cert)]).refused(&["server.tls.key"]);

    let server = with(&cert, &key).unwrap();
    assert!(server.address.starts_with("https://"), "{}", server.address);
    let _ = client();
    let root = reqwest::Certificate::from_pem(&fs::read(&cert).unwrap()).unwrap();
    let trusting = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([root])
        .build()
        .unwrap();
    let admin = Api::over(trusting.clone(), &server.address, &vault.admin_key);
    let agent = Api::over(trusting, &server.address, &vault.agent_key);
    let body = json!({"name": "over-tls", "type": "api-key", "value": "v"});
    assert_eq!(admin.post("/v1/credentials", body).await.unwrap().0, 201);
    let lease = agent.lease("over-tls", "1m").await.unwrap();
    assert_eq!(agent.redeem(&text(&lease, "handle")).await.unwrap(), "v");
    // One who does not trust the certificate, or speaks plain HTTP, gets nothing.
    let mistrusting = Api::new(&server.address, &vault.admin_key);
    assert!(
        mistrusting
            .call(Method::GET, "/health", None)
            .await
            .is_none()
    );
    let plain = server.address.replace("https", "http");
    let plain = Api::new(&plain, &vault.admin_key);
    assert!(plain.call(Method::GET, "/health", None).await.is_none());
    assert_eq!(server.stop().code, Some(0));
}
