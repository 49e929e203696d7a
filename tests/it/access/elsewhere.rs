//! INVARIANT (stop-is-complete), of what an identity has outside the workspace that it belongs to.

use super::*;

impl House {
    async fn call_in(&self, key: &str, workspace: &str) -> Call {
        let principal = self.prove(key, Some(workspace)).await.unwrap();
        Call {
            principal,
            ..self.call(key).await
        }
    }

    /// A lease of one who reaches both workspaces, in the other one, where the credential was stored.
    async fn lease_elsewhere(&self, key: &str) -> LeaseId {
        let call = self.call_in(key, "other").await;
        self.lease_in(&call).await.unwrap().view.lease.id
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_of_an_identity_ends_its_leases_in_every_workspace() {
    let house = House::build().await;
    let everywhere = Reach::Organisation;
    let owner = house.person("owner", Role::Owner, everywhere).await;
    house.store_credential(&owner).await;
    house
        .store_credential_in(&house.call_in(&owner, "other").await)
        .await;
    for deleted in [false, true] {
        let text = if deleted { "deleted" } else { "suspended" };
        let admin = house.person(text, Role::Owner, everywhere).await;
        house.lease(&admin).await.unwrap();
        let elsewhere = house.lease_elsewhere(&admin).await;
        let bystander = house.lease_elsewhere(&owner).await;
        let ended = match deleted {
            true => house.delete(&owner, text).await,
            false => house.suspend(&owner, text).await,
        };
        assert_eq!(ended.unwrap(), 2, "{text}");
        let call = house.call_in(&owner, "other").await;
        for (lease, status) in [
            (elsewhere, LeaseStatus::Revoked),
            (bystander, LeaseStatus::Active),
        ] {
            let seen = house.engine.lease(&call, lease).await.unwrap();
            assert_eq!(seen.status, status, "{text}");
        }
    }
}
