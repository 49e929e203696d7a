use super::{
    super::{
        Overrides,
        fixture::{MINIMAL, assert_refused, from_file, from_variables, load},
    },
    *,
};

#[test]
fn plain_http_stays_on_loopback_unless_somebody_says_otherwise() {
    let listen = |address: &str, rest: &str| {
        from_file(&format!(
            "{MINIMAL}[server]\nlisten = \"{address}\"\n{rest}"
        ))
    };
    for address in [
        "127.0.0.1:8200",
        "127.9.9.9:0",
        "[::1]:8200",
        "[::ffff:127.0.0.1]:1",
    ] {
        assert!(listen(address, "").is_ok(), "{address}");
    }
    for address in [
        "0.0.0.0:8200",
        "[::]:8200",
        "10.0.0.1:8200",
        "[::ffff:10.0.0.1]:1",
    ] {
        assert_refused(
            listen(address, ""),
            "c.toml:3:1: `server.listen` is not a loopback address",
        );
        assert!(listen(address, "danger_plain_http = true").is_ok());
        assert!(listen(address, "tls.cert = \"c\"\ntls.key = \"k\"").is_ok());
        assert_refused(
            listen(address, "tls.cert = \"c\""),
            "c.toml:4:5: `server.tls.cert` is set without `server.tls.key`",
        );
    }
    assert_refused(
        listen("127.0.0.1:1", "tls.client_ca = \"ca\""),
        "c.toml:4:5: `server.tls.client_ca` is set without",
    );
    assert_refused(
        from_variables(&[("LEASEHOLD__SERVER__LISTEN", "0.0.0.0:1")]),
        "environment variable LEASEHOLD__SERVER__LISTEN: `server.listen` is not",
    );
    let flag = || Overrides {
        listen: Some("0.0.0.0:1".parse().unwrap()),
        ..Overrides::default()
    };
    assert_refused(
        load(MINIMAL, &[], flag()),
        "--listen: `server.listen` is not",
    );
    assert!(
        load(
            MINIMAL,
            &[],
            Overrides {
                danger_plain_http: true,
                ..flag()
            }
        )
        .is_ok()
    );
    assert_refused(
        listen("localhost:8200", ""),
        "c.toml:3:1: `server.listen` must be an IP address and a port",
    );
}

#[test]
fn a_vault_has_one_root_key() {
    let text = format!("{MINIMAL}[root]\nkey_file = \"k\"\n");
    assert_eq!(
        from_file(&text).unwrap().root,
        RootSource::KeyFile("k".into())
    );
    assert_refused(
        load(
            &text,
            &[("LEASEHOLD__ROOT__PASSPHRASE_FILE", "p")],
            Overrides::default(),
        ),
        "environment variable LEASEHOLD__ROOT__PASSPHRASE_FILE: `root.passphrase_file` is set beside `root.key_file` (c.toml:3:1)",
    );
    assert_refused(
        from_file(&format!("{text}passphrase_file = \"p\"")),
        "c.toml:4:1: `root.passphrase_file` is set beside",
    );
    assert_refused(
        from_file(&text.replace("\"k\"", "\"\"")),
        "c.toml:3:1: `root.key_file` is empty",
    );
}

#[test]
fn a_refusal_names_the_bounds() {
    let refuse = |line: &str| from_file(&format!("{MINIMAL}{line}")).unwrap_err();
    for (line, expected) in [
        (
            "server.max_connections = -1",
            "c.toml:2:26: `server.max_connections` must be a whole number of at least 0, in digits alone",
        ),
        (
            "server.max_connections = 0",
            "c.toml:2:8: `server.max_connections` must be 1 to 1000000",
        ),
        (
            "server.danger_plain_http = \"on\"",
            "c.toml:2:28: `server.danger_plain_http` must be `true` or `false`",
        ),
        (
            "server.request_timeout = \"11m\"",
            "c.toml:2:8: `server.request_timeout` must be between 1s and 10m",
        ),
        (
            "storage.cache_bytes = 1",
            "c.toml:2:9: `storage.cache_bytes` must be at least 16777216",
        ),
        (
            "log.format = \"xml\"",
            "c.toml:2:5: `log.format` must be `human` or `json`",
        ),
    ] {
        assert_eq!(refuse(line), expected);
    }
}

#[test]
fn values_out_of_bounds_are_refused() {
    for (section, key, values) in [
        (
            "server",
            "drain_deadline",
            ["\"10m 1s\"", "\"20\"", "\"\"", "\"-1s\""].as_slice(),
        ),
        (
            "server",
            "request_timeout",
            &[
                "\"999ms\"",
                "\"601s\"",
                "\"soon\"",
                "\"99999999999999999999y\"",
                "30",
            ],
        ),
        (
            "server",
            "max_connections",
            &["0", "1000001", "-1", "1.5", "true", "\"many\"", "\"\""],
        ),
        ("server", "danger_plain_http", &["1", "\"yes\"", "\"TRUE\""]),
        ("storage", "cache_bytes", &["16777215", "\"256 MiB\""]),
        ("storage", "reserve_bytes", &["-1"]),
        (
            "limits",
            "requests_per_minute",
            &["0", "4294967296", "true"],
        ),
        (
            "limits",
            "failed_authentications_per_minute",
            &["0", "\"off\""],
        ),
        (
            "server",
            "trusted_proxies",
            &["\"proxy\"", "\"10.0.0.0/33\"", "\"10.0.0.1;::1\""],
        ),
        ("log", "format", &["\"xml\"", "\"JSON\""]),
        ("log", "filter", &["\"\"", "\"  \"", "7"]),
        ("policies", "dir", &["\"\"", "1"]),
    ] {
        for value in values {
            let error = from_file(&format!("{MINIMAL}{section}.{key} = {value}")).unwrap_err();
            // A wrong type is told where the value is, a wrong value where the key is.
            let columns = [section.len() + 2, section.len() + key.len() + 5];
            assert!(
                columns
                    .iter()
                    .any(|column| error.starts_with(&format!("c.toml:2:{column}: "))),
                "{error}"
            );
            assert!(error.contains(&format!("`{section}.{key}` ")), "{error}");
            if value.starts_with('"') {
                let name = variable(&format!("{section}.{key}"));
                let result = from_variables(&[(&name, value.trim_matches('"'))]);
                assert_refused(result, &format!("environment variable {name}: "));
            }
        }
    }
}

#[test]
fn checkpoints_are_posted_to_plain_addresses_only() {
    let posted = |url: &str| from_file(&format!("{MINIMAL}[audit]\ncheckpoint_url = \"{url}\"\n"));
    assert!(posted("https://witness.example.com/leasehold?token=1").is_ok());
    for url in [
        "",
        "witness",
        "ftp://witness/",
        "file:///etc/passwd",
        "https://user:hunter2-canary@witness/",
        "https://witness/#part",
    ] {
        let refused = posted(url);
        assert_refused(
            refused.clone(),
            "c.toml:3:1: `audit.checkpoint_url` must be an http or https URL",
        );
        assert!(!refused.unwrap_err().contains("canary"));
    }
    assert_refused(
        from_file(&format!("{MINIMAL}[audit]\ncheckpoint_file = \"\"\n")),
        "c.toml:3:1: `audit.checkpoint_file` is empty",
    );
}
