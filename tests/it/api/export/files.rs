//! Exports in files, of any form: one that broke off goes on, and each proves itself that is asked to.

use super::*;

/// The rows of a table, or the lines of events: they end with a line feed where no quote is open.
fn rows(text: &str) -> Vec<String> {
    let (mut rows, mut row) = (Vec::new(), String::new());
    for line in text.split_inclusive('\n') {
        row.push_str(line);
        if row.matches('"').count() % 2 == 0 {
            rows.push(std::mem::take(&mut row));
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_broke_off_is_resumed_and_holds_every_record_once() {
    let vault = lived().await;
    // More lines than one mark is over.
    for _ in 0..30 {
        let refused = (0..20).map(|_| vault.agent(GET, "/v1/audit", None));
        for refused in futures_util::future::join_all(refused).await {
            refused.fails(403, "INSUFFICIENT_PERMISSIONS");
        }
    }
    let folder = TempDir::new();
    let key = public_key(&vault).await;
    for (format, proofs) in [
        ("ndjson", false),
        ("csv", false),
        ("ocsf", false),
        ("csv", true),
        ("ocsf", true),
    ] {
        let out = folder.path().join(format!("{format}-{proofs}"));
        let path = out.to_str().unwrap();
        let arguments = ["audit", "export", "--format", format, "--out", path];
        said(
            &vault,
            &[&arguments[..], if proofs { &["--proofs"] } else { &[] }].concat(),
        );
        let whole = fs::read_to_string(&out).unwrap();
        let again = cli(Some(&vault), &arguments);
        assert!(!again.status.success(), "a file that exists is kept");
        let proven = proofs || format == "ndjson";
        let end = [
            "\"type\":\"end\"",
            "\"type\\\":\\\"end",
            "\"\"type\"\":\"\"end",
        ];
        let cut = match proven {
            true => end.iter().find_map(|end| whole.rfind(end)),
            false => whole.rfind("authz.denied"),
        };
        fs::write(&out, &whole[..cut.unwrap() - 7]).unwrap();
        if proven {
            assert_eq!(verify(&out, &key, &[]).status.code(), Some(1));
            assert!(!python(&out, &key).0);
        }
        let since = format!("since-{format}-{proofs}");
        vault.store(&since, "v", json!({})).await;
        said(&vault, &[&arguments[..], &["--resume"]].concat());
        let resumed = fs::read_to_string(&out).unwrap();
        assert!(resumed.contains(&since));
        if proven {
            let told = verify(&out, &key, &[]);
            assert!(told.status.success(), "{told:?}");
            let (intact, said) = python(&out, &key);
            assert!(intact, "{said}");
            let more = cli(Some(&vault), &[&arguments[..], &["--resume"]].concat());
            assert!(String::from_utf8_lossy(&more.stderr).contains("is whole"));
        }
        let sequences: Vec<u64> = match format {
            "ndjson" => {
                assert_eq!(lines(&resumed, "header").len(), 2);
                let number = |line: &Value| line["sequence"].as_u64().unwrap();
                lines(&resumed, "record").iter().map(number).collect()
            }
            "csv" => {
                assert_eq!(resumed.matches("sequence,id,").count(), 1);
                let numbers = resumed.lines().filter(|line| line.contains(",evt_"));
                numbers
                    .map(|line| line.split(',').next().unwrap().parse().unwrap())
                    .collect()
            }
            _ => {
                let events = resumed
                    .lines()
                    .map(|line| serde_json::from_str::<Value>(line).unwrap());
                events
                    .filter(|event| event["class_uid"] != 0)
                    .map(|event| event["metadata"]["sequence"].as_u64().unwrap())
                    .collect()
            }
        };
        assert!(sequences.is_sorted_by(|one, next| one < next), "{format}");
        let all = lines(&export(&vault, "").await, "record");
        let all = all.iter().map(|line| line["sequence"].as_u64().unwrap());
        let upto: Vec<u64> = all
            .take_while(|number| Some(number) <= sequences.last())
            .collect();
        assert_eq!(sequences, upto, "{format}");
    }
    // Piped, it is the same.
    let piped = said(&vault, &["audit", "export", "--event", "lease.issued"]);
    assert_eq!(lines(&piped, "record").len(), 1);
    assert_eq!(lines(&piped, "end").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_events_prove_themselves_where_they_are_asked_to() {
    let vault = lived().await;
    let folder = TempDir::new();
    let key = public_key(&vault).await;
    let kept = folder.path().join("kept.json");
    let kept = kept.to_str().unwrap();
    let save = ["audit", "checkpoint", "save", kept, "--public-key", &key];
    said(&vault, &save);
    for (format, shown, other) in [
        ("csv", "agent,claude-code,", "agent,nobody,"),
        ("ocsf", "\"name\":\"claude-code\"", "\"name\":\"nobody\""),
    ] {
        let out = folder.path().join(format);
        let path = out.to_str().unwrap();
        let export = ["audit", "export", "--format", format, "--out", path];
        said(&vault, &export);
        let (bare, refused) = (fs::read_to_string(&out).unwrap(), verify(&out, &key, &[]));
        let refused = String::from_utf8(refused.stdout).unwrap();
        assert!(refused.contains("--proofs"), "{refused}");
        let proofs = [
            "--proofs",
            "--force",
            "--event",
            "lease.issued,lease.redeemed",
        ];
        said(
            &vault,
            &[&export[..], &proofs, &["--against", kept]].concat(),
        );
        let whole = fs::read_to_string(&out).unwrap();
        for told in ["claude-code", "s-42"] {
            assert!(whole.contains(told) && bare.contains(told));
        }
        assert!(!whole.contains("not-for-our-eyes") && !whole.contains("value-canary"));
        let held = verify(&out, &key, &["--against", kept]);
        let held = String::from_utf8(held.stdout).unwrap();
        assert!(held.contains("intact: 2 records"), "{held}");
        assert!(python(&out, &key).0);

        // What is shown, and what proves it.
        let tampered = folder.path().join("tampered");
        let changed = |text: String| {
            fs::write(&tampered, text).unwrap();
            let told = verify(&tampered, &key, &[]);
            assert_eq!(told.status.code(), Some(1));
            String::from_utf8(told.stdout).unwrap()
        };
        let told = changed(whole.replacen(shown, other, 1));
        assert!(told.contains("actor"), "{told}");
        let (intact, said) = python(&tampered, &key);
        // Of an event the script takes the proof alone.
        assert_eq!(intact, format == "ocsf", "{said}");
        if format == "csv" {
            for (from, to) in [
                ("\"'=cmd", "\"=cmd"),
                (",proof\r\n", ",actor_name,proof\r\n"),
                ("\r\n", "\n"),
            ] {
                assert!(whole.contains(from), "{from}");
                changed(whole.replacen(from, to, 1));
                assert!(!python(&tampered, &key).0, "{from}");
            }
            assert!(!whole.contains(";=1"), "the proof holds no formula either");
        }
        let both = changed(whole.replace("claude-code", "nobody"));
        assert!(
            both.contains("is not what the encoded record says"),
            "{both}"
        );
        let shows = |row: &&String| row.contains("lease.redeemed") && row.contains("encoded");
        let row = rows(&whole).into_iter().find(|row| shows(&row)).unwrap();
        let missing = changed(whole.replacen(&row, "", 1));
        assert!(missing.contains("missing"), "{missing}");
    }
}
