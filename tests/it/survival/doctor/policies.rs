//! Sets of policies, of the organisation and of a workspace.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn sets_of_policies_are_read_and_what_is_wrong_with_one_is_named() {
    let patient = patient().await;
    let (server, admin, _) = patient.serve(&patient.made.data_dir);
    let rule = |hour: u8| {
        format!("forbid (principal, action, resource) when {{ context.hour > {hour} }};")
    };
    for (scope, hours) in [
        ("organisation", &[24, 25][..]),
        ("workspace", &[26, 27, 28]),
    ] {
        for hour in hours {
            let sources = json!([{"name": "hours.cedar", "text": rule(*hour)}]);
            let body = json!({"scope": scope, "sources": sources});
            let put = admin.call(Method::PUT, "/v1/policies", Some(body)).await;
            assert_eq!(put.unwrap().0, 200);
        }
    }
    assert_eq!(server.stop().code, Some(0));
    let healthy = doctor(
        &patient.made.data_dir,
        &patient.made.key_file,
        &["--repair"],
    );
    assert_eq!(healthy.code, Some(0), "{healthy:?}");

    let object = |version: u32| format!("version {version} of the policies");
    let damaged = patient
        .damaged("policies", async |vault| {
            let sets = vault.pairs(Table::PolicySet).await;
            assert_eq!(sets.len(), 5);
            let own: Vec<_> = sets
                .iter()
                .filter(|(at, _)| key::parse_workspace(at).unwrap().0 == vault.workspace)
                .collect();
            let [(first, _), (second, value), (third, _)] = own[..] else {
                panic!("three versions")
            };
            vault.damage(first, 40).await;
            // Nobody brings an older set back by putting it in the place of the newest.
            assert_ne!(second, third);
            vault.write(third, Some(value)).await;
        })
        .await;
    let authentic = "is not authentic";
    let expected = [
        ("unreadable", object(1), authentic, false),
        ("unreadable", object(3), authentic, false),
    ];
    patient.diagnosis(&damaged, &expected);
    // Without what it forbids, the vault does not start.
    let args = ["--data-dir", damaged.to_str().unwrap()];
    let key_file = patient.made.key_file.to_str().unwrap();
    let refused = Server::start(&args, &[("LEASEHOLD__ROOT__KEY_FILE", key_file)]);
    assert!(refused.is_err());
}
