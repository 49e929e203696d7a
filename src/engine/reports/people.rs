//! Who had to do with the leases of a report, those of other workspaces included: a key or a token of the whole
//! organisation acts here, and its identity is stopped where it belongs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    super::{Call, Engine},
    collect::Collected,
    model::{Agent, Who},
    remedies,
    row::{Role, Row},
    stored::Stored,
};
use crate::domain::{
    error::Result,
    id::{IdentityId, WorkspaceId},
    principal::{Identity, ProofId},
    time::Timestamp,
};

impl Engine {
    /// The workspace that the identity of a key or token belongs to; none where that is gone.
    pub(in crate::engine) async fn home_of(&self, proof: ProofId) -> Result<Option<WorkspaceId>> {
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let read = &mut self.read();
        Ok(match proof {
            ProofId::Key(id) => system.api_key(read, id).await?.map(|key| key.home),
            ProofId::Token(id) => system.token(read, id).await?.map(|token| token.home),
        })
    }
}

fn agent(who: &Who, issued_at: Timestamp) -> Agent {
    Agent {
        who: who.clone(),
        roles: Vec::new(),
        state: "deleted",
        workspace: None,
        leases: 0,
        open_leases: 0,
        revealed: false,
        redemptions: 0,
        first_lease_at: issued_at,
        last_use_at: None,
        remedy: None,
    }
}

/// Adds a lease to what somebody did, who may have been several things to it.
fn count(agent: &mut Agent, row: &Row, roles: &BTreeSet<Role>) {
    let id = agent.who.id;
    let taken = row.redeemers.get(&id);
    let holds = roles.contains(&Role::Holder);
    agent.leases += 1;
    agent.open_leases += u64::from(row.end.is_none());
    agent.revealed |= taken.is_some() || holds && row.revealed_at.is_some();
    agent.redemptions += row.redemptions_by(id);
    agent.first_lease_at = agent.first_lease_at.min(row.issued_at);
    let last = match taken {
        Some(taken) => taken.last_at,
        None if holds && row.redeemers.is_empty() => row.last_redeemed_at,
        None => None,
    };
    agent.last_use_at = agent.last_use_at.max(last);
}

impl Stored<'_> {
    pub(super) async fn agents(
        &mut self,
        call: &Call,
        collected: &Collected,
    ) -> Result<Vec<Agent>> {
        let mut agents = BTreeMap::<IdentityId, (Agent, BTreeSet<Role>)>::new();
        let mut proofs = HashMap::<IdentityId, BTreeSet<ProofId>>::new();
        for row in collected.rows.values() {
            let mut here = BTreeMap::<IdentityId, BTreeSet<Role>>::new();
            for (who, role) in row.people() {
                let (agent, _) = agents
                    .entry(who.id)
                    .or_insert_with(|| (agent(who, row.issued_at), BTreeSet::new()));
                agent.who.r#type = agent.who.r#type.or(who.r#type);
                here.entry(who.id).or_default().insert(role);
            }
            for (id, roles) in here {
                if let Some((agent, all)) = agents.get_mut(&id) {
                    count(agent, row, &roles);
                    all.extend(roles);
                }
            }
            for (proof, (id, _)) in &row.proofs {
                proofs.entry(*id).or_default().insert(*proof);
            }
        }
        let mut told = Vec::new();
        for (id, (mut agent, roles)) in agents {
            agent.roles = roles.into_iter().map(Role::as_str).collect();
            let known = self.identity(id).await?.cloned();
            match known {
                Some(identity) => stands(&mut agent, &identity),
                None => {
                    let used = proofs.remove(&id).unwrap_or_default();
                    self.of_elsewhere(call, &mut agent, used).await?;
                }
            }
            told.push(agent);
        }
        Ok(told)
    }

    /// Whoever is not of this workspace may be of another. INVARIANT (isolation): which one that is, and how it stands
    /// there, is told to callers that reach every workspace.
    async fn of_elsewhere(
        &self,
        call: &Call,
        agent: &mut Agent,
        used: BTreeSet<ProofId>,
    ) -> Result<()> {
        for proof in used {
            let home = self.engine.home_of(proof).await?;
            let Some(home) = home.filter(|home| *home != self.tables.workspace) else {
                continue;
            };
            agent.state = "foreign";
            if !call.principal.organisation {
                return Ok(());
            }
            let system = self.engine.tables(WorkspaceId::SYSTEM)?;
            let read = &mut self.engine.read();
            let workspace = system.workspace(read, home).await?;
            let there = self.engine.tables(home)?;
            let identity = there.identity(read, agent.who.id).await?;
            if let (Some(workspace), Some(identity)) = (workspace, identity) {
                agent.workspace = Some(workspace.name.to_string());
                stands(agent, &identity);
                return Ok(());
            }
        }
        Ok(())
    }
}

fn stands(agent: &mut Agent, identity: &Identity) {
    agent.who.r#type = remedies::kind(identity.kind);
    agent.state = identity.state.as_str();
    agent.remedy = identity
        .is_active()
        .then(|| remedies::suspend(&agent.who, agent.workspace.as_deref()))
        .flatten();
}
