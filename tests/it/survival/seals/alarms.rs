//! Alarms reach every sink, whatever becomes of the vault and of the sink in between.

use super::{
    sinks::{Taken, endpoint},
    *,
};
use crate::support::signal;

/// More than are told at a time.
const MANY: usize = 40;

/// A vault with bait, and leases of it that raised nothing that anybody was told of.
async fn baited(site: &Site) -> (Server, Api) {
    let (server, admin) = site.serve(&[]);
    let bait = json!({"name": "bait", "type": "api-key", "value": "v", "canary": true, "policy": {"max_leases": 500}});
    assert_eq!(admin.post("/v1/credentials", bait).await.unwrap().0, 201);
    admin.lease("bait", "1h").await.unwrap();
    (server, admin)
}

/// The sequence numbers of the alarms that an endpoint took.
fn alarms(taken: &Taken) -> Vec<u64> {
    numbers(taken.lock().unwrap().iter())
}

fn numbers<'a>(lines: impl Iterator<Item = &'a Value>) -> Vec<u64> {
    let alarms = lines.filter(|line| line["type"] == "alarm");
    alarms
        .map(|alarm| alarm["sequence"].as_u64().unwrap())
        .collect()
}

/// Those of a file.
fn alarms_in(file: &Path) -> Vec<u64> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    numbers(lines.iter())
}

