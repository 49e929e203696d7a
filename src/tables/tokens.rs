//! Access tokens, their index by workspace, and the ring of signing keys. A token is found before the caller's
//! workspace is known, so all of it is sealed with the keys of the vault itself.

use super::{Read, Tables, range_all, read_id};
use crate::{
    crypto::envelope::{RecordType, Slot},
    domain::{
        error::Result,
        id::TokenId,
        token::{SigningKeys, Token},
    },
    store::{key, port::Txn},
};

const RING_SLOT: Slot<'static> = Slot {
    kind: RecordType::SigningKeys,
    id: &[],
    version: 0,
};

fn slot(id: &TokenId) -> Slot<'_> {
    Slot {
        kind: RecordType::Token,
        id: id.as_bytes(),
        version: 0,
    }
}

impl Tables {
    pub async fn token(&self, read: &mut impl Read, id: TokenId) -> Result<Option<Token>> {
        let found = read.get(&key::token(id)).await?;
        found
            .map(|sealed| self.open(slot(&id), &sealed))
            .transpose()
    }

    /// Every access token of the vault, ended ones that are not forgotten yet included.
    pub async fn tokens(&self, read: &mut impl Read) -> Result<Vec<Token>> {
        let mut tokens = Vec::new();
        for (at, sealed) in range_all(read, key::tokens()).await? {
            let id = TokenId::from_bytes(read_id(at.get(1..).unwrap_or_default())?);
            tokens.push(self.open(slot(&id), &sealed)?);
        }
        Ok(tokens)
    }

    /// Writes a token with its place in its workspace's list.
    pub fn put_token(&self, txn: &mut dyn Txn, token: &Token) -> Result<()> {
        txn.put(key::listed_token(token.listed_in(), token.id), Vec::new())?;
        txn.put(
            key::token(token.id),
            self.seal(slot(&token.id), &[], token)?,
        )
    }

    /// Removes a token and what is noted of its use.
    pub fn delete_token(&self, txn: &mut dyn Txn, token: &Token) {
        txn.delete(key::last_use(token.id.as_bytes()));
        txn.delete(key::listed_token(token.listed_in(), token.id));
        txn.delete(key::token(token.id));
    }

    pub async fn signing_keys(&self, read: &mut impl Read) -> Result<Option<SigningKeys>> {
        let found = read.get(&key::signing_keys()).await?;
        found
            .map(|sealed| self.open(RING_SLOT, &sealed))
            .transpose()
    }

    pub fn put_signing_keys(&self, txn: &mut dyn Txn, keys: &SigningKeys) -> Result<()> {
        txn.put(key::signing_keys(), self.seal(RING_SLOT, &[], keys)?)
    }
}
