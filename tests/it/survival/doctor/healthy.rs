//! A vault that was only killed has no finding, and one that cannot be opened is not called healthy.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_was_killed_at_work_is_healthy() {
    let folder = TempDir::new();
    let made = Production::init(folder.path());
    let check = |args: &[&str]| doctor(&made.data_dir, &made.key_file, args);
    for round in 0..3 {
        let mut server = made.serve().unwrap();
        let admin = Api::new(&server.address, &made.admin_key);
        let agent = Api::new(&server.address, &made.agent_key);
        let name = format!("c{round}");
        let body = json!({"name": name, "type": "api-key", "value": "v0", "policy": {"delivery": ["reveal", "broker"], "max_leases": 10_000}});
        assert_eq!(admin.post("/v1/credentials", body).await.unwrap().0, 201);
        let in_use = tokio::task::block_in_place(|| check(&[]));
        assert_eq!(in_use.code, Some(2), "{in_use:?}");
        assert!(
            in_use.stderr.contains("in use by another process"),
            "{in_use:?}"
        );
        assert!(in_use.stdout.is_empty());

        let workers: Vec<_> = (0..6)
            .map(|worker| {
                let (agent, name) = (agent.clone(), name.clone());
                tokio::spawn(async move {
                    for turn in 0.. {
                        let ttl = if turn % 4 == 0 { "1s" } else { "10m" };
                        let delivery = if worker % 2 == 0 { "reveal" } else { "broker" };
                        let body =
                            json!({"credential_name": name, "ttl": ttl, "delivery": delivery});
                        let Some((201, body)) = agent.post("/v1/leases", body).await else {
                            return turn;
                        };
                        if turn % 3 == 0 {
                            agent.release(&text(&body["data"], "id")).await;
                        }
                    }
                    0
                })
            })
            .collect();
        for turn in 0..12 {
            let mode = ["drain", "drain", "cut"][turn % 3];
            let body = json!({"new_value": format!("v{}", turn + 1), "on_open_leases": mode});
            let path = format!("/v1/credentials/{name}/rotate");
            assert_eq!(admin.post(&path, body).await.unwrap().0, 200);
            tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        }
        server.started.child.kill().unwrap();
        server.started.child.wait().unwrap();
        let mut leased = 0;
        for worker in workers {
            leased += worker.await.unwrap();
        }
        assert!(leased > 20, "there was no load: {leased}");
        drop(server);
        let healthy = check(&[]);
        assert_eq!(healthy.code, Some(0), "{healthy:?}");
        assert!(healthy.stdout.starts_with("healthy: "), "{healthy:?}");
        assert_eq!(healthy.stdout.lines().count(), 1);
        // Nothing to mend, so nothing is written.
        let again = check(&["--repair"]);
        assert_eq!((again.code, &again.stdout), (Some(0), &healthy.stdout));
    }
}

#[test]
fn what_cannot_be_checked_is_said_and_is_no_finding() {
    let folder = TempDir::new();
    let made = Production::init(folder.path());
    let stranger = TempDir::new();
    let other = Production::init(stranger.path());
    #[track_caller]
    fn unchecked(ended: Ended, words: &str) {
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(words), "{ended:?}");
        assert!(ended.stdout.is_empty(), "{ended:?}");
    }
    unchecked(
        doctor(&made.data_dir, &other.key_file, &[]),
        "root key is not the one",
    );
    unchecked(
        doctor(&made.data_dir, Path::new("/nonexistent"), &[]),
        "root key file",
    );
    let nowhere = folder.path().join("nowhere");
    unchecked(doctor(&nowhere, &made.key_file, &[]), "holds no vault");
    assert!(!nowhere.exists(), "looking made a folder");
    unchecked(doctor(folder.path(), &made.key_file, &[]), "holds no vault");
    assert!(!folder.path().join("LOCK").exists());
    let lost = folder.path().join("lost");
    copy(&made.data_dir, &lost);
    std::fs::remove_file(lost.join("MARK")).unwrap();
    unchecked(
        doctor(&lost, &made.key_file, &["--repair"]),
        "`MARK` is missing or damaged",
    );
    assert_eq!(
        doctor(&made.data_dir, &made.key_file, &["--json"]).code,
        Some(0)
    );
}
