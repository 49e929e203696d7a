//! The keys and tokens with which leases were taken and used, and what made those tokens: a token ends with its key, and
//! whoever has the key makes the next one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    collect::Collected, exposure::each, model::UsedProof, remedies, stored::Stored, unread::Unread,
};
use crate::{
    audit::query::{AuditFilter, Reader},
    domain::{
        error::Result,
        event::{Actor, EventName},
        id::{LeaseId, TokenId, WorkspaceId},
        principal::{KeyStatus, ProofId},
        token::{MAX_GENERATIONS, Parent, TokenStatus},
    },
    engine::standing::Standings,
};

/// What a token was made with.
#[derive(Clone, PartialEq)]
enum Maker {
    Proof(ProofId),
    Issuer(String),
    Unknown,
}

#[derive(Default)]
struct Used {
    whose: Option<String>,
    leases: BTreeSet<LeaseId>,
}

impl Stored<'_> {
    /// The keys first, each with the tokens that go back to it behind it.
    pub(super) async fn proofs(
        &self,
        reader: &Reader<'_>,
        last: u64,
        collected: &Collected,
    ) -> Result<Vec<UsedProof>> {
        let mut used = BTreeMap::<ProofId, Used>::new();
        for row in collected.rows.values() {
            for (proof, (_, whose)) in &row.proofs {
                let entry = used.entry(*proof).or_default();
                entry.whose = entry.whose.take().or_else(|| whose.clone());
                entry.leases.insert(row.id);
            }
        }
        let mut makers = HashMap::<ProofId, Maker>::new();
        let mut chains = Vec::new();
        for (proof, of) in &used {
            let mut chain = vec![*proof];
            let mut at = *proof;
            for _ in 0..=MAX_GENERATIONS {
                let ProofId::Token(token) = at else { break };
                let maker = match makers.get(&at) {
                    Some(known) => known.clone(),
                    None => self.maker(reader, last, token).await?,
                };
                makers.insert(at, maker.clone());
                let Maker::Proof(parent) = maker else { break };
                chain.push(parent);
                at = parent;
            }
            chains.push((chain, of));
        }
        let mut all = BTreeMap::<Vec<ProofId>, Used>::new();
        for (chain, of) in chains {
            // From its beginning to each of them: in the order of these a key stands before its tokens.
            let path: Vec<_> = chain.into_iter().rev().collect();
            for end in 1..=path.len() {
                let entry = all.entry(path.get(..end).unwrap_or_default().to_vec());
                let entry = entry.or_default();
                entry.whose = entry.whose.take().or_else(|| of.whose.clone());
                entry.leases.extend(&of.leases);
            }
        }
        let mut standings = Standings::new(self.engine, self.now)?;
        let mut told = Vec::new();
        for (path, of) in all {
            let Some(proof) = path.last() else { continue };
            let state = self.state(&mut standings, *proof).await?;
            told.push(UsedProof {
                id: proof.to_string(),
                r#type: match proof {
                    ProofId::Key(_) => "api-key",
                    ProofId::Token(_) => "token",
                },
                identity: of.whose,
                made_with: match makers.get(proof) {
                    Some(Maker::Proof(maker)) => Some(maker.to_string()),
                    Some(Maker::Issuer(issuer)) => Some(issuer.clone()),
                    Some(Maker::Unknown) | None => None,
                },
                state,
                leases: of.leases.len() as u64,
                remedy: (state == TokenStatus::Active.as_str())
                    .then(|| remedies::end_proof(*proof)),
            });
        }
        Ok(told)
    }

    /// By the store, or by history where the token is forgotten.
    async fn maker(&self, reader: &Reader<'_>, last: u64, token: TokenId) -> Result<Maker> {
        let system = self.engine.tables(WorkspaceId::SYSTEM)?;
        if let Some(token) = system.token(&mut self.engine.read(), token).await? {
            return Ok(match token.parent {
                Parent::Key(id) => Maker::Proof(ProofId::Key(id)),
                Parent::Token(id) => Maker::Proof(ProofId::Token(id)),
                Parent::Issuer(id, _) => Maker::Issuer(id.to_string()),
            });
        }
        let filter = AuditFilter {
            object: Some(token.to_string()),
            events: vec![EventName::TokenCreated],
            ..AuditFilter::default()
        };
        let mut found = Maker::Unknown;
        // One that is damaged leaves the maker unknown, which the report shows.
        let mut unread = Unread::default();
        each(reader, &filter, last, &mut unread, |one| {
            if let Actor::Identity { proof, .. } = one.record.actor {
                found = Maker::Proof(proof);
            }
        })
        .await?;
        Ok(found)
    }

    async fn state(&self, standings: &mut Standings<'_>, proof: ProofId) -> Result<&'static str> {
        let system = self.engine.tables(WorkspaceId::SYSTEM)?;
        let read = &mut self.engine.read();
        Ok(match proof {
            ProofId::Key(id) => match system.api_key(read, id).await? {
                Some(key) => KeyStatus::as_str(standings.key(read, &key).await?),
                None => "deleted",
            },
            ProofId::Token(id) => match system.token(read, id).await? {
                Some(token) => standings.token(read, &token).await?.as_str(),
                None => "deleted",
            },
        })
    }
}