/// Those of history, oldest first.
async fn raised(admin: &Api) -> Vec<u64> {
    let all = admin.all("/v1/audit?event=canary.touched&sort=time").await;
    let number = |record: &Value| record["sequence"].as_u64().unwrap();
    all.iter().map(number).collect()
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < SEALED_WITHIN, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn kill(server: Server) {
    signal(server.started.child.id(), "KILL");
    server.started.end();
}

// INVARIANT (alarm-told)
#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_that_no_sink_took_is_sent_after_the_next_start() {
    let site = Site::new();
    let (server, _) = baited(&site).await;
    assert_eq!(server.stop().code, Some(0));
    let (refusing, none) = endpoint(|_, line| line["type"] != "alarm");
    let file = site.at("checkpoints");
    let to = |url: &str, log: &str| {
        let file = file.to_str().unwrap().to_owned();
        [
            ("LEASEHOLD__AUDIT__CHECKPOINT_FILE", file),
            ("LEASEHOLD__AUDIT__CHECKPOINT_URL", url.to_owned()),
            ("LEASEHOLD__AUDIT__CHECKPOINT_LOG", log.to_owned()),
        ]
    };
    let serve = |settings: &[(&'static str, String)]| {
        let settings: Vec<_> = settings
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        site.serve(&settings)
    };

    // Of before the sinks were there, they are told nothing; the one that fails holds up none of the others.
    let (server, admin) = serve(&to(&refusing, "false"));
    for _ in 0..MANY {
        admin.lease("bait", "1h").await.unwrap();
    }
    let all = raised(&admin).await;
    assert_eq!(all.len(), MANY + 1);
    until("the file was never told", || alarms_in(&file).len() >= MANY).await;
    assert_eq!(alarms_in(&file), all[1..]);
    assert_eq!(server.stop().code, Some(0));

    // The endpoint is gone altogether, and the vault is killed.
    let (server, admin) = serve(&to("http://127.0.0.1:1/", "false"));
    admin.lease("bait", "1h").await.unwrap();
    let all = raised(&admin).await;
    until("the file was never told", || alarms_in(&file).len() > MANY).await;
    kill(server);
    assert_eq!(alarms(&none), [0; 0]);

    let (url, taken) = endpoint(|_, _| true);
    let (server, admin) = serve(&to(&url, "false"));
    until("the alarms never came", || alarms(&taken).len() > MANY).await;
    assert_eq!(alarms(&taken), all[1..], "oldest first, each once");
    let told = taken.lock().unwrap().clone();
    let newest = told.iter().rfind(|line| line["type"] == "alarm").unwrap();
    assert_eq!(newest["credential_name"], "bait", "{newest}");
    // The next one comes behind them.
    admin.lease("bait", "1h").await.unwrap();
    let all = raised(&admin).await;
    until("the next never came", || alarms(&taken).len() > MANY + 1).await;
    assert_eq!(alarms(&taken), all[1..]);
    assert_eq!(server.stop().code, Some(0));

    // What is told stays told.
    let (server, admin) = serve(&to(&url, "false"));
    admin.lease("bait", "1h").await.unwrap();
    let all = raised(&admin).await;
    until("the last never came", || alarms(&taken).len() > MANY + 2).await;
    assert_eq!(alarms(&taken), all[1..]);
    assert_eq!(server.stop().code, Some(0));
    let mut written = alarms_in(&file);
    // After the kill, the last one may have been written twice.
    written.dedup();
    assert_eq!(written, all[1..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn alarms_of_other_workspaces_are_sent_after_a_kill_in_the_order_of_the_log() {
    let site = Site::new();
    let (server, _) = baited(&site).await;
    assert_eq!(server.stop().code, Some(0));
    let gone = [("LEASEHOLD__AUDIT__CHECKPOINT_URL", "http://127.0.0.1:1/")];
    let (server, admin) = site.serve(&gone);
    let body = json!({"name": "other"});
    assert_eq!(admin.post("/v1/workspaces", body).await.unwrap().0, 201);
    let there = [("x-workspace", "other")];
    let bait = json!({"name": "bait", "type": "api-key", "value": "v", "canary": true});
    let post = reqwest::Method::POST;
    let made = admin.call_with(post.clone(), "/v1/credentials", Some(bait), &there);
    assert_eq!(made.await.unwrap().0, 201);
    for _ in 0..3 {
        admin.lease("bait", "1h").await.unwrap();
        let lease = json!({"credential_name": "bait", "ttl": "1h"});
        let leased = admin.call_with(post.clone(), "/v1/leases", Some(lease), &there);
        assert_eq!(leased.await.unwrap().0, 201);
    }
    kill(server);
    let (url, taken) = endpoint(|_, _| true);
    let (server, _) = site.serve(&[("LEASEHOLD__AUDIT__CHECKPOINT_URL", url.as_str())]);
    until("the alarms never came", || alarms(&taken).len() >= 6).await;
    let told = alarms(&taken);
    assert!(
        told.is_sorted_by(|before, after| before < after),
        "{told:?}"
    );
    let lines = taken.lock().unwrap().clone();
    let lines: Vec<_> = lines
        .iter()
        .filter(|line| line["type"] == "alarm")
        .collect();
    let workspaces: Vec<_> = lines
        .iter()
        .map(|line| text(line, "workspace_id"))
        .collect();
    assert_eq!(lines.len(), 6);
    assert!(
        workspaces.chunks(2).all(|two| two == &workspaces[..2]) && workspaces[0] != workspaces[1],
        "{workspaces:?}"
    );
    assert_eq!(server.stop().code, Some(0));
}

/// The log is a sink as well: it is told of what was raised while it was none.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_the_alarms_of_earlier_runs_that_it_was_not_told_of() {
    let site = Site::new();
    let (server, _) = baited(&site).await;
    assert_eq!(server.stop().code, Some(0));
    let log = [("LEASEHOLD__AUDIT__CHECKPOINT_LOG", "true")];
    let (server, _) = site.serve(&log);
    assert_eq!(server.stop().code, Some(0));
    let (server, admin) = site.serve(&[]);
    admin.lease("bait", "1h").await.unwrap();
    let id = text(&admin.all("/v1/audit?event=canary.touched").await[0], "id");
    kill(server);

    let (server, admin) = site.serve(&log);
    let earlier = |text: &str| {
        let lines = text.lines().filter(|line| line.contains("earlier run"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    until("the log was never told", || {
        !earlier(&server.started.stderr()).is_empty()
    })
    .await;
    // This run's own is in the log where it is raised.
    admin.lease("bait", "1h").await.unwrap();
    let ended = server.stop();
    let told = earlier(&ended.stderr);
    assert!(told.len() == 1 && told[0].contains(&id), "{told:?}");
    let (server, _) = site.serve(&log);
    let ended = server.stop();
    assert_eq!(earlier(&ended.stderr), [""; 0]);
}

/// Nobody knows then what was told: too much is better than too little.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_place_is_found_by_the_doctor_and_has_every_alarm_told_again() {
    let site = Site::new();
    let (server, _) = baited(&site).await;
    assert_eq!(server.stop().code, Some(0));
    let file = site.at("checkpoints");
    let settings = [("LEASEHOLD__AUDIT__CHECKPOINT_FILE", file.to_str().unwrap())];
    let (server, admin) = site.serve(&settings);
    admin.lease("bait", "1h").await.unwrap();
    let all = raised(&admin).await;
    until("the file was never told", || !alarms_in(&file).is_empty()).await;
    assert_eq!(server.stop().code, Some(0));
    assert_eq!(alarms_in(&file), all[1..]);

    let sled = open(&site.made.data_dir);
    let at = key::told("file");
    let mut stored = sled.read(&at).unwrap().unwrap().to_vec();
    *stored.last_mut().unwrap() ^= 1;
    sled.apply(&[(at, Some(Stored::from(stored)))].into_iter().collect())
        .unwrap();
    sled.sync().unwrap();
    drop(sled);
    let ended = run(leasehold()
        .args(["doctor", "--data-dir"])
        .arg(&site.made.data_dir)
        .arg("--key-file")
        .arg(&site.made.key_file));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stdout.contains("Alarm record is not authentic"),
        "{ended:?}"
    );
    let (server, _) = site.serve(&settings);
    until("they were never told again", || alarms_in(&file).len() > 2).await;
    let ended = server.stop();
    assert!(
        ended.stderr.contains("nobody knows which alarms were told"),
        "{ended:?}"
    );
    assert_eq!(alarms_in(&file)[1..], all);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_an_alarm_and_cannot_be_read_is_told_to_the_log() {
    let site = Site::new();
    let (server, _) = baited(&site).await;
    assert_eq!(server.stop().code, Some(0));
    let dead = [("LEASEHOLD__AUDIT__CHECKPOINT_URL", "http://127.0.0.1:1/")];
    let (server, admin) = site.serve(&dead);
    admin.lease("bait", "1h").await.unwrap();
    let lost = *raised(&admin).await.last().unwrap();
    assert_eq!(server.stop().code, Some(0));

    let damaged = site.damaged("damaged", |blocks| {
        let of_it = blocks.iter().rposition(|(at, _)| number(at) <= lost);
        *blocks[of_it.unwrap()].1.last_mut().unwrap() ^= 1;
    });
    let (url, taken) = endpoint(|_, _| true);
    let args = [
        "--config",
        site.made.config.to_str().unwrap(),
        "--data-dir",
        damaged.to_str().unwrap(),
    ];
    let settings = [("LEASEHOLD__AUDIT__CHECKPOINT_URL", url.as_str())];
    let server = Server::start(&args, &settings).unwrap();
    let admin = Api::new(&server.address, &site.made.admin_key);
    admin.lease("bait", "1h").await.unwrap();
    until("the next alarm never came", || !alarms(&taken).is_empty()).await;
    assert!(!alarms(&taken).contains(&lost));
    let log = server.stop().stderr;
    assert!(log.contains("may have been an alarm"), "{log}");
}
