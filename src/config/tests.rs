//! Every key reaches its field, and what holds over what.

use super::{
    fixture::{MINIMAL, from_file, load},
    *,
};
use crate::domain::{retention::AuditRetention, time::Span};

#[test]
fn an_almost_empty_file_leaves_the_defaults() {
    let expected = Config::with_defaults("data".into(), RootSource::PassphrasePrompt);
    assert_eq!(from_file(MINIMAL).unwrap(), expected);
    let development = Config::development("data".into());
    assert_eq!(
        development.root,
        RootSource::KeyFile("data/root.key".into())
    );
    assert_eq!(
        Config {
            root: expected.root.clone(),
            limits: expected.limits.clone(),
            ..development
        },
        expected
    );
}

#[test]
fn every_key_reaches_its_field() {
    let config = from_file(
        r#"
        [server]
        listen = "0.0.0.0:443"
        danger_plain_http = false
        drain_deadline = "1m 30s"
        request_timeout = "1s"
        max_connections = 5
        trusted_proxies = "10.0.0.0/8, ::1"
        public_url = "https://vault.example.com"
        tls = { cert = "c.pem", key = "k.pem", client_ca = "ca.pem" }
        [storage]
        data_dir = "/data"
        cache_bytes = 16777216
        reserve_bytes = 0
        [root]
        passphrase_file = "p"
        [policies]
        dir = "pol"
        [reaper]
        enabled = false
        [limits]
        requests_per_minute = 600
        source_requests_per_minute = 6000
        failed_authentications_per_minute = 6
        [log]
        format = "json"
        filter = "leasehold=debug,info"
        [audit]
        sealing = false
        checkpoint_file = "/mnt/elsewhere/checkpoints"
        checkpoint_url = "https://witness.example.com/leasehold?t=1"
        checkpoint_log = true
        [retention]
        closed_leases = "2h"
        audit_access = "400d"
        audit_admin = "3650d"
        audit_vault = "30d"
        audit_denial = "1d"
        audit_access_max_bytes = 16777216
        audit_admin_max_bytes = 30000000
        audit_vault_max_bytes = 40000000
        audit_denial_max_bytes = 50000000
        audit_max_bytes = 20000000000
        "#,
    );
    let expected = Config {
        server: Server {
            listen: "0.0.0.0:443".parse().unwrap(),
            danger_plain_http: false,
            tls: Some(Tls {
                cert: "c.pem".into(),
                key: "k.pem".into(),
                client_ca: Some("ca.pem".into()),
            }),
            public_url: Some("https://vault.example.com".into()),
            drain_deadline: Duration::from_secs(90),
            request_timeout: Duration::from_secs(1),
            max_connections: 5,
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        },
        storage: Storage {
            data_dir: "/data".into(),
            cache_bytes: 16_777_216,
            reserve_bytes: 0,
        },
        root: RootSource::PassphraseFile("p".into()),
        policies: Policies {
            dir: Some("pol".into()),
        },
        reaper: Reaper { enabled: false },
        limits: Limits {
            requests_per_minute: NonZeroU32::new(600),
            source_requests_per_minute: NonZeroU32::new(6000),
            failed_authentications_per_minute: NonZeroU32::new(6),
        },
        log: Log {
            format: LogFormat::Json,
            filter: "leasehold=debug,info".into(),
        },
        audit: Audit {
            sealing: false,
            indexing: true,
            checkpoint_file: Some("/mnt/elsewhere/checkpoints".into()),
            checkpoint_url: Some("https://witness.example.com/leasehold?t=1".into()),
            checkpoint_log: true,
        },
        retention: Retention {
            closed_leases: Span::from_secs(7200),
            audit: AuditRetention {
                ages: [400, 3650, 30, 1].map(|days| Some(Span::from_secs(days * 86_400))),
                class_max_bytes: [16_777_216, 30_000_000, 40_000_000, 50_000_000].map(Some),
                max_bytes: Some(20_000_000_000),
            },
        },
    };
    assert_eq!(config.unwrap(), expected);
}

#[test]
fn the_shipped_files_load() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let production = Config::load(Some(&root.join("leasehold.toml"))).unwrap();
    assert_eq!(production.storage.data_dir, Path::new("/var/lib/leasehold"));
    assert_eq!(
        production.root,
        RootSource::KeyFile("/etc/leasehold/root.key".into())
    );
    assert_eq!(production.log.format, LogFormat::Json);
    assert!(production.policies.dir.is_some());

    let development = Config::load(Some(&root.join("development.toml"))).unwrap();
    assert_eq!(development.storage.data_dir, Path::new("./data"));
    assert!(development.server.listen.ip().is_loopback());
}

#[test]
fn flags_hold_over_variables_and_variables_over_the_file() {
    let text = "[server]\nlisten = \"127.0.0.1:1\"\nmax_connections = 1\n[storage]\ndata_dir = \"file\"\n[log]\nfilter = \"warn\"";
    let variables = [
        ("LEASEHOLD__SERVER__LISTEN", "127.0.0.1:2"),
        ("LEASEHOLD__SERVER__MAX_CONNECTIONS", "2"),
        ("LEASEHOLD__SERVER__TLS__CERT", "c"),
        ("LEASEHOLD__SERVER__TLS__KEY", "k"),
        ("LEASEHOLD__STORAGE__DATA_DIR", "007"),
        ("LEASEHOLD__REAPER__ENABLED", "true"),
    ];
    let config = load(text, &variables, Overrides::default()).unwrap();
    assert_eq!(
        (config.server.listen.port(), config.server.max_connections),
        (2, 2)
    );
    assert_eq!(
        (
            config.storage.data_dir.as_path(),
            config.log.filter.as_str()
        ),
        (Path::new("007"), "warn")
    );
    assert_eq!(
        config.server.tls,
        Some(Tls {
            cert: "c".into(),
            key: "k".into(),
            client_ca: None,
        })
    );

    let overrides = Overrides {
        listen: Some("127.0.0.1:3".parse().unwrap()),
        data_dir: Some("flag".into()),
        danger_plain_http: true,
        log_format: Some(LogFormat::Json),
        reaper_disabled: true,
        sealing_disabled: true,
    };
    let config = load(text, &variables, overrides).unwrap();
    assert_eq!(
        (config.server.listen.port(), config.server.max_connections),
        (3, 2)
    );
    assert_eq!(config.storage.data_dir, Path::new("flag"));
    assert!(config.server.danger_plain_http && !config.reaper.enabled);
    assert!(!config.audit.sealing);
    assert_eq!(config.log.format, LogFormat::Json);
}
