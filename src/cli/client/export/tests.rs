use super::{
    super::test_vault::{PEOPLE, TempFile, TestVault},
    *,
};

fn arguments(format: ExportFormat, out: &Path) -> ExportArgs {
    ExportArgs {
        format,
        out: Some(out.to_owned()),
        proofs: false,
        resume: true,
        force: false,
        after: None,
        against: None,
        filter: FilterArgs::default(),
        until: None,
    }
}

const HEADER: &str = r#"{"type":"header","filter":{"event":"lease.issued"},"after":3}"#;
const RECORD: &str = r#"{"type":"record","sequence":4}"#;
const MARK: &str = r#"{"type":"mark","through":6}"#;

#[test]
fn ndjson_goes_on_behind_its_last_mark() {
    let marked = format!("{HEADER}\n{RECORD}\n{MARK}\n");
    let find = |text: &str| {
        let file = TempFile::new(text.as_bytes());
        Place::find(file.path(), ExportFormat::Ndjson)
    };
    let removed = r#"{"type":"removed","first":1,"last":4096,"records":9}"#;
    for rest in [
        "",
        RECORD,
        &format!("{RECORD}\n{RECORD}\n"),
        &format!("{removed}\n"),
        "{\"ty",
    ] {
        let place = find(&format!("{marked}{rest}")).unwrap();
        assert_eq!(
            (place.keep, place.after),
            (marked.len() as u64, 6),
            "{rest}"
        );
        assert!(!place.whole);
        assert_eq!(place.filter.unwrap()["event"], "lease.issued");
    }
    let nothing = find(&format!("{HEADER}\n{RECORD}\n")).unwrap();
    assert_eq!((nothing.keep, nothing.after), (0, 3));
    let end = MARK.replace("mark", "end");
    assert!(find(&format!("{marked}{end}\n")).unwrap().whole);
    assert_eq!(find("").unwrap(), Place::default());
    for other in ["a,b\r\n", "{\"class_uid\":6003}\n", &format!("{RECORD}\n")] {
        assert!(find(other).is_err(), "{other}");
    }
}

#[test]
fn tables_and_events_go_on_behind_their_last_complete_record() {
    let rows = "sequence,purpose\r\n1,\"two\r\n9,lines\"\r\n7,x\r\n";
    let events = "{\"class_uid\":6003,\"metadata\":{\"sequence\":7}}\n";
    for (format, whole, rests) in [
        (
            ExportFormat::Csv,
            rows,
            ["", "8,", "8,\"a\r\n9,b\r\n", "8,\"\"\"\r\n"],
        ),
        (
            ExportFormat::Ocsf,
            events,
            ["", "{", "{\"metadata\":{\"sequence\":8}}", "{}"],
        ),
    ] {
        for rest in rests {
            let file = TempFile::new(format!("{whole}{rest}").as_bytes());
            let place = Place::find(file.path(), format).unwrap();
            assert_eq!(
                (place.keep, place.after),
                (whole.len() as u64, 7),
                "{rest:?}"
            );
        }
    }
}

/// The file is lost to nobody: neither where it is no export of the format, nor where the vault does not answer.
#[tokio::test]
async fn a_file_that_cannot_be_gone_on_with_stays_as_it_is() {
    let end = MARK.replace("mark", "end");
    let ndjson = format!("{HEADER}\n{RECORD}\n{end}\n");
    let event = "{\"class_uid\":6003,\"metadata\":{\"sequence\":7}}\n";
    for (format, text, words) in [
        (ExportFormat::Ocsf, ndjson.as_str(), "no export of OCSF"),
        (ExportFormat::Csv, ndjson.as_str(), "no export of CSV"),
        (
            ExportFormat::Csv,
            "a note\r\nof mine\r\n",
            "no export of CSV",
        ),
        (ExportFormat::Ndjson, event, "no export of NDJSON"),
        (ExportFormat::Csv, "sequence,pur", "begin anew"),
        (ExportFormat::Csv, "sequence,purpose\r\n7", "begin anew"),
        (ExportFormat::Ocsf, "{\"class", "begin anew"),
        (ExportFormat::Ndjson, "", "begin anew"),
    ] {
        let file = TempFile::new(text.as_bytes());
        let vault = TestVault::answering(&[(200, "")]);
        let failure = run(&vault.client(), arguments(format, file.path()), PEOPLE).await;
        let failure = failure.unwrap_err().text();
        assert!(failure.contains(words), "{text}: {failure}");
        assert!(vault.requests().is_empty(), "{text}");
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), text);
    }
    // Nothing is cut off before something takes its place.
    let text = format!("{HEADER}\n{RECORD}\n");
    let file = TempFile::new(text.as_bytes());
    let vault = TestVault::answering(&[(503, "{}")]);
    let failed = run(
        &vault.client(),
        arguments(ExportFormat::Ndjson, file.path()),
        PEOPLE,
    )
    .await;
    assert!(failed.is_err());
    assert_eq!(std::fs::read_to_string(file.path()).unwrap(), text);
}

#[tokio::test]
async fn a_resumed_file_holds_every_row_once() {
    let file = TempFile::new(b"sequence,purpose\r\n7,x\r\n8,bro");
    let body = "sequence,purpose\r\n8,y\r\n";
    let headers = "content-type: text/csv; charset=utf-8\r\nleasehold-export-end: 9000\r\n\
                   leasehold-export-removed: 4096\r\n";
    let vault = TestVault::answering_with(200, headers, body);
    let client = vault.client();
    let report = run(&client, arguments(ExportFormat::Csv, file.path()), PEOPLE).await;
    let report = report.unwrap();
    // What was removed since is lost, and is told.
    for told in ["9000", "records 8 to 4096"] {
        assert!(report.out.contains(told), "{}", *report.out);
    }
    let request = &vault.requests()[0];
    assert_eq!(
        request.line,
        "GET /v1/audit/export?format=csv&after=7 HTTP/1.1"
    );
    assert_eq!(request.header("te"), Some("trailers"));
    let text = std::fs::read_to_string(file.path()).unwrap();
    assert_eq!(text, "sequence,purpose\r\n7,x\r\n8,y\r\n");
}

#[tokio::test]
async fn what_is_no_end_is_no_success_and_what_exists_is_kept() {
    let headers = "content-type: application/x-ndjson\r\n";
    let file = TempFile::new(format!("{HEADER}\n{MARK}\n").as_bytes());
    let vault = TestVault::answering_with(200, headers, &format!("{HEADER}\n{RECORD}\n"));
    let failure = run(
        &vault.client(),
        arguments(ExportFormat::Ndjson, file.path()),
        PEOPLE,
    )
    .await;
    assert!(failure.unwrap_err().text().contains("--resume"));
    assert_eq!(
        vault.requests()[0].line,
        "GET /v1/audit/export?event=lease.issued&format=ndjson&after=6 HTTP/1.1"
    );
    let mut fresh = arguments(ExportFormat::Ndjson, file.path());
    fresh.resume = false;
    let failure = run(&vault.client(), fresh, PEOPLE).await.unwrap_err();
    assert!(failure.text().contains("exists"), "{}", failure.text());
    let mut other = arguments(ExportFormat::Ndjson, file.path());
    other.until = Some("2026-01-01T00:00:00Z".to_owned());
    let failure = run(&vault.client(), other, PEOPLE).await.unwrap_err();
    assert_eq!(failure.exit_code(), 2);
    assert_eq!(vault.requests().len(), 1);
}
