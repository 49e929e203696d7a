//! Checkpoints on their way out.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::Arc,
};

use super::*;

/// What an endpoint took, in its order.
pub(super) type Taken = Arc<Mutex<Vec<Value>>>;

/// Takes checkpoints and alarms by HTTP; those alone that `takes` says, by the number of the request.
pub(super) fn endpoint(takes: impl Fn(usize, &Value) -> bool + Send + 'static) -> (String, Taken) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "http://{}/checkpoints?token=hidden",
        listener.local_addr().unwrap()
    );
    let taken = Arc::new(Mutex::new(Vec::new()));
    let into = taken.clone();
    std::thread::spawn(move || {
        for (count, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut length = 0;
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap() > 2 {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            let taken = takes(count, &body);
            let status = if taken { "204 Taken" } else { "500 No" };
            if taken {
                into.lock().unwrap().push(body);
            }
            let answer =
                format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (url, taken)
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_reach_every_sink_and_a_sink_that_fails_holds_nothing_up() {
    let mut site = Site::new();
    site.live(&["a"]).await;
    let (url, taken) = endpoint(|count, _| count >= 2);
    let file = site.at("checkpoints");
    fs::write(&file, "what was there before\n").unwrap();
    let (server, admin) = site.serve(&[
        ("LEASEHOLD__AUDIT__CHECKPOINT_FILE", file.to_str().unwrap()),
        ("LEASEHOLD__AUDIT__CHECKPOINT_URL", &url),
        ("LEASEHOLD__AUDIT__CHECKPOINT_LOG", "true"),
    ]);
    let body = json!({"name": "b", "type": "api-key", "value": "v"});
    assert_eq!(admin.post("/v1/credentials", body).await.unwrap().0, 201);
    let begun = Instant::now();
    while taken.lock().unwrap().is_empty() {
        assert!(begun.elapsed() < SEALED_WITHIN, "never delivered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let metrics = reqwest::get(format!("{}/metrics", server.address))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let failures = metrics
        .lines()
        .find_map(|line| line.strip_prefix("leasehold_audit_sink_failures_total{sink=\"http\"} "))
        .unwrap_or_else(|| panic!("{metrics}"));
    // A machine that stands still for long adds some of its own.
    assert!(failures.parse::<u64>().unwrap() >= 2, "{metrics}");
    let bait = json!({"name": "bait", "type": "api-key", "value": "v", "canary": true});
    assert_eq!(admin.post("/v1/credentials", bait).await.unwrap().0, 201);
    admin.lease("bait", "1m").await.unwrap();
    let begun = Instant::now();
    let alarm = |one: &Value| one["type"] == "alarm";
    while !taken.lock().unwrap().iter().any(alarm) {
        assert!(begun.elapsed() < SEALED_WITHIN, "the alarm never came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let told = taken.lock().unwrap().iter().find(|one| alarm(one)).cloned();
    let told = told.unwrap();
    assert_eq!(told["event"], "canary.touched", "{told}");
    assert_eq!(told["severity"], "high", "{told}");
    assert_eq!(told["credential_name"], "bait", "{told}");
    let ended = server.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stderr.contains("could not be delivered") && ended.stderr.contains("delivered again"),
        "{ended:?}"
    );
    assert!(
        !ended.stderr.contains("hidden"),
        "an address may hold a secret"
    );
    // The last one of the stop is everywhere.
    let text = fs::read_to_string(&file).unwrap();
    let (first, lines) = text.split_once('\n').unwrap();
    assert_eq!(first, "what was there before");
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(taken.lock().unwrap().last(), Some(&last));
    let note = last["note"].as_str().unwrap();
    assert!(
        ended.stderr.contains(note.lines().nth(2).unwrap()),
        "the log has its root"
    );
    let mut lines_of_file = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert!(lines_of_file.any(|line| line == told));
    fs::write(&file, lines).unwrap();
    assert_eq!(site.first(&site.made.data_dir, &[&file]), None);
    let stored = open(&site.made.data_dir)
        .read_range(&Table::Checkpoint.scan())
        .unwrap();
    let (at, _) = stored.last().unwrap();
    assert_eq!(
        key::parse_checkpoint(at),
        last["size"].as_u64(),
        "the stop itself is sealed"
    );

    // Nobody listens, and the file cannot be: the vault serves all the same.
    let (server, admin) = site.serve(&[
        ("LEASEHOLD__AUDIT__CHECKPOINT_FILE", "/dev/null/none"),
        ("LEASEHOLD__AUDIT__CHECKPOINT_URL", "http://127.0.0.1:1/"),
    ]);
    assert_eq!(admin.get("/ready").await["status"], "success");
    let ended = server.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}
