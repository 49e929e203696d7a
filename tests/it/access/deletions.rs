//! Deleting an identity, and what it leaves.

use leasehold::{
    store::{key, port::Txn},
    tables::Read,
};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_deleted_identity_had_is_gone_from_the_tables() {
    let house = House::build().await;
    let owner = house
        .person("owner", Role::Owner, Reach::Organisation)
        .await;
    house
        .person("deleted", Role::Agent, Reach::Workspace(house.default))
        .await;
    house.delete(&owner, "deleted").await.unwrap();
    let read = &mut &*house.store;
    let system = house.tables(WorkspaceId::SYSTEM);
    assert_eq!(system.api_keys(read).await.unwrap().len(), 1);
    let left = house.tables(house.default).identities(read).await.unwrap();
    assert_eq!(left.len(), 1);
    let names = key::Table::IdentityName.scan();
    assert_eq!(read.range(&names).await.unwrap().len(), 1);
}

#[derive(Debug, Clone, Copy)]
enum Writer {
    Key(KeyId),
    Uses(KeyId),
    Token(TokenId),
}

impl Writer {
    async fn begin(self, house: &House) -> Box<dyn Txn> {
        let lock = match self {
            Self::Key(id) => key::api_key_lock(id),
            Self::Uses(id) => key::usage_lock(id.as_bytes()),
            Self::Token(id) => key::token_lock(id),
        };
        house.store.begin(&[lock]).await.unwrap()
    }

    /// Writes what it has read.
    async fn write(self, house: &House, mut txn: Box<dyn Txn>) {
        let system = house.tables(WorkspaceId::SYSTEM);
        match self {
            Self::Key(id) => {
                let found = system.api_key(&mut txn, id).await.unwrap().unwrap();
                system.put_api_key(&mut *txn, &found).unwrap();
            }
            Self::Uses(id) => system.put_key_usage(&mut *txn, id, 0, &[]).unwrap(),
            Self::Token(id) => {
                let found = system.token(&mut txn, id).await.unwrap().unwrap();
                system.put_token(&mut *txn, &found).unwrap();
            }
        }
        txn.commit(Vec::new()).await.unwrap();
    }
}

/// Else what is written of a key or token under its own lock, at that very time, would bring it back.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_waits_for_whoever_is_changing_a_key_or_token_of_the_identity() {
    let house = Arc::new(House::build().await);
    let owner = house
        .person("owner", Role::Owner, Reach::Organisation)
        .await;
    for nth in 0..3 {
        let text = format!("deleted-{nth}");
        let deleted = house
            .person(&text, Role::WorkspaceAdmin, Reach::Workspace(house.default))
            .await;
        let token = house.token(house.call(&deleted).await).await;
        let (ProofId::Key(key), ProofId::Token(token)) = (
            house.call(&deleted).await.principal.proof,
            house.call(&token).await.principal.proof,
        ) else {
            panic!("a key and a token proved it")
        };
        let writer = [Writer::Key(key), Writer::Uses(key), Writer::Token(token)][nth];
        let txn = writer.begin(&house).await;
        let deletion = {
            let (house, owner) = (house.clone(), owner.clone());
            tokio::spawn(async move { house.delete(&owner, &text).await })
        };
        while house.prove(&deleted, None).await.is_ok() {
            tokio::task::yield_now().await;
        }
        // Time passes: each of these commits, which take no lock, is durable before the next. It would be done by now if
        // it waited for nobody.
        for _ in 0..30 {
            house.store.keep_time().await.unwrap();
        }
        assert!(!deletion.is_finished(), "{writer:?}");
        writer.write(&house, txn).await;
        deletion.await.unwrap().unwrap();
        let read = &mut &*house.store;
        let system = house.tables(WorkspaceId::SYSTEM);
        assert_eq!(system.api_keys(read).await.unwrap().len(), 1);
        assert_eq!(system.tokens(read).await.unwrap().len(), 0);
        assert!(system.key_usages(read, key).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_ends_more_keys_than_one_transaction_takes() {
    let house = House::build().await;
    let owner = house
        .person("owner", Role::Owner, Reach::Organisation)
        .await;
    let identity = house.identity(house.default, "many", Role::Agent).await;
    let reach = Reach::Workspace(house.default);
    let mut last = String::new();
    for _ in 0..130 {
        last = house.key(house.default, identity, Role::Agent, reach).await;
    }
    house.prove(&last, None).await.unwrap();
    house.delete(&owner, "many").await.unwrap();
    let read = &mut &*house.store;
    let system = house.tables(WorkspaceId::SYSTEM);
    assert_eq!(system.api_keys(read).await.unwrap().len(), 1);
    let refused = code(house.prove(&last, None).await);
    assert_eq!(refused, Some(Code::Unauthorized));
}
