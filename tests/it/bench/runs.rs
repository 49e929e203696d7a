//! The suite.

use std::{
    io::{BufRead, BufReader, Read},
    time::Duration,
};

use reqwest::Method;
use serde_json::Value;

use super::Ground;
use crate::support::{Vault, leasehold, signal, wait};

const SHORT: [&str; 10] = [
    "--json",
    "--connections",
    "2",
    "--duration",
    "300ms",
    "--warm-up",
    "50ms",
    "--rounds",
    "1",
    "--scenario",
];

/// What must hold of any measurement.
#[track_caller]
fn is_sound(sample: &Value) {
    let number = |name: &str| sample[name].as_f64().unwrap_or_else(|| panic!("{sample}"));
    assert!(
        number("answers") > 0.0 && number("per_second") > 0.0,
        "{sample}"
    );
    assert_eq!(number("errors"), 0.0, "{sample}");
    assert!(number("p50_us") > 0.0, "{sample}");
    assert!(number("p50_us") <= number("p99_us"), "{sample}");
    assert!(number("p99_us") <= number("p999_us"), "{sample}");
    assert!(number("answer_bytes") > 100.0, "{sample}");
}

#[test]
fn every_scenario_is_measured_beside_its_baseline() {
    let ground = Ground::new(301);
    let names = [
        "issue",
        "issue-reveal",
        "redeem",
        "renew",
        "release",
        "mixed",
        "hot",
        "list",
        "read",
    ];
    let report = ground.report(&[&SHORT[..], &["all", "--rate", "half"]].concat());
    let rows = report["results"].as_array().unwrap();
    let seen: Vec<_> = rows
        .iter()
        .map(|row| row["scenario"].as_str().unwrap())
        .collect();
    assert_eq!(seen, names);
    for row in rows {
        let (vault, bare) = (&row["vault"], &row["baseline"]);
        for sample in [vault, bare] {
            is_sound(sample);
            assert!(sample["rss_bytes"].as_u64().unwrap() > 1024 * 1024, "{row}");
        }
        let ratio = vault["per_second"].as_f64().unwrap() / bare["per_second"].as_f64().unwrap();
        assert!(
            (row["ratio"].as_f64().unwrap() / ratio - 1.0).abs() < 1e-9,
            "{row}"
        );
        // The bodies of both sides are as long, but for times and counters that take a digit less.
        let (of_vault, of_bare) = (
            vault["answer_bytes"].as_f64().unwrap(),
            bare["answer_bytes"].as_f64().unwrap(),
        );
        assert!((of_vault / of_bare - 1.0).abs() < 0.06, "{row}");
        let at_rate = &row["at_rate"];
        let asked = at_rate["rate"].as_f64().unwrap();
        assert!((asked - (vault["per_second"].as_f64().unwrap() / 2.0).max(1.0)).abs() < 1e-6);
        for side in ["vault", "baseline"] {
            is_sound(&at_rate[side]);
            // Whatever the server makes of it, what is due is sent: the schedule was fixed beforehand.
            let due = (asked * 0.3).round().max(1.0);
            assert_eq!(at_rate[side]["answers"].as_f64(), Some(due), "{row}");
        }
    }
    ground.is_clean();
}

#[test]
fn people_get_a_table_with_a_line_for_each_number_of_connections() {
    let ground = Ground::new(302);
    let args = "--scenario issue --connections 1,3 --duration 300ms --warm-up 0s --rounds 1";
    let args: Vec<_> = args.split(' ').collect();
    let output = ground.run(&args);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Vec<_>> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.first() == Some(&"issue"))
        .collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!((lines[0][1], lines[1][1]), ("1", "3"), "{text}");
    ground.is_clean();
}

#[test]
fn bad_arguments_are_refused_and_nothing_is_started() {
    let ground = Ground::new(303);
    for (args, told) in [
        (&["--scenario", "nonsense"][..], "`nonsense` is no scenario"),
        (&["--connections", "0"], "`0` is not between 1 and 4096"),
        (&["--duration", "0s"], "must be longer than zero"),
        (&["--duration", "8"], "must be a duration"),
        (&["--rounds", "0"], "1..=100"),
        (&["--rate", "fast"], "must be `half` or requests a second"),
        (&["--credentials", "0"], "1..=100000"),
    ] {
        let output = ground.run(args);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains(told), "{args:?}: {error}");
    }
    let refused = |command: &mut std::process::Command, told: &str| {
        let output = command.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(told), "{error}");
    };
    let mut without_a_key = ground.command(&["--addr", "http://127.0.0.1:1"]);
    refused(&mut without_a_key, "LEASEHOLD_KEY is not set");
    let mut without_a_folder = leasehold();
    without_a_folder.args(["bench", "--dir", "/nonexistent"]);
    refused(
        &mut without_a_folder,
        "cannot use the folder `/nonexistent`",
    );
    ground.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_vault_is_measured_and_left_as_it_was() {
    let vault = Vault::dev();
    let names = async || {
        let list = vault
            .admin(Method::GET, "/v1/credentials", None)
            .await
            .data(200);
        let names = list.as_array().unwrap().iter();
        names
            .map(|credential| credential["name"].to_string())
            .collect::<Vec<_>>()
    };
    let before = names().await;
    let ground = Ground::new(304);
    let run = |args: &[&str]| {
        let mut command = ground.command(&[&SHORT[..], args].concat());
        command.env("LEASEHOLD_KEY", &vault.admin_key);
        command.env("LEASEHOLD_AGENT_KEY", &vault.agent_key);
        command.output().unwrap()
    };
    let output = run(&["issue,list,release", "--addr", &vault.address]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for row in report["results"].as_array().unwrap() {
        is_sound(&row["vault"]);
        assert!(row["vault"]["rss_bytes"].is_null() && row["vault"]["cpu_us_per_answer"].is_null());
        assert!(row["baseline"]["rss_bytes"].is_u64(), "{row}");
    }
    assert_eq!(names().await, before);

    // A vault that is stopped is told of; so is a scheme that the generator does not speak.
    let address = vault.address.clone();
    let output = run(&["issue", "--addr", &address.replace("http:", "https:")]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("plain HTTP"));
    ground.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_fail_the_run_loudly() {
    let vault = Vault::dev();
    let ground = Ground::new(305);
    let mut command = ground.command(&[&SHORT[..], &["issue", "--addr", &vault.address]].concat());
    command.env("LEASEHOLD_KEY", &vault.agent_key);
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains("with status 403") && error.contains("INSUFFICIENT_PERMISSIONS"),
        "{error}"
    );
    assert!(output.stdout.is_empty());
    ground.is_clean();
}

#[test]
fn ctrl_c_stops_the_servers_and_removes_the_folder() {
    for name in ["INT", "TERM"] {
        let ground = Ground::new(306);
        let mut child = ground
            .command(&[
                "--scenario",
                "issue",
                "--connections",
                "2",
                "--duration",
                "10m",
            ])
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        assert_eq!(line, "issue at 2 connections\n");
        std::thread::sleep(Duration::from_millis(100));
        signal(child.id(), name);
        assert_eq!(wait(&mut child).code(), Some(1));
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, format!("error: stopped by SIG{name}\n"));
        ground.is_clean();
    }
}
