//! `leasehold bench scale`, very small.

use super::Ground;

#[test]
fn every_part_gives_its_figures() {
    let ground = Ground::new(311);
    let report = ground.report(&[
        "scale",
        "--json",
        "--leases",
        "200",
        "--credentials",
        "5",
        "--expiring",
        "50",
        "--cycles",
        "50",
        "--connections",
        "2",
        "--duration",
        "200ms",
    ]);
    let figures = report["figures"].as_array().unwrap();
    let figure = |name: &str| {
        let found = figures.iter().find(|figure| figure["name"] == name);
        found.unwrap_or_else(|| panic!("no `{name}` in {report}"))
    };
    let value = |name: &str| figure(name)["value"].as_f64().unwrap();
    assert!(value("open leases") >= 200.0, "{report}");
    for name in [
        "start on an empty folder",
        "start to serving",
        "memory, started",
        "disk in use",
        "grants, empty store",
        "grants, full store",
        "their p99, over the expiry",
        "backlog drained",
        "cycles of issue and release",
    ] {
        assert!(value(name) > 0.0, "{name}: {report}");
    }
    for (name, target) in [
        ("start to serving", "< 2.00 s"),
        ("memory, filled", "< 1.00 GiB"),
        ("grants, full over empty store", ">= 0.80"),
        ("p99 over the expiry, times", "<= 2"),
        ("backlog drained", ">= 20000/s"),
    ] {
        assert_eq!(figure(name)["target"], target);
        assert!(figure(name)["met"].is_boolean());
    }
    let growth = report["growth"].as_array().unwrap();
    let cycles: Vec<_> = growth
        .iter()
        .map(|step| step["cycles"].as_u64().unwrap())
        .collect();
    assert!(cycles.is_sorted() && cycles[0] == 0, "{cycles:?}");
    // Every connection finishes the cycle that it began.
    assert!((50..=54).contains(cycles.last().unwrap()), "{cycles:?}");
    ground.is_clean();
}

#[test]
fn what_cannot_be_is_refused() {
    let ground = Ground::new(312);
    for (args, code, told) in [
        (&["scale", "--leases", "0"][..], 2, "1..=100000000"),
        (
            &["scale", "--leases", "1000000", "--credentials", "1"],
            1,
            "raise --credentials",
        ),
        (
            &["scale", "--addr", "http://127.0.0.1:1"],
            1,
            "takes no `--addr`",
        ),
        (&["--rounds", "1", "scale"], 2, "scale"),
    ] {
        let output = ground.run(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
        assert!(error.contains(told), "{args:?}: {error}");
    }
    ground.is_clean();
}
