//! Exposure reports of a folder in which history is damaged.

use super::*;

const WHAT: &str = "records of history are damaged or missing";

fn single_of(blocks: &[(Key, Vec<u8>)], sequence: u64) -> usize {
    let found = single(blocks).into_iter();
    let mut found = found.filter(|at| number(&blocks[*at].0) == sequence);
    found.next().expect("a block of its own")
}

// A report never keeps quiet of what it could not read.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_names_the_records_that_cannot_be_read() {
    let mut site = Site::new();
    site.live(&["leaked", "other"]).await;
    let (server, admin) = site.serve(&[]);
    let lease = admin.lease("leaked", "1h").await.unwrap();
    // Between the two, so that each is a range of its own.
    admin.lease("other", "1h").await.unwrap();
    admin.redeem(&text(&lease, "handle")).await.unwrap();
    let number_of = async |event: &str| {
        let found = admin
            .get(&format!("/v1/audit?event={event}&credential_name=leaked"))
            .await;
        found["data"][0]["sequence"].as_u64().unwrap()
    };
    let (issued, redeemed) = (
        number_of("lease.issued").await,
        number_of("lease.redeemed").await,
    );
    let path = "/v1/reports/exposure?credential_name=leaked";
    let whole = admin.get(path).await["data"].clone();
    assert_eq!(whole["rests_on"]["unreadable"], json!([]));
    assert_eq!(
        (
            &whole["rests_on"]["complete"],
            &whole["rests_on"]["more_unreadable"]
        ),
        (&json!(true), &json!(false))
    );
    assert_eq!(server.stop().code, Some(0));

    // Of one record its seal; of the other the block, so that nobody knows whose it was.
    let damaged = site.damaged("damaged", |blocks| {
        let sealed = single_of(blocks, redeemed);
        *blocks[sealed].1.last_mut().unwrap() ^= 1;
        let broken = single_of(blocks, issued);
        blocks[broken].1.pop();
    });
    let (server, admin) = site.serve_copy(&damaged);
    let ranges = json!([{"first": issued, "last": issued}, {"first": redeemed, "last": redeemed}]);
    let holds = |report: &Value| {
        let rests = &report["rests_on"];
        assert_eq!(
            (&rests["complete"], &rests["unreadable"]),
            (&json!(false), &ranges),
            "{rests}"
        );
        let missing = rests["missing"].as_array().unwrap();
        assert!(
            missing
                .iter()
                .any(|one| one.as_str().unwrap().starts_with(WHAT)),
            "{rests}"
        );
    };
    // Before the index has them, from it, and without it.
    for _ in 0..2 {
        holds(&admin.get(path).await["data"]);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // Of a source, too, and of another credential, for who can tell whose they were?
    for about in ["source=127.0.0.0/8", "credential_name=other"] {
        holds(&admin.get(&format!("/v1/reports/exposure?{about}")).await["data"]);
    }
    // The lease is still told, from the store.
    let report = admin.get(path).await;
    assert_eq!(report["data"]["leases"][0]["id"], lease["id"], "{report}");

    let shell = |arguments: &[&str]| {
        let ended = run(leasehold()
            .env("LEASEHOLD_ADDR", &server.address)
            .env("LEASEHOLD_KEY", &site.made.admin_key)
            .args(["report", "exposure", "--credential", "leaked"])
            .args(arguments));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stdout
    };
    let page = shell(&[]);
    let told = format!("**Damaged or missing:** records {issued}, {redeemed} cannot be read.");
    assert!(page.contains(&told) && page.contains(WHAT), "{page}");
    let signed: Value = serde_json::from_str(&shell(&["--signed"])).unwrap();
    holds(&serde_json::from_str(signed["statement"].as_str().unwrap()).unwrap());
    let whole: Value = serde_json::from_str(&shell(&["--json"])).unwrap();
    holds(&whole["data"]);
    server.stop();
}

// Nor of what is not there any more, though nothing but the numbers tells of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_names_the_records_that_are_missing() {
    let mut site = Site::new();
    site.live(&["leaked"]).await;
    let (server, admin) = site.serve(&[]);
    admin.lease("leaked", "1h").await.unwrap();
    let found = admin.get("/v1/audit?event=lease.issued").await;
    let issued = found["data"][0]["sequence"].as_u64().unwrap();
    admin.lease("leaked", "1h").await.unwrap();
    assert_eq!(server.stop().code, Some(0));

    let damaged = site.damaged("missing", |blocks| {
        blocks.remove(single_of(blocks, issued));
        blocks.remove(0);
    });
    let second = {
        let blocks: Vec<(Key, Stored)> = open(&damaged).read_range(&Table::Audit.scan()).unwrap();
        number(&blocks[0].0)
    };
    let (server, admin) = site.serve_copy(&damaged);
    let expected = json!([{"first": 1, "last": second - 1}, {"first": issued, "last": issued}]);
    for _ in 0..2 {
        let report = admin
            .get("/v1/reports/exposure?credential_name=leaked")
            .await;
        let rests = &report["data"]["rests_on"];
        assert_eq!(
            (&rests["complete"], &rests["unreadable"]),
            (&json!(false), &expected),
            "{rests}"
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // An export of it would not be whole.
    let key = &site.made.admin_key;
    let export = run(leasehold()
        .env("LEASEHOLD_ADDR", &server.address)
        .env("LEASEHOLD_KEY", key)
        .args(["audit", "export"]));
    assert_ne!(export.code, Some(0), "{export:?}");
    server.stop();
}

// Of a log that was cut below its newest checkpoint nothing but the checkpoint knows what it had.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_cut_is_neither_reported_as_whole_nor_exported() {
    let mut site = Site::new();
    site.live(&["leaked"]).await;
    let (server, admin) = site.serve(&[]);
    admin.lease("leaked", "1h").await.unwrap();
    let path = "/v1/reports/exposure?credential_name=leaked";
    let whole = admin.get(path).await;
    assert_eq!(whole["data"]["rests_on"]["complete"], true, "{whole}");
    assert_eq!(server.stop().code, Some(0));
    let cut = site.damaged("shorter", |blocks| {
        let issued = single(blocks).pop().unwrap();
        blocks.truncate(issued);
    });
    let (server, admin) = site.serve_copy(&cut);
    let report = admin.get(path).await["data"]["rests_on"].clone();
    let missing = report["missing"].to_string();
    assert!(missing.contains("newest checkpoint"), "{report}");
    assert_eq!(
        (&report["complete"], &report["checkpoint"]),
        (&json!(false), &Value::Null)
    );
    for format in ["ndjson", "csv"] {
        let export = run(leasehold()
            .env("LEASEHOLD_ADDR", &server.address)
            .env("LEASEHOLD_KEY", &site.made.admin_key)
            .args(["audit", "export", "--format", format])
            .args(["--event", "canary.touched"]));
        assert_ne!(export.code, Some(0), "{export:?}");
        assert!(export.stderr.contains("audit verify"), "{export:?}");
    }
    server.stop();
}
