//! INVARIANT (no-escalation): nobody gives, takes or touches what it could not give.

use super::*;

/// Who may give whom: rows are the callers' roles and whether they reach the organisation.
const GIVES: [(Role, bool, &[Role]); 6] = [
    (Role::Owner, true, &Role::ALL),
    // It holds as much as an owner, who has the last word.
    (Role::Admin, true, BELOW_OWNERS),
    (Role::Owner, false, WORKSPACE_ROLES),
    (Role::WorkspaceAdmin, false, WORKSPACE_ROLES),
    // They lack the scope to make identities at all.
    (Role::Operator, false, &[]),
    (Role::Agent, false, &[]),
];
const BELOW_OWNERS: &[Role] = &[
    Role::Admin,
    Role::Auditor,
    Role::WorkspaceAdmin,
    Role::Operator,
    Role::Agent,
    Role::Viewer,
];
const WORKSPACE_ROLES: &[Role] = &[
    Role::WorkspaceAdmin,
    Role::Operator,
    Role::Agent,
    Role::Viewer,
];

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_given_by_those_who_hold_all_of_it() {
    let house = House::build().await;
    for (at, (role, organisation, may)) in GIVES.into_iter().enumerate() {
        let reach = match organisation {
            true => Reach::Organisation,
            false => Reach::Workspace(house.default),
        };
        let key = house.person(&format!("giver-{at}"), role, reach).await;
        for given in Role::ALL {
            let text = format!("made-{at}-{}", given.as_str().replace('_', "-"));
            let expected = (!may.contains(&given)).then_some(Code::InsufficientPermissions);
            let made = code(house.give(&key, &text, given).await);
            assert_eq!(made, expected, "{role:?} gives {given:?}");
            // A role that was refused at the start is refused as a change as well.
            let changed = format!("changed-{at}-{}", given.as_str().replace('_', "-"));
            house.identity(house.default, &changed, Role::Viewer).await;
            let patch = UpdateIdentity {
                role: Some(given),
                ..UpdateIdentity::default()
            };
            let updated = code(house.update(&key, &changed, patch).await);
            assert_eq!(updated, expected, "{role:?} raises to {given:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_touches_an_identity_above_itself() {
    let house = House::build().await;
    let in_default = Reach::Workspace(house.default);
    let key = house
        .person("keeper", Role::WorkspaceAdmin, in_default)
        .await;
    for above in [Role::Owner, Role::Admin, Role::Auditor] {
        let text = above.as_str();
        house.identity(house.default, text, above).await;
        let labels = [("team".to_owned(), Some("mine".to_owned()))].into();
        for patch in [
            UpdateIdentity {
                role: Some(Role::Viewer),
                ..UpdateIdentity::default()
            },
            UpdateIdentity {
                labels: Some(labels),
                ..UpdateIdentity::default()
            },
            UpdateIdentity {
                description: Some(None),
                ..UpdateIdentity::default()
            },
        ] {
            let updated = code(house.update(&key, text, patch).await);
            assert_eq!(updated, Some(Code::InsufficientPermissions), "{text}");
        }
        let suspended = code(house.suspend(&key, text).await);
        assert_eq!(suspended, Some(Code::InsufficientPermissions), "{text}");
        let deleted = code(house.delete(&key, text).await);
        assert_eq!(deleted, Some(Code::InsufficientPermissions), "{text}");
    }
    house.identity(house.default, "below", Role::Agent).await;
    house.suspend(&key, "below").await.unwrap();
    house.delete(&key, "below").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_owner_touches_an_owner() {
    let house = House::build().await;
    let everywhere = Reach::Organisation;
    let admin = house.person("admin", Role::Admin, everywhere).await;
    let owner = house.person("owner", Role::Owner, everywhere).await;
    house.identity(house.default, "other", Role::Owner).await;
    let lower = || UpdateIdentity {
        role: Some(Role::Viewer),
        ..UpdateIdentity::default()
    };
    let refused = Some(Code::InsufficientPermissions);
    assert_eq!(code(house.update(&admin, "other", lower()).await), refused);
    assert_eq!(code(house.suspend(&admin, "other").await), refused);
    assert_eq!(code(house.delete(&admin, "other").await), refused);
    house.suspend(&owner, "other").await.unwrap();
    house.update(&owner, "other", lower()).await.unwrap();
    // What is an owner no more is anybody's.
    house.delete(&admin, "other").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reach_of_the_organisation_goes_with_its_role() {
    let house = House::build().await;
    let owner = house
        .person("owner", Role::Owner, Reach::Organisation)
        .await;
    let key = house
        .person("other", Role::Admin, Reach::Organisation)
        .await;
    let there = house.prove(&key, Some("other")).await.unwrap();
    assert!(there.organisation && there.workspace == house.other);
    let patch = UpdateIdentity {
        role: Some(Role::WorkspaceAdmin),
        ..UpdateIdentity::default()
    };
    house.update(&owner, "other", patch).await.unwrap();
    let here = house.prove(&key, None).await.unwrap();
    assert_eq!(
        (here.organisation, here.workspace, here.role),
        (false, house.default, Some(Role::WorkspaceAdmin))
    );
    assert_eq!(here.scopes, Role::WorkspaceAdmin.scopes());
    let foreign = house.prove(&key, Some("other")).await.err().map(told);
    let missing = house.prove(&key, Some("nothing")).await.err().map(told);
    assert_eq!(foreign, missing);
    assert!(foreign.is_some_and(|(code, _)| code == Code::NotFound));
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_come_with_the_caller() {
    let house = House::build().await;
    let owner = house
        .person("owner", Role::Owner, Reach::Organisation)
        .await;
    let key = house
        .person("agent", Role::Agent, Reach::Workspace(house.default))
        .await;
    let labels = [("team".to_owned(), Some("ml".to_owned()))].into();
    let patch = UpdateIdentity {
        labels: Some(labels),
        ..UpdateIdentity::default()
    };
    let before = house.prove(&key, None).await.unwrap();
    house.update(&owner, "agent", patch).await.unwrap();
    let after = house.prove(&key, None).await.unwrap();
    assert_eq!(
        (before.labels.get("team"), after.labels.get("team")),
        (None, Some("ml"))
    );
}
