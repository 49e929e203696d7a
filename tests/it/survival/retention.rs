//! Retention by the real server and its clock: leases leave by themselves, history stays, and the doctor agrees.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::kit::{Api, Production, Server, run, text};
use crate::support::{TempDir, leasehold};

/// Longer than the retention, its delay, and the time between two runs.
const PATIENCE: u32 = 60;

#[tokio::test]
async fn closed_leases_leave_a_server_after_their_retention() {
    let folder = TempDir::new();
    let made = Production::init(folder.path());
    let config = ["--config", made.config.to_str().unwrap()];
    let kept = [("LEASEHOLD__RETENTION__CLOSED_LEASES", "1s")];
    let server = Server::start(&config, &kept).unwrap();
    let admin = Api::new(&server.address, &made.admin_key);
    let agent = Api::new(&server.address, &made.agent_key);
    let body = json!({"name": "a", "type": "api-key", "value": "one"});
    assert_eq!(admin.post("/v1/credentials", body).await.unwrap().0, 201);
    let gone = text(&agent.lease("a", "1h").await.unwrap(), "id");
    let open = text(&agent.lease("a", "1h").await.unwrap(), "id");
    assert_eq!(agent.release(&gone).await, "200");
    let status = async |id: &str| {
        let path = format!("/v1/leases/{id}");
        admin.call(Method::GET, &path, None).await.unwrap().0
    };
    let mut waited = 0;
    while status(&gone).await == 200 {
        assert!(waited < PATIENCE, "the lease is still there");
        waited += 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!((status(&gone).await, status(&open).await), (404, 200));
    assert_eq!(agent.release(&gone).await, "404 NOT_FOUND");
    let history = admin
        .all(&format!("/v1/audit?lease_id={gone}&sort=time"))
        .await;
    let events: Vec<_> = history.iter().map(|one| text(one, "event")).collect();
    assert_eq!(events, ["lease.issued", "lease.released"]);
    let kept = admin.get("/v1/audit/retention").await;
    assert_eq!(kept["data"]["closed_leases"], "1s");
    assert_eq!(kept["data"]["first_sequence"], 1);

    // Under a legal hold nothing more leaves; the command line sets it.
    let shell = |line: &str| {
        run(leasehold()
            .env("LEASEHOLD_ADDR", &server.address)
            .env("LEASEHOLD_KEY", &made.admin_key)
            .args(line.split(' ')))
    };
    let told = |line: &str| {
        let ended = shell(line);
        assert_eq!(ended.code, Some(0), "{line}: {ended:?}");
        ended.stdout
    };
    assert!(told("audit hold set case-17 --reason subpoena").contains("subpoena"));
    assert_eq!(agent.release(&open).await, "200");
    assert!(told("audit hold list").contains("case-17"));
    assert!(told("status").contains("nothing is removed"));
    tokio::time::sleep(Duration::from_secs(13)).await;
    assert_eq!(status(&open).await, 200, "it is held");
    told("audit hold release case-17");
    let (denied, _) = agent
        .call(
            Method::PUT,
            "/v1/audit/holds/x",
            Some(json!({"reason": "r"})),
        )
        .await
        .unwrap();
    assert_eq!(denied, 403);
    assert_eq!(server.stop().code, Some(0));
    let ended = run(leasehold()
        .args(["doctor", "--data-dir"])
        .arg(&made.data_dir)
        .arg("--key-file")
        .arg(&made.key_file));
    assert_eq!(ended.code, Some(0), "{ended:?}");
}
