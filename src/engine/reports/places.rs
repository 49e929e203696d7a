//! From where a lease was taken and used, and with what. Bounded for each lease.

use std::net::IpAddr;

use super::model::UsedFrom;
use crate::domain::time::Timestamp;

/// Places that are told apart for one lease.
const MAX_PLACES: usize = 64;
/// User agents that are told of one place, beside the first.
const MAX_FURTHER_AGENTS: usize = 4;

/// A place is an address and what was shown there: what a client calls itself is its own choice, and must not push out
/// where the others were.
#[derive(Debug)]
pub(super) struct Place {
    /// `issued` or `redeemed`.
    pub(super) how: &'static str,
    pub(super) source_ip: Option<IpAddr>,
    pub(super) proof: Option<String>,
}

/// The places of one lease, in the order in which each was first used.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    pub(super) told: Vec<UsedFrom>,
    /// Uses from places beyond those.
    pub(super) more: u64,
}

impl Places {
    pub(super) fn note(
        &mut self,
        place: Place,
        user_agent: Option<String>,
        time: Timestamp,
        in_window: bool,
    ) {
        let (count, earlier) = (u64::from(in_window), u64::from(!in_window));
        let known = self.told.iter_mut().find(|known| {
            known.how == place.how
                && known.source_ip == place.source_ip
                && known.proof == place.proof
        });
        if let Some(known) = known {
            known.count += count;
            known.earlier += earlier;
            known.last_at = time;
            if let Some(agent) = user_agent {
                known.shown(agent);
            }
        } else if self.told.len() < MAX_PLACES {
            self.told.push(UsedFrom {
                how: place.how,
                source_ip: place.source_ip,
                user_agent,
                further_user_agents: Vec::new(),
                more_user_agents: 0,
                proof: place.proof,
                count,
                earlier,
                first_at: time,
                last_at: time,
            });
        } else {
            self.more += 1;
        }
    }
}

impl UsedFrom {
    fn shown(&mut self, agent: String) {
        match &self.user_agent {
            None => self.user_agent = Some(agent),
            Some(first) if *first == agent => {}
            Some(_) if self.further_user_agents.contains(&agent) => {}
            Some(_) if self.further_user_agents.len() < MAX_FURTHER_AGENTS => {
                self.further_user_agents.push(agent);
            }
            Some(_) => self.more_user_agents += 1,
        }
    }
}
